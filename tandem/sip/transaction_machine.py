"""The four transaction machines as tables: RFC 3261 §17 with the corrections of RFC 6026.

A machine has a state and two times: when to retransmit (timers A, E, G, and the 2xx of §13.3.1.4)
and when its state ends (B, F, H give up; D, I, J, K, L, M linger). A row says, for a state and an
input, which state follows and what is done. What a row does not list does not happen; an input
without a row is a fault of this program.

    INVITE client                                 INVITE server
    CALLING ─1xx► PROCEEDING                      PROCEEDING ─2xx► ACCEPTED ─L► TERMINATED
      ├─2xx► ACCEPTED ─M► TERMINATED                └─3-6xx► COMPLETED ─ACK► CONFIRMED ─I►
      └─3-6xx► COMPLETED ─D► TERMINATED                         └─H► TERMINATED
    other client                                  other server
    TRYING ─1xx► PROCEEDING ─final► COMPLETED     TRYING ─1xx► PROCEEDING ─final► COMPLETED
                               └─K► TERMINATED                                └─J► TERMINATED
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from tandem.sip.errors import LocalFault
from tandem.sip.hop import Hop
from tandem.sip.message import Request, Response

if TYPE_CHECKING:
    from tandem.sip.deadlines import Deadline, Deadlines


@dataclass(frozen=True, slots=True)
class Timers:
    """RFC 3261 §17.1.1.1 table 4, in seconds."""

    t1: float = 0.5
    """Estimate of the round trip."""
    t2: float = 4.0
    """Longest interval between retransmissions."""
    t4: float = 5.0
    """How long a message may stay in the network."""

    @property
    def patience(self) -> float:
        """64*T1: timers B, F, H, J, L, M, and D, which §17.1.1.2 wants to be at least 32 s."""
        return 64 * self.t1


class State(Enum):
    """The states of all four machines."""

    __hash__ = object.__hash__  # Enum's own is a call in Python for each look-up

    CALLING = auto()
    TRYING = auto()
    PROCEEDING = auto()
    ACCEPTED = auto()
    COMPLETED = auto()
    CONFIRMED = auto()
    TERMINATED = auto()


class Input(Enum):
    """What can happen to a machine."""

    __hash__ = object.__hash__

    PROVISIONAL = auto()
    """A 1xx: received by a client machine, to be sent by a server machine."""
    SUCCESS = auto()
    """A 2xx, likewise."""
    FAILURE = auto()
    """A 3xx to 6xx, likewise."""
    REQUEST = auto()
    """The request came again (server)."""
    ACK = auto()
    """An ACK of this transaction came (INVITE server)."""
    ACKNOWLEDGED = auto()
    """The dialog has its ACK: no need to send the 2xx again (INVITE server)."""
    RETRANSMIT = auto()
    END = auto()
    """The time of this state is over."""


class Host(Protocol):
    """What a machine needs of the layer that keeps it."""

    timers: Timers
    deadlines: Deadlines

    def transmit(self, tx: Transaction) -> None: ...
    def deliver_response(self, tx: Transaction, response: Response, now: float) -> None: ...
    def deliver_ack(self, tx: Transaction, ack: Request, now: float) -> None: ...
    def fail(self, tx: Transaction, now: float) -> None: ...
    def acknowledge_failure(self, tx: Transaction, response: Response) -> None: ...
    def send_due_cancel(self, tx: Transaction, now: float) -> None: ...
    def forget(self, tx: Transaction) -> None: ...


Action = Callable[["Transaction", Any, float], None]
Table = dict[tuple[State, Input], tuple[State, tuple[Action, ...]]]


class Transaction:
    """One machine. `last` is what a retransmission sends: the request, or the last response."""

    __slots__ = (
        "_deadline", "_end_at", "_host", "_interval", "_retransmit_at", "hop", "key", "last",
        "request", "state",
    )  # fmt: skip
    table: ClassVar[Table]

    def __init__(
        self, host: Host, key: object, hop: Hop, request: Request, state: State, last: bytes
    ) -> None:
        self._host = host
        self.request = request
        self.key = key
        self.hop = hop
        self.state = state
        self.last = last
        self._interval = host.timers.t1
        self._retransmit_at = self._end_at = inf
        self._deadline: Deadline | None = None

    def feed(self, what: Input, message: Request | Response | None, now: float) -> None:
        """Let something happen. Raises LocalFault for what this state does not know."""
        row = self.table.get((self.state, what))
        if row is None:
            raise LocalFault(f"{type(self).__name__}: no row for {what.name} in {self.state.name}")
        self.state, actions = row
        for action in actions:
            action(self, message, now)
        if self.state is State.TERMINATED:
            self._forget()
        elif self._end_at <= now:  # a timer of zero seconds: D, I, J, K over reliable transports
            self.feed(Input.END, None, now)
        else:
            self._arm()

    def end_at(self, when: float) -> None:
        """Have this state end at `when`."""
        self._end_at = when
        self._arm()

    def _arm(self) -> None:
        # One heap entry at a time: a wake-up that comes too early asks for the next one, so that
        # timers that are put off (nearly all are) cost nothing.
        due = self._retransmit_at if self._retransmit_at < self._end_at else self._end_at
        if self._deadline is not None:
            if self._deadline.when <= due:
                return
            self._deadline.cancel()
        if due < inf:
            late = self._host.timers.t1 / 4  # T1 is "an estimate of the RTT" (RFC 3261 §17.1.1.1)
            self._deadline = self._host.deadlines.about(due, late, self._wake)

    def _wake(self, now: float) -> None:
        self._deadline = None
        if self._end_at <= now:
            self.feed(Input.END, None, now)
        elif self._retransmit_at <= now:
            self.feed(Input.RETRANSMIT, None, now)
        else:
            self._arm()

    def _forget(self) -> None:
        if self._deadline is not None:  # else the heap would keep us for up to 64*T1 more
            self._deadline.cancel()
            self._deadline = None
        self._host.forget(self)


# -- actions: what rows are made of ----------------------------------------------------------------


def _send_last(tx: Transaction, message: Any, now: float) -> None:
    if tx.last:  # a server that has not answered yet has nothing to repeat
        tx._host.transmit(tx)


def _send(tx: Transaction, message: Response, now: float) -> None:
    tx.last = message.to_bytes()
    tx._host.transmit(tx)


def _deliver(tx: Transaction, message: Response, now: float) -> None:
    tx._host.deliver_response(tx, message, now)


def _deliver_ack(tx: Transaction, message: Request, now: float) -> None:
    tx._host.deliver_ack(tx, message, now)


def _fail(tx: Transaction, message: Any, now: float) -> None:
    tx._host.fail(tx, now)


def _ack_failure(tx: Transaction, message: Response, now: float) -> None:
    tx._host.acknowledge_failure(tx, message)


def _cancel_if_due(tx: Transaction, message: Any, now: float) -> None:
    tx._host.send_due_cancel(tx, now)


def _doubled(tx: Transaction, message: Any, now: float) -> None:
    """Timer A: "reset with a value of 2*T1 ... 4*T1 and so on" (§17.1.1.2)."""
    tx._interval *= 2
    tx._retransmit_at = now + tx._interval


def _doubled_to_t2(tx: Transaction, message: Any, now: float) -> None:
    """Timers E and G: MIN(2*interval, T2) (§17.1.2.2, §17.2.1)."""
    tx._interval = min(tx._interval * 2, tx._host.timers.t2)
    tx._retransmit_at = now + tx._interval


def _at_t2(tx: Transaction, message: Any, now: float) -> None:
    """Timer E in Proceeding "MUST be reset with a value of T2 seconds" (§17.1.2.2)."""
    tx._interval = tx._host.timers.t2
    tx._retransmit_at = now + tx._interval


def _retransmit_unless_reliable(tx: Transaction, message: Any, now: float) -> None:
    if not tx.hop.reliable:
        _retransmit(tx, message, now)


def _retransmit(tx: Transaction, message: Any, now: float) -> None:
    tx._interval = tx._host.timers.t1
    tx._retransmit_at = now + tx._interval


def _quiet(tx: Transaction, message: Any, now: float) -> None:
    tx._retransmit_at = inf


def _no_end(tx: Transaction, message: Any, now: float) -> None:
    tx._end_at = inf


def _patience(tx: Transaction, message: Any, now: float) -> None:
    tx._end_at = now + tx._host.timers.patience


def _patience_or_none(tx: Transaction, message: Any, now: float) -> None:
    """Timers D and J: zero over reliable transports."""
    tx._end_at = now if tx.hop.reliable else now + tx._host.timers.patience


def _t4_or_none(tx: Transaction, message: Any, now: float) -> None:
    """Timers I and K: zero over reliable transports."""
    tx._end_at = now if tx.hop.reliable else now + tx._host.timers.t4


# -- the tables ------------------------------------------------------------------------------------

_S, _I = State, Input

_ACCEPT = (_S.ACCEPTED, (_quiet, _patience, _deliver))
_REFUSED = (_S.COMPLETED, (_quiet, _patience_or_none, _ack_failure, _deliver))

INVITE_CLIENT: Final[Table] = {
    (_S.CALLING, _I.RETRANSMIT): (_S.CALLING, (_send_last, _doubled)),
    (_S.CALLING, _I.PROVISIONAL): (_S.PROCEEDING, (_quiet, _no_end, _cancel_if_due, _deliver)),
    (_S.CALLING, _I.SUCCESS): _ACCEPT,
    (_S.CALLING, _I.FAILURE): _REFUSED,
    (_S.CALLING, _I.END): (_S.TERMINATED, (_fail,)),
    (_S.PROCEEDING, _I.PROVISIONAL): (_S.PROCEEDING, (_deliver,)),
    (_S.PROCEEDING, _I.SUCCESS): _ACCEPT,
    (_S.PROCEEDING, _I.FAILURE): _REFUSED,
    # 64*T1 after a CANCEL that brought no final response (§9.1)
    (_S.PROCEEDING, _I.END): (_S.TERMINATED, (_fail,)),
    (_S.ACCEPTED, _I.PROVISIONAL): (_S.ACCEPTED, ()),
    (_S.ACCEPTED, _I.SUCCESS): (_S.ACCEPTED, (_deliver,)),
    (_S.ACCEPTED, _I.FAILURE): (_S.ACCEPTED, ()),
    (_S.ACCEPTED, _I.END): (_S.TERMINATED, ()),
    (_S.COMPLETED, _I.PROVISIONAL): (_S.COMPLETED, ()),
    (_S.COMPLETED, _I.SUCCESS): (_S.COMPLETED, (_deliver,)),
    (_S.COMPLETED, _I.FAILURE): (_S.COMPLETED, (_ack_failure,)),
    (_S.COMPLETED, _I.END): (_S.TERMINATED, ()),
}

_ANSWERED = (_S.COMPLETED, (_quiet, _t4_or_none, _deliver))

OTHER_CLIENT: Final[Table] = {
    (_S.TRYING, _I.RETRANSMIT): (_S.TRYING, (_send_last, _doubled_to_t2)),
    (_S.TRYING, _I.PROVISIONAL): (_S.PROCEEDING, (_deliver,)),
    (_S.TRYING, _I.SUCCESS): _ANSWERED,
    (_S.TRYING, _I.FAILURE): _ANSWERED,
    (_S.TRYING, _I.END): (_S.TERMINATED, (_fail,)),
    (_S.PROCEEDING, _I.RETRANSMIT): (_S.PROCEEDING, (_send_last, _at_t2)),
    (_S.PROCEEDING, _I.PROVISIONAL): (_S.PROCEEDING, (_deliver,)),
    (_S.PROCEEDING, _I.SUCCESS): _ANSWERED,
    (_S.PROCEEDING, _I.FAILURE): _ANSWERED,
    (_S.PROCEEDING, _I.END): (_S.TERMINATED, (_fail,)),
    (_S.COMPLETED, _I.PROVISIONAL): (_S.COMPLETED, ()),
    (_S.COMPLETED, _I.SUCCESS): (_S.COMPLETED, ()),
    (_S.COMPLETED, _I.FAILURE): (_S.COMPLETED, ()),
    (_S.COMPLETED, _I.END): (_S.TERMINATED, ()),
}

INVITE_SERVER: Final[Table] = {
    (_S.PROCEEDING, _I.REQUEST): (_S.PROCEEDING, (_send_last,)),
    (_S.PROCEEDING, _I.PROVISIONAL): (_S.PROCEEDING, (_send,)),
    (_S.PROCEEDING, _I.SUCCESS): (_S.ACCEPTED, (_send, _retransmit, _patience)),
    (_S.PROCEEDING, _I.FAILURE): (_S.COMPLETED, (_send, _retransmit_unless_reliable, _patience)),
    (_S.PROCEEDING, _I.ACK): (_S.PROCEEDING, ()),
    (_S.ACCEPTED, _I.REQUEST): (_S.ACCEPTED, ()),
    (_S.ACCEPTED, _I.PROVISIONAL): (_S.ACCEPTED, ()),
    # a further 2xx, of another dialog that the same INVITE made
    (_S.ACCEPTED, _I.SUCCESS): (_S.ACCEPTED, (_send,)),
    (_S.ACCEPTED, _I.RETRANSMIT): (_S.ACCEPTED, (_send_last, _doubled_to_t2)),
    # some clients give the ACK of a 2xx the branch of the INVITE
    (_S.ACCEPTED, _I.ACK): (_S.ACCEPTED, (_deliver_ack,)),
    (_S.ACCEPTED, _I.ACKNOWLEDGED): (_S.CONFIRMED, (_quiet,)),
    (_S.ACCEPTED, _I.END): (_S.TERMINATED, (_fail,)),
    (_S.COMPLETED, _I.REQUEST): (_S.COMPLETED, (_send_last,)),
    (_S.COMPLETED, _I.RETRANSMIT): (_S.COMPLETED, (_send_last, _doubled_to_t2)),
    (_S.COMPLETED, _I.ACK): (_S.CONFIRMED, (_quiet, _t4_or_none)),
    (_S.COMPLETED, _I.END): (_S.TERMINATED, (_fail,)),
    # CONFIRMED serves both ends: after a refusal as in §17.2.1, after a 2xx as RFC 6026's
    # Accepted once the dialog has its ACK; requests that come again are absorbed.
    (_S.CONFIRMED, _I.REQUEST): (_S.CONFIRMED, ()),
    (_S.CONFIRMED, _I.ACK): (_S.CONFIRMED, ()),
    (_S.CONFIRMED, _I.ACKNOWLEDGED): (_S.CONFIRMED, ()),
    (_S.CONFIRMED, _I.END): (_S.TERMINATED, ()),
}

OTHER_SERVER: Final[Table] = {
    (_S.TRYING, _I.REQUEST): (_S.TRYING, ()),
    (_S.TRYING, _I.PROVISIONAL): (_S.PROCEEDING, (_send,)),
    (_S.TRYING, _I.SUCCESS): (_S.COMPLETED, (_send, _patience_or_none)),
    (_S.TRYING, _I.FAILURE): (_S.COMPLETED, (_send, _patience_or_none)),
    (_S.TRYING, _I.END): (_S.TERMINATED, ()),
    (_S.PROCEEDING, _I.REQUEST): (_S.PROCEEDING, (_send_last,)),
    (_S.PROCEEDING, _I.PROVISIONAL): (_S.PROCEEDING, (_send,)),
    (_S.PROCEEDING, _I.SUCCESS): (_S.COMPLETED, (_send, _patience_or_none)),
    (_S.PROCEEDING, _I.FAILURE): (_S.COMPLETED, (_send, _patience_or_none)),
    (_S.PROCEEDING, _I.END): (_S.TERMINATED, ()),
    (_S.COMPLETED, _I.REQUEST): (_S.COMPLETED, (_send_last,)),
    # "any other final responses passed by the TU ... MUST be discarded" (§17.2.2)
    (_S.COMPLETED, _I.PROVISIONAL): (_S.COMPLETED, ()),
    (_S.COMPLETED, _I.SUCCESS): (_S.COMPLETED, ()),
    (_S.COMPLETED, _I.FAILURE): (_S.COMPLETED, ()),
    (_S.COMPLETED, _I.END): (_S.TERMINATED, ()),
}


class ClientTransaction(Transaction):
    """A request of ours. `context` is the transaction user's own."""

    __slots__ = ("cancelled", "context")
    invite: ClassVar[bool] = False
    table = OTHER_CLIENT
    first: ClassVar[State] = State.TRYING

    def __init__(
        self, host: Host, key: object, hop: Hop, request: Request, context: Any, now: float
    ) -> None:
        self.context = context
        self.cancelled = False
        super().__init__(host, key, hop, request, self.first, request.to_bytes())
        if not hop.reliable:
            self._retransmit_at = now + self._interval
        self._end_at = now + host.timers.patience
        self._arm()


class InviteClientTransaction(ClientTransaction):
    """An INVITE of ours."""

    __slots__ = ()
    invite = True
    table = INVITE_CLIENT
    first = State.CALLING


class ServerTransaction(Transaction):
    """A request of theirs. `tag` is the To-tag of our answers; `context` the user's own."""

    __slots__ = ("context", "tag")
    invite: ClassVar[bool] = False
    table = OTHER_SERVER
    first: ClassVar[State] = State.TRYING

    def __init__(self, host: Host, key: object, hop: Hop, request: Request) -> None:
        self.tag: str | None = None
        self.context: Any = None
        super().__init__(host, key, hop, request, self.first, b"")


class InviteServerTransaction(ServerTransaction):
    """An INVITE of theirs."""

    __slots__ = ()
    invite = True
    table = INVITE_SERVER
    first = State.PROCEEDING
