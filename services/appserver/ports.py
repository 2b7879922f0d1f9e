"""What the appserver's core asks of others, and what its parts ask of each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.appserver.config import AppServerConfig
from services.appserver.domain.best_response import passed_status
from services.appserver.domain.call import Call
from services.appserver.domain.callbacks import Trigger
from services.appserver.domain.legs import LegRef
from services.appserver.domain.loops import Loops
from services.appserver.domain.plan import CallPlan, Fork, NextHop, Target
from services.appserver.domain.proxies import Proxies
from services.appserver.domain.transfers import BLIND, Order
from tandem.bus.ports import Publisher
from tandem.rpc.directory import Account
from tandem.rpc.programs import Customer
from tandem.sip.deadlines import Deadlines
from tandem.sip.message import Request, Response
from tandem.sip.transaction import ClientTransaction, Hop, ServerTransaction, TransactionLayer
from tandem.sip.uri import Uri


class OutsideHop(Protocol):
    """Where a URI leads by RFC 3263, as `tandem.siptransport.resolver` finds it."""

    @property
    def transport(self) -> str:
        """`udp`, `tcp`, `tls`, `ws` or `wss`."""

    @property
    def host(self) -> str:
        """An IP address, without brackets."""

    @property
    def port(self) -> int:
        """Never 0."""

    @property
    def server_name(self) -> str | None:
        """What the certificate must be for, where TLS is spoken with a host of this name."""


class Resolver(Protocol):
    """RFC 3263: from a URI to addresses, best first. An empty list: it leads nowhere."""

    def resolve_now(self, uri: Uri) -> Sequence[OutsideHop] | None:
        """The answer if it is known without waiting (an address, a cached name), else None."""

    async def resolve(self, uri: Uri) -> Sequence[OutsideHop]:
        """The answer, bounded in time."""

    def judge(self, hop: str, good: bool, now: float) -> None:
        """Whether this hop (`udp:203.0.113.7:5060`) answered, or failed by RFC 3263 §4.3: no
        answer, no connection, or 503. What failed is tried last for a while."""

    async def enum(self, number: str, zone: str) -> str:
        """The SIP URI of a telephone number by ENUM (RFC 6116), "" for none. Bounded in time."""


class Waiter(Protocol):
    """Who has a call wait for a callback. No method waits; after `joined` or `gone` none is
    called any more."""

    def ready(self, now: float) -> None:
        """The phone that was rung by `dial_out` has answered."""

    def matched(self, request: Request, now: float) -> None:
        """The callback came: this INVITE. It is being joined."""

    def joined(self, now: float) -> None:
        """Caller and callback are connected."""

    def gone(self, reason: str, now: float) -> None:
        """The call ended before that."""


class Calls(Protocol):
    """The B2BUA. No method waits, and `now` is the steady clock of the deadlines.

    Routing has authenticated the caller and looked the destination up before `start`; what is in
    a dialog (To has a tag), and what belongs to a client transaction that the B2BUA made, goes to
    it untouched.
    """

    def start(self, tx: ServerTransaction, plan: CallPlan, now: float) -> None:
        """Begin the call of this INVITE (which has no To-tag and no final answer yet; routing has
        sent its 100 if it had to wait)."""

    def in_dialog(self, tx: ServerTransaction, now: float) -> None:
        """A request with a To-tag, of any method but ACK and CANCEL: answer 481 if unknown."""

    def on_ack(self, ack: Request, hop: Hop, now: float) -> None:
        """The ACK of a 2xx."""

    def on_cancel(self, tx: ServerTransaction, cancel: Request, now: float) -> None:
        """An INVITE given by `start` or `in_dialog` was cancelled; the CANCEL has its 200."""

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """A response to a request of the B2BUA's own."""

    def on_client_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """A request of the B2BUA's own failed: 408 time-out, 503 transport."""

    def on_stray_response(self, response: Response, hop: Hop, now: float) -> None:
        """A response of no transaction: a 2xx again after its transaction has ended."""

    def on_server_timeout(self, tx: ServerTransaction, now: float) -> None:
        """No ACK came for the final answer to this INVITE."""

    def flow_closed(self, token: str, now: float) -> None:
        """The connection behind this flow token is gone: what rings over it has failed."""

    def proxy_lost(self, proxy: str, now: float) -> None:
        """The proxy with this link address is away."""

    def live(self) -> list[Call]:
        """The calls that are under way."""

    def find(self, call_id: str) -> Call | None:
        """The call under way with this id."""

    def accounts_of(self, call_id: str) -> tuple[Account, ...]:
        """The accounts at the ends of a call that is not answered yet."""

    def wait(self, call_id: str, waiter: Waiter, now: float) -> bool:
        """Have an unanswered call wait for a callback: what rings is cancelled, the caller hears
        ringing. False if there is no such call, or it is answered or waits already."""

    def stop_waiting(self, call_id: str, now: float) -> bool:
        """The callback did not come: the call is its pilot's again, and its waiter hears no more.
        False if it does not wait, or nobody steers it."""

    def dial_out(
        self, account: Account, targets: tuple[Target, ...], waiter: Waiter, now: float
    ) -> str | None:
        """Ring the phones of an account that is to wait for a callback; the id of the call, None
        if there are too many calls. A plan with this id in `joins` is the callback."""

    def waiting(self, call_id: str) -> bool:
        """Whether this call waits for a callback."""

    def hang_up(self, call_id: str, reason: str, now: float) -> bool:
        """End a call by its id, for this reason; False if there is none."""

    @property
    def dialogs(self) -> int:
        """How many dialogs are known."""

    def __len__(self) -> int:
        """How many calls are under way."""

    async def stop(self) -> None:
        """The node ends: write the records that are still due. Calls that are up stay up."""


