"""The registration at one provider, under a lease.

due ─► its turn ─► attempt ─┬─ granted ─► due before it ends
 ▲                          ├─ failed ──► due after a pause
 └──────────────────────────┘─ 403, 404 ► given up for good: `disable`, `released`

lease of 0 s          attempt for 0 s, then `released`
the same, moved       `released`: the binding stays for the next node. Should provisioning go away
                      before that one was told, it goes on here when it is due
lease gone            dropped: nothing is sent, nothing is told
settings changed      what was made by the former ones is taken away; then due at once
"""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import Final

from services.appserver.domain.registrations.message import MAX_GRANTED, Session
from services.appserver.domain.registrations.schedule import (
    MAX_REFUSED_SECONDS,
    End,
    Outcome,
    pause,
    renewal,
    takeover,
)
from services.appserver.domain.registrations.settings import Settings, Unusable, with_instance
from services.appserver.handlers.registrations.attempt import Attempt, Done
from services.appserver.handlers.registrations.means import Means
from services.appserver.handlers.registrations.news import News
from tandem.rpc.programs import Lease, RegistrationReport
from tandem.sip.deadlines import Deadline
from tandem.sip.digest_client import DigestClient
from tandem.sip.errors import RemoteFault
from tandem.sip.uri import Uri

INSTANCE_LENGTH: Final = 6
"""Characters of `rinstance` (ORIGINAL §1.4)."""
OK: Final = 200
UNHEARD_SECONDS: Final = 8.0
"""Within this provisioning has answered the question that tells of a release, if it is there: the
question comes every 2 s, and the answer within 3.5 s."""


class Wish(Enum):
    """What is to become of it."""

    KEEP = "keep it registered"
    END = "unregister"
    MOVE = "leave it to another node as it is"


