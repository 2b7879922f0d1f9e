"""The registrar: RFC 3261 §10.3, with Path (RFC 3327) and outbound (RFC 5626).

It answers without a transaction (RFC 3261 §8.2.7): `RegisterAnswers` remembers what it said to
which datagram, which is all that a transaction would do for a REGISTER.

    repeat? ──► refresh of a known one? ──► domain ──► account ──► credentials ──► bindings
"""

from __future__ import annotations

from collections.abc import Iterable
from sys import intern  # thousands of bindings share few of these texts
from typing import Final

from services.appserver.domain.authentication import (
    Allowed,
    Refused,
    Source,
    Verdict,
    credentials_of,
    user_of,
)
from services.appserver.domain.location import proxy_of
from services.appserver.domain.registration import (
    MAX_PATH,
    OUT_OF_ORDER,
    UNREGISTERED,
    Limits,
    Outcome,
    Registration,
    Rejected,
    apply,
    wishes,
)
from services.appserver.domain.routing import objection
from services.appserver.handlers.accounts import Miss
from services.appserver.handlers.bindings import Bindings
from services.appserver.handlers.refresher import Refresher
from services.appserver.handlers.register_answers import (
    ECHO_PATH,
    OUTBOUND,
    Arrival,
    RegisterAnswers,
)
from services.appserver.handlers.sources import source_of
from services.appserver.handlers.tools import Tools
from tandem.bus.location import Binding
from tandem.rpc.directory import Account
from tandem.sip.digest import Credentials
from tandem.sip.errors import BadMessage
from tandem.sip.message import Request, parse_message

MAX_DELAYED: Final = 1_000
"""Refusals that wait for their time; more are sent at once."""
MAX_USER_AGENT: Final = 200
"""Characters of a User-Agent that a binding keeps."""
MAX_STORED: Final = 512
"""Characters of a Contact, Call-ID, instance or Path value: a binding is to stay small."""