@dataclass(frozen=True, slots=True)
class LegFailure:
    """How one leg of a fork ended unanswered."""

    target: Target
    status: int
    """Its final status; 408, 430 and 503 may be our own finding, 487 that we gave it up."""
    reason: str
    contacts: tuple[str, ...] = ()
    """The URIs of a 3xx."""

    @property
    def passed(self) -> int:
        """The status under which the caller may hear of it: 401 and 407 are for us to answer, 503
        and 430 say nothing of the way to us."""
        return passed_status(self.status)


class Pilot(Protocol):
    """Who steers a call until it is answered: a run of a dialplan. No method waits; after
    `answered` or `gone` none is called any more, but for `gone` of who follows the call."""

    def failed(self, legs: Sequence[LegFailure], timed_out: bool, now: float) -> None:
        """All legs of the last fork have ended, or its ring time is over. Nothing rings now; the
        caller still waits."""

    def answered(self, now: float) -> None:
        """A leg answered: the call is up and needs nobody any more."""

    def gone(self, reason: str, now: float) -> None:
        """The call ended before that: the caller gave up, an operator hung up, the node stops."""


Second = Callable[[float], None]
"""Told that the first end of a call that begins with us has answered, and when."""


class Steering(Protocol):
    """What a pilot may do with its call, which `Calls` implements. Methods that return a bool say
    whether there is still such a call, unanswered. None of them calls the pilot before it returns,
    but for `refuse`, after which it hears no more. Who calls them from a task, and not from a SIP
    message or a deadline, has the loop's timer moved afterwards (`Clockwork.arm`)."""

    def begin(self, tx: ServerTransaction, plan: CallPlan, pilot: Pilot, now: float) -> str | None:
        """Open the call of this INVITE without ringing anybody: the plan has no targets. The id of
        the call; None if it was refused, which has been answered."""

    def ring(self, call_id: str, fork: Fork, now: float) -> bool:
        """Ring these legs. False, too, if something rings already, or the call waits for a
        callback. A call has 20 legs over all its forks; those beyond have failed."""

    def progress(
        self, call_id: str, status: int, reason: str, lines: Sequence[str], now: float
    ) -> bool:
        """Send the caller a provisional answer (above 100; another status is not sent). Lines that
        belong to a hop or a dialog are left out."""

    def refuse(
        self, call_id: str, status: int, reason: str, lines: Sequence[str], now: float
    ) -> bool:
        """End the call with this final answer (300 and above; another is not sent), and its
        record. `gone` is not called. 401 and 407 go as 403: nobody could answer them."""

    def follow(self, call_id: str, pilot: Pilot) -> bool:
        """Have `gone` called once when this answered call ends, or goes on as another. A pilot may
        ask for it within `answered`. False if the call is not up."""

    def connect(
        self, customer: Customer, first: Fork, second: Second, pilot: Pilot, now: float
    ) -> str:
        """A call that begins with us (web callback, `sys.callback`): ring `first` with a held
        offer; when somebody answers, `second(now)` is called, and the next `ring` of this call
        rings the other end, which is joined to it: then `answered` is called. `failed` comes for
        either end. Raises `domain.transfers.Refused` if there are too many calls, of this node or
        of the customer."""


