"""What a call is besides its values while it is in memory: who may be asked what just now."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from services.appserver.domain.call import Call, CallState
from services.appserver.domain.leg import Leg
from tandem.sip.deadlines import Deadline
from tandem.sip.transaction import ClientTransaction, ServerTransaction, State

if TYPE_CHECKING:
    from services.appserver.handlers.calls.acks import Awaiting
    from services.appserver.handlers.calls.moving import Moving
    from services.appserver.handlers.calls.side import Side
    from services.appserver.ports import Pilot, Waiter
    from tandem.sip.message import Request


class Party:
    """One leg of a call, and what goes on in its dialog."""

    __slots__ = ("awaiting", "bye_due", "call", "invite_seq", "invited", "inviting", "leg",
                 "missed", "other", "refers")  # fmt: skip

    def __init__(self, leg: Leg, call: LiveCall) -> None:
        self.leg = leg
        self.call = call
        self.other: Party | None = None
        self.invited: ServerTransaction | None = None
        """Their INVITE that has no ACK yet."""
        self.inviting: ClientTransaction | None = None
        """Our INVITE that has no final answer yet."""
        self.invite_seq = 0
        """CSeq of our last INVITE, which a PRACK's RAck has to name."""
        self.awaiting: Awaiting | None = None
        """Our INVITE that has its 2xx, but whose ACK waits for the other end's; or an INVITE of
        theirs whose answer does."""
        self.bye_due: list[str] | None = None
        """The lines of a BYE that must wait for the ACK of our 2xx (RFC 3261 §15)."""
        self.missed = 0
        """Probes in a row that found its flow gone."""
        self.refers = 0
        """REFERs of theirs that the switch took on."""

    def part(self) -> None:
        """The two parties have no more to do with each other. What ended must not be a cycle:
        the garbage collector comes seldom here."""
        if self.other is not None:
            self.other.other = None
            self.other = None

    @property
    def unacknowledged(self) -> bool:
        """Whether our 2xx to their INVITE waits for its ACK."""
        return self.invited is not None and self.invited.state is State.ACCEPTED

    @property
    def unanswered(self) -> bool:
        """Whether an INVITE of theirs waits for its final answer."""
        return self.invited is not None and self.invited.state is State.PROCEEDING


class Steered:
    """A waiter for a call that is steered, and is being joined to another: whoever waits with it
    hears of it, and so does the pilot (`services.appserver.ports.Waiter`)."""

    __slots__ = ("_pilot", "_waiter")

    def __init__(self, pilot: Pilot, waiter: Waiter | None) -> None:
        self._pilot = pilot
        self._waiter = waiter

    def ready(self, now: float) -> None:
        """It is long past that."""

    def matched(self, request: Request, now: float) -> None:
        """It is past that, too."""

    def joined(self, now: float) -> None:
        """The call is up."""
        if self._waiter is not None:
            self._waiter.joined(now)
        self._pilot.answered(now)

    def gone(self, reason: str, now: float) -> None:
        """It ended before that."""
        if self._waiter is not None:
            self._waiter.gone(reason, now)
        self._pilot.gone(reason, now)


class LiveCall:
    """A call with its parties, its set-up while it lasts, and its one deadline."""

    __slots__ = ("a", "b", "deadline", "follower", "limit_at", "probe_at", "session_at",
                 "setup", "transfer", "value", "waiter")  # fmt: skip

    def __init__(self, value: Call) -> None:
        self.value = value
        self.setup: Side | None = None
        self.waiter: Waiter | None = None
        """Who has it wait for a callback, until the callback is joined to it."""
        self.follower: Pilot | None = None
        """Its pilot, if that wants to hear of the end of the answered call."""
        self.transfer: Moving | None = None
        """What takes one of its ends to another call."""
        self.a: Party | None = None
        self.b: Party | None = None
        self.deadline: Deadline | None = None
        self.limit_at = self.session_at = self.probe_at = inf

    def joined(self, now: float) -> None:
        """Its callback is joined to it."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None:
            waiter.joined(now)

    def gone(self, reason: str, now: float) -> None:
        """It ends; who waited with it is told."""
        waiter, self.waiter = self.waiter, None
        follower, self.follower = self.follower, None
        for each in (waiter, follower):
            if each is not None:
                each.gone(reason, now)

    @property
    def ended(self) -> bool:
        """Whether its record is written."""
        return self.value.state is CallState.ENDED

    def let_go(self) -> tuple[Party, ...]:
        """The parties of a call that ends, which knows them no more."""
        parties = self.parties
        self.a = self.b = None
        for party in parties:
            party.part()
        return parties

    @property
    def parties(self) -> tuple[Party, ...]:
        """The two ends of an established call."""
        return tuple(party for party in (self.a, self.b) if party is not None)