class Registration:
    """One provider that this node holds. At most one transaction is under way at a time."""

    def __init__(self, means: Means, lease: Lease) -> None:
        self._means = means
        self.provider = lease.provider
        self._wish = Wish.KEEP
        self._deadline: Deadline | None = None
        self._lapse: Deadline | None = None
        self._attempt: Attempt | None = None
        self._queued = self._resting = self._dropped = False
        self._former: Session | None = None
        """What former settings made, and is to be taken away first."""
        self._anew = False
        """Whether the settings changed during an attempt."""
        self._failures = 0
        self._tried_at = self._next_at = 0.0
        self._status, self._reason = 0, ""
        self._disable = self._leaving = False
        self.released = False
        """Whether nothing of it goes on here any more."""
        self._news = News(means.tools.publisher)
        self._session = self._opened()

    # -- leases --------------------------------------------------------------------------------

    def begin(self, lease: Lease, now: float) -> None:
        """Go on from where the lease says that it stood."""
        wait = self._resume(lease.last, now) if lease.last is not None else 0.0
        if lease.seconds > 0:
            self._schedule(wait, now)
        else:
            self._give_up(lease, now)

    def update(self, lease: Lease, now: float) -> None:
        """What provisioning says of it now."""
        if lease.seconds <= 0:
            if self._wish is Wish.KEEP:
                self._give_up(lease, now)
        elif self._wish is not Wish.KEEP:  # wanted again before it was given up
            self._wish = Wish.KEEP
            self._disable = self.released = False
            self.provider = lease.provider
            self._change(now)
        elif lease.provider != self.provider:
            self.provider = lease.provider
            if self._session is None or self._session.settings != self._settings():
                self._disable = self.released = False
                self._change(now)

    def _give_up(self, lease: Lease, now: float) -> None:
        self._wish = Wish.MOVE if lease.moved else Wish.END
        self.provider = lease.provider
        if not lease.moved:
            self._next_at = 0.0
        self._soon(now)

    def lingers(self) -> bool:
        """Whether to keep it for one question more, as it is missing among the leases: the node
        that goes on with what moved hears of it by its own next question, not by our release."""
        lingers, self._leaving = self._leaving, False
        return lingers

    def drop(self) -> None:
        """Another has it now."""
        self._dropped = True
        self._cancel()
        if self._attempt is not None:
            self._attempt.abandon()
            self._attempt = None

    def rest(self) -> None:
        """Begin nothing more: the node is about to hand over."""
        self._resting = True
        self._cancel()

    def wake(self, now: float) -> None:
        """Go on after all."""
        self._resting = False
        if self.released:
            self._stand_by(now)
        elif self._attempt is None:
            self._schedule(max(0.0, self._next_at - self._means.tools.wall()), now)

    # -- what to register with -----------------------------------------------------------------

    def _settings(self) -> Settings | None:
        try:
            tools = self._means.tools
            return Settings.of(self.provider, tools.domains, tools.config.contact_host)
        except Unusable as why:
            self._status, self._reason = 0, str(why)
            return None

    def _opened(self) -> Session | None:
        """A session by the settings as they are; None if there is no sense in them."""
        settings = self._settings()
        return None if settings is None else self._session_of(settings)

    def _session_of(self, settings: Settings) -> Session:
        token = self._means.tools.new_token
        return Session(
            settings=settings,
            contact=with_instance(settings.contact, token()[:INSTANCE_LENGTH]),
            digest=_digest(settings, self._means),
            call_id=token(),
            tag=token(),
            expires=settings.expires,
        )

    def _resume(self, last: RegistrationReport, now: float) -> float:
        """Take over what was told last, by whichever node; the time until it is due. The Contact
        stays the same, so that a change of hands adds none at the provider."""
        wall = self._means.tools.wall()
        session, contact = self._session, _uri(last.contact)
        holds = min(last.expires_at - wall, MAX_GRANTED) if last.registered else 0.0
        self._tried_at = last.tried_at
        if session is None:
            return 0.0
        if contact is not None and not session.settings.fits(contact):
            if holds > 0:
                self._former = self._session_of(session.settings)
                self._former.contact, self._former.ends_at = contact, now + holds
            return 0.0
        self._status, self._reason = last.status, last.reason
        session.contact = contact or session.contact
        if contact is not None and holds > 0:
            session.ends_at = now + holds
            self._news.registered = True
            return takeover(holds, self._means.chance)
        self._failures = int(last.status not in (0, OK))
        return max(0.0, min(last.next_at - wall, MAX_REFUSED_SECONDS))

    def _change(self, now: float) -> None:
        """Other settings: use them at once."""
        settings, old = self._settings(), self._session
        if old is not None and settings is not None and old.settings.same_binding(settings):
            old.settings, old.expires = settings, settings.expires
            old.digest = _digest(settings, self._means)
        else:
            if old is not None and (old.ends_at > now or self._attempt is not None):
                self._former = old
            self._session = None if settings is None else self._session_of(settings)
        self._failures, self._next_at = 0, 0.0
        self._anew = self._attempt is not None
        self._soon(now)
        self._means.changed(self)

    # -- turns ---------------------------------------------------------------------------------

    def _schedule(self, delay: float, now: float) -> None:
        self._cancel()
        if delay <= 0:
            self._soon(now)
            return
        self._next_at = self._means.tools.wall() + delay
        self._deadline = self._means.tools.deadlines.at(now + delay, self._soon)

    def _cancel(self) -> None:
        for deadline in (self._deadline, self._lapse):
            if deadline is not None:
                deadline.cancel()
        self._deadline = self._lapse = None

    def _soon(self, now: float) -> None:
        """Do what is next as soon as it may be."""
        self._cancel()
        if self._attempt is None and not self._queued and not self._dropped:
            self._queued = True
            self._means.pace.enter(self._turn, now)

    def _turn(self, now: float) -> bool:
        self._queued = False
        if self._attempt is not None or self._dropped or self._resting or self.released:
            return False
        session, former = self._session, self._former
        if self._wish is Wish.MOVE:
            self._release()
            self._leaving = True
            self._stand_by(now)
        elif former is not None and former.ends_at > now:
            self._try(former, 0, partial(self._left, former), now)
        elif self._wish is Wish.KEEP and session is not None:
            self._try(session, session.expires, partial(self._answered, session), now)
        elif session is not None and session.ends_at > now:
            self._try(session, 0, partial(self._left, session), now)
        elif self._wish is Wish.END:
            self._release()
        else:
            self._means.changed(self)
            return False
        return not self.released

    def _try(self, session: Session, expires: int, done: Done, now: float) -> None:
        self._tried_at, self._next_at = self._means.tools.wall(), 0.0
        self._attempt = Attempt(self._means, session, expires, done)
        self._attempt.start(self.provider.id, now)

    def _release(self) -> None:
        self.released = True
        self._cancel()
        self._means.changed(self)

    def _stand_by(self, now: float) -> None:
        """See to it that what nobody takes over goes on: provisioning may go away before it hears
        of the release, or before it told the next node."""
        session = self._session
        if self._wish is not Wish.MOVE or session is None:
            return
        left = max(0.0, session.ends_at - now)
        due = self._next_at - self._means.tools.wall()
        if due <= 0:
            due = renewal(left, self._means.chance)
        at = now + max(due, min(UNHEARD_SECONDS, left / 2) if left else UNHEARD_SECONDS)
        self._deadline = self._means.tools.deadlines.at(at, self._unheard)

    def _unheard(self, now: float) -> None:
        self._deadline = None
        self._wish, self.released, self._leaving = Wish.KEEP, False, False
        self._soon(now)
        self._means.changed(self)

    # -- outcomes ------------------------------------------------------------------------------

    def _left(self, session: Session, outcome: Outcome, now: float) -> None:
        """Asked once: what a registrar that is away does not hear runs out there by itself."""
        self._attempt = None
        self._anew = False  # what changed meanwhile is in the session that comes next
        session.ends_at = 0.0
        if session is self._former:
            self._former = None
        self._means.counters.unregistered += 1
        self._news.ended(self.provider, session, outcome.status)
        self._soon(now)
        self._means.changed(self)

    def _answered(self, session: Session, outcome: Outcome, now: float) -> None:
        self._attempt = None
        self._status, self._reason = outcome.status, outcome.reason
        if outcome.end is End.DONE:
            self._granted(session, outcome, now)
        else:
            self._failed(outcome, now)
        self._means.changed(self)

    def _granted(self, session: Session, outcome: Outcome, now: float) -> None:
        self._means.counters.granted += 1
        session.granted, session.ends_at = outcome.seconds, now + outcome.seconds
        self._failures = 0
        self._news.granted(self.provider, session, outcome.seconds)
        if self._is_settled():
            self._schedule(renewal(outcome.seconds, self._means.chance), now)
        else:
            self._go_on(now)

    def _failed(self, outcome: Outcome, now: float) -> None:
        if not self._is_settled():
            self._go_on(now)
            return
        if outcome.for_good:
            self._lost_for_good(outcome)
            return
        if outcome.end is not End.NO_PROXY:  # which is our own trouble, and told otherwise
            self._failures += 1
            self._means.counters.failed += 1
        granted = self._session.granted if self._session is not None else 0.0
        wait = pause(outcome, self._failures, self._means.chance, granted)
        if outcome.end is not End.NO_PROXY:
            self._news.failed(self.provider, outcome, wait)
        self._schedule(wait, now)
        self._watch_lapse(now)

    def _lost_for_good(self, outcome: Outcome) -> None:
        self._means.counters.failed += 1
        self._news.failed(self.provider, outcome, 0)
        self._disable = True
        self._release()

    def _is_settled(self) -> bool:
        """Whether nothing else was wanted during the attempt."""
        return self._wish is Wish.KEEP and not self._anew and not self._resting

    def _go_on(self, now: float) -> None:
        self._anew = False
        self._soon(now)

    def _watch_lapse(self, now: float) -> None:
        """While renewals fail the registration ends at some time."""
        session = self._session
        if session is not None and session.ends_at > now:
            self._lapse = self._means.tools.deadlines.at(session.ends_at, self._lapsed)

    def _lapsed(self, now: float) -> None:
        self._lapse = None
        self._news.registered = False
        self._means.changed(self)

    # -- reports -------------------------------------------------------------------------------

    def report(self, now: float) -> RegistrationReport:
        """How it stands."""
        session, wall = self._session, self._means.tools.wall()
        registered = self.is_registered(now)
        return RegistrationReport(
            provider=self.provider.id,
            registered=registered,
            contact=str(session.contact) if session is not None else "",
            expires_at=wall + session.ends_at - now if registered and session is not None else 0.0,
            tried_at=self._tried_at,
            next_at=self._next_at,
            status=self._status,
            reason=self._reason,
            disable=self._disable,
            released=self.released,
        )

    def is_registered(self, now: float) -> bool:
        """Whether the provider has our Contact."""
        return self._session is not None and self._session.ends_at > now

    def state(self, now: float) -> str:
        """For the metrics: `ending`, `registered`, `failing`, or `new`."""
        if self._wish is not Wish.KEEP or self.released:
            return "ending"
        if self.is_registered(now):
            return "registered"
        return "failing" if self._reason else "new"


def _digest(settings: Settings, means: Means) -> DigestClient:
    return DigestClient(
        settings.username, settings.password, means.tools.new_token, realm=settings.realm
    )


def _uri(text: str) -> Uri | None:
    try:
        return Uri.parse(text) if text else None
    except RemoteFault:
        return None