class Moves(Protocol):
    """Transfers of answered calls within the B2BUA, which `Calls` implements. Each raises
    `domain.transfers.Refused`, and has changed nothing then. The arming is as for `Steering`."""

    def transfer(
        self, leg: LegRef, destination: str, pilot: Pilot, now: float, order: Order = BLIND
    ) -> str:
        """Begin to put somebody else into the place of this leg: a new call, whose id it gives. The
        pilot has forks rung for it by `Steering.ring`; who answers is joined to the leg's far end.
        `refuse` ends the attempt, and the old call is as it was."""

    def join(self, first: LegRef, second: LegRef, now: float) -> str:
        """Begin to join the far ends of two legs of two calls in a new one, whose id it gives."""


@dataclass(frozen=True, slots=True)
class Referral:
    """A REFER that the switch has taken on: it rings the target for who stays in the call."""

    call_id: str
    """The new call."""
    owners: tuple[str, ...]
    account: str
    """The AOR of who sent it, "" for somebody outside."""
    target: Uri
    """A sip, sips or tel URI without headers."""
    caller: str
    """From of who stays, as a header value without tag."""
    source: str
    """Where he is: `udp:203.0.113.7:5060`."""
    proxy: str
    """The link address of the proxy that leads to him, "" for none."""


Refer = Callable[[Referral], Pilot | None]
"""Takes a referral on: it is rung for from a task of its own, later. None: nobody does that."""


class Transfers(Protocol):
    """What is asked of calls from outside of SIP: by the call manager, the API and tools.

    Each returns Tandem's id of the call that begins by it, within seconds, and does not wait for
    anybody to answer; what becomes of it is told by events. Each raises
    `domain.transfers.Refused` when it can't begin, and has changed nothing then.

    A leg that is transferred away stays in its call until the new party has answered (PEERS 12).
    Then its far end is joined to the new party and it is hung up; if nobody answers, or the far end
    hangs up meanwhile, the new party's legs are given up and the call is as it was. The customer is
    one of the call's owners: that was checked, but the call may have ended since.
    """

    async def run_dialplan(self, customer: str, dialplan: str, destination: str) -> str:
        """Run a dialplan for a call without a caller, direction `out`: `req.user` is
        `destination`, its host the default domain, its From `anonymous`. It calls by
        `sys.callback`; `sys.dial` has nobody to join to anybody and is refused."""

    async def connect(self, customer: str, first: str, second: str) -> str:
        """Ring the dial string `first`, then `second`, and join them."""

    async def blind(self, customer: str, leg: LegRef, destination: str, dialplan: str) -> str:
        """Run the dialplan (`transfer`) with `req.user` as `destination`: whoever answers its dial
        takes this leg's place. The offer that its legs get is the far end's session description."""

    async def direct(self, customer: str, leg: LegRef, dial: str) -> str:
        """As `blind`, with a dial string in place of a dialplan."""

    async def dual(self, customer: str, first: LegRef, second: LegRef) -> None:
        """Join the far ends of two legs of two calls of this node, and hang both legs up."""