class Registrar:
    """Takes every REGISTER."""

    def __init__(self, tools: Tools, bindings: Bindings) -> None:
        self._tools = tools
        self._bindings = bindings
        self._answers = RegisterAnswers(tools)
        self._refresher = Refresher(tools, bindings, self._answers)
        self._delayed = 0

    def receive(self, data: bytes, peer: str, now: float) -> None:
        """Take a REGISTER; raises RemoteFault for a malformed one."""
        if self._answers.repeat(data, peer, now) or self._refresher.refresh(data, peer, now):
            return
        request = parse_message(data)
        assert isinstance(request, Request)
        request.check()
        self._receive(Arrival(request, data, peer, now))

    def _receive(self, arrival: Arrival) -> None:
        if not arrival.request.to.uri.is_sip:
            raise BadMessage("To is no SIP URI")
        domain = self._domain(arrival.request)
        if domain is None:
            self._refuse(arrival, Rejected(404, "Domain not serviced"))
            return
        credentials = credentials_of(arrival.request, "authorization", domain)
        username = user_of(credentials) if credentials else arrival.request.to.uri.unescaped_user
        account = self._tools.accounts.get(username, domain, arrival.now)
        if account is Miss.UNKNOWN:
            self._park(arrival, username, domain)
        elif account is Miss.UNAVAILABLE:
            self._unavailable(arrival)
        else:
            assert not isinstance(account, Miss)
            self._judge(arrival, domain, credentials, account)

    def _domain(self, request: Request) -> str | None:
        """§10.3 steps 1 and 5: both the Request-URI and To must be of our domains."""
        uri, to = request.request_uri, request.to.uri
        serviced = self._tools.domains.serviced
        if not (uri.is_sip and to.is_sip) or serviced(uri.host, uri.port) is None:
            return None
        return serviced(to.host, to.port)

    def _park(self, arrival: Arrival, username: str, domain: str) -> None:
        def resume() -> None:
            self._answers.resume(arrival)
            self._receive(arrival)

        if self._tools.accounts.wait(username, domain, resume):
            self._answers.wait(arrival)
        else:
            self._unavailable(arrival)

    def _unavailable(self, arrival: Arrival) -> None:
        self._tools.counters.overload += 1
        rejected = Rejected(503, "Directory does not answer", ("Retry-After: 30",))
        self._answers.refuse(arrival, rejected, keep=False)

    def _refuse(self, arrival: Arrival, rejected: Rejected) -> None:
        source = source_of(arrival.request)
        self._answers.tell(arrival, source, rejected.status, rejected.reason, steady=True)
        self._answers.refuse(arrival, rejected)

    # -- credentials ---------------------------------------------------------------------------

    def _judge(
        self,
        arrival: Arrival,
        domain: str,
        credentials: Credentials | None,
        account: Account | None,
    ) -> None:
        source = source_of(arrival.request)
        verdict = self._tools.authenticator.judge(
            arrival.request, credentials, account, domain, source, self._tools.wall()
        )
        if isinstance(verdict, Allowed):
            self._register(arrival, verdict.account, domain, source)
        else:
            self._deny(arrival, verdict, source)

    def _deny(self, arrival: Arrival, verdict: Verdict, source: Source) -> None:
        if isinstance(verdict, Refused):
            banned = not verdict.delay
            self._answers.tell(arrival, source, verdict.status, verdict.failure, steady=banned)
            self._deny_later(arrival, verdict)
            return
        assert not isinstance(verdict, Allowed)
        self._tools.counters.challenged += 1
        if verdict.failure:
            self._answers.tell(arrival, source, 401, verdict.failure)
        lines = tuple(f"WWW-Authenticate: {line}" for line in verdict.lines)
        self._answers.refuse(arrival, Rejected(401, "Unauthorized", lines))

    def _deny_later(self, arrival: Arrival, verdict: Refused) -> None:
        """Who guesses passwords waits for each answer."""
        rejected = Rejected(verdict.status, verdict.reason)
        if not verdict.delay or self._delayed >= MAX_DELAYED:
            self._answers.refuse(arrival, rejected)
            return
        self._delayed += 1
        self._answers.wait(arrival)

        def answer(now: float) -> None:
            self._delayed -= 1
            self._answers.resume(arrival)
            self._answers.refuse(arrival, rejected)

        self._tools.deadlines.at(arrival.now + verdict.delay, answer)

    # -- bindings ------------------------------------------------------------------------------

    def _register(self, arrival: Arrival, account: Account, domain: str, source: Source) -> None:
        result = self._decide(arrival, account, domain, source)
        if isinstance(result, Rejected):
            self._refuse(arrival, result)
        else:
            self._bindings.change(result, account)
            self._accept(arrival, result, account)

    def _decide(
        self, arrival: Arrival, account: Account, domain: str, source: Source
    ) -> Outcome | Rejected:
        """§10.3 steps 4 to 7."""
        request = arrival.request
        self._tools.proxies.spoke(arrival.peer, arrival.now)
        if (refusal := objection(account)) is not None:
            return Rejected(refusal.status, refusal.reason)
        user = request.to.uri.unescaped_user
        if user.lower() != account.username.lower() or account.domain.lower() != domain:
            return Rejected(403, "Not the account of this address")
        if unknown := request.tokens("require") - _SUPPORTED:
            return Rejected(420, "Bad Extension", (f"Unsupported: {', '.join(sorted(unknown))}",))
        path = tuple(request.items("path")) or (f"<sip:{arrival.peer};lr;dst={source.text}>",)
        if len(path) > MAX_PATH or any(len(value) > MAX_STORED for value in path):
            return Rejected(400, "Path too long")
        limits = self._limits(account)
        what = wishes(request, limits)
        if isinstance(what, Rejected):
            return what
        if len(request.call_id) > MAX_STORED or any(
            len(wish.contact) + len(wish.instance) > MAX_STORED for wish in what or ()
        ):
            return Rejected(400, "Contact or Call-ID too long")
        wall = self._tools.wall()
        registration = self._registration(request, account, source, path, wall)
        present = tuple(self._tools.table.live(account.aor, wall))
        outcome = apply(what, registration, present, limits)
        return outcome if isinstance(outcome, Rejected) else self._dated(outcome, wall)

    def _dated(self, outcome: Outcome, wall: float) -> Outcome | Rejected:
        """The outcome dated after all that other nodes said of these bindings."""

        def dated(bindings: Iterable[Binding]) -> tuple[Binding, ...]:
            found = [self._tools.table.dated(binding, wall) for binding in bindings]
            return tuple(binding for binding in found if binding is not None)

        added, refreshed = dated(outcome.added), dated(outcome.refreshed)
        ended = [binding for binding, why in outcome.removed if why == UNREGISTERED]
        removed = tuple((binding, UNREGISTERED) for binding in dated(ended))
        if (len(added), len(refreshed), len(removed)) < (
            len(outcome.added), len(outcome.refreshed), len(ended),
        ):  # fmt: skip
            return OUT_OF_ORDER
        others = tuple((b, why) for b, why in outcome.removed if why != UNREGISTERED)
        return Outcome(added, refreshed, (*removed, *others), outcome.outbound)

    def _accept(self, arrival: Arrival, outcome: Outcome, account: Account) -> None:
        supported = arrival.request.tokens("supported")
        flags = ECHO_PATH if "path" in supported else 0
        if outcome.outbound and "outbound" in supported:
            flags |= OUTBOUND
        stored = (*outcome.added, *outcome.refreshed)
        if len(stored) == 1 and not any(why == UNREGISTERED for _, why in outcome.removed):
            self._refresher.remember(arrival, stored[0], flags)
        wall = self._tools.wall()
        present = tuple(self._tools.table.live(account.aor, wall))
        self._answers.accept(arrival, present, flags, wall)

    def _limits(self, account: Account) -> Limits:
        config = self._tools.config
        return Limits(
            config.min_expires, config.max_expires, config.default_expires, account.max_bindings
        )

    def _registration(
        self,
        request: Request,
        account: Account,
        source: Source,
        path: tuple[str, ...],
        wall: float,
    ) -> Registration:
        return Registration(
            account.aor,
            account.owner,
            source.text,
            path,
            request.call_id,
            request.cseq.number,
            intern((request.first("user-agent") or "")[:MAX_USER_AGENT]),
            self._tools.config.node_id,
            intern(proxy_of(path[0])),
            wall,
        )


_SUPPORTED: Final = frozenset({"path", "outbound"})