class Signals(Protocol):
    """What voice applications hand back to dialplans that wait (POST /api/v1/signals/KEY)."""

    async def wait(self, customer: str, key: str, seconds: float) -> str | None:
        """The next signal under this key, one that came a little earlier included; None if none
        came in time. Everybody who waits under a key gets it. Raises
        `domain.signals.TooManyWaits`."""

    def put(self, customer: str, key: str, body: str, *, keep: bool) -> tuple[int, bool]:
        """Give it to all who wait; with `keep` and nobody there, keep it for who comes within
        `domain.signals.KEEP_SECONDS`. How many got it, and whether it is kept. Raises
        `domain.signals.Full` when too many are kept."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of a trigger."""

    status: int
    """The HTTP status; 0: no answer."""
    problem: str = ""
    """Why there is no answer, in words for people."""


class HttpTrigger(Protocol):
    """Asks providers to call back. Never raises, never follows a redirection, bounded in time."""

    async def ask(self, trigger: Trigger, customer: str) -> Asked:
        """Send the request of this customer."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a web server said."""

    status: int
    """The HTTP status; 0: no answer."""
    body: bytes = field(default=b"", repr=False)
    """The beginning of it."""
    content_type: str = ""
    cookies: tuple[str, ...] = field(default=(), repr=False)
    """The values of its Set-Cookie headers."""
    problem: str = ""
    """Why there is no answer, in words for people."""


class Web(Protocol):
    """Sends HTTP requests for customers, never to private addresses. Never raises, never follows a
    redirection."""

    async def fetch(self, trigger: Trigger, seconds: float, customer: str) -> Page:
        """Send this one of this customer; all of it takes so long at most."""


class Mailer(Protocol):
    """Sends mails by the operator's server."""

    async def send(self, to: Sequence[str], subject: str, body: str) -> str:
        """Send one, bounded in time; why it could not be sent, "" if it was taken."""


Done = Callable[[tuple[NextHop, ...], float], None]
"""Takes the ways, and the time it is by now."""

NextHops = Callable[[Uri, str, float, Done], None]
"""`next_hops(uri, proxy, now, done)`: ways to a URI outside by RFC 3263 through this proxy, best
first, none if it leads nowhere. May call `done` before it returns."""

Judge = Callable[[NextHop, bool, float], None]
"""`judge(hop, good, now)`: a hop answered, or failed so that others are to be tried first."""


@dataclass(frozen=True, slots=True)
class CallHost:
    """What the B2BUA is given to work with, once, when the appserver is put together."""

    layer: TransactionLayer
    deadlines: Deadlines
    publisher: Publisher
    config: AppServerConfig
    link_address: str
    """What a Contact or Record-Route names this appserver by on the link: `host:port`."""
    link_reliable: bool
    wall: Callable[[], float]
    """Unix time in seconds."""
    new_token: Callable[[], str]
    """Random text for tags and Call-IDs."""
    next_hops: NextHops | None = None
    """For requests inside dialogs whose far end is not pinned to a flow; None: all are."""
    places: NextHops | None = None
    """For the contacts of redirections: to ourselves for who is in a domain of ours, else as
    `next_hops`; None: as that."""
    judge: Judge | None = None
    """Hears of every hop whether it works."""
    proxies: Proxies = field(default_factory=Proxies)
    """Which proxies are there, for flows whose proxy may be away."""
    loops: Loops = field(default_factory=Loops)
    """Where routing looks for what is told of INVITEs to ourselves."""
    refer: Refer | None = None
    """Takes REFERs on for the switch to do; None: those are refused."""


CallsFactory = Callable[[CallHost], Calls]
