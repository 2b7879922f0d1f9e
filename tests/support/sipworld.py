"""A SIP world in memory with a hand-moved clock: phones, a proxy in miniature, and the B2BUA.

    Phone ── datagrams ──► ProxyInMiniature ── link ──► SwitchCore (TransactionLayer + Calls)

Every message may be lost, doubled or delayed, by a seed. Nothing here looks at a real clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from services.appserver.config import AppServerConfig
from services.appserver.domain.plan import CallPlan, NextHop, Target
from services.appserver.handlers.calls import CallLimits, Calls
from services.appserver.ports import CallHost, NextHops, Pilot
from tandem.bus.call_events import CallRecord
from tandem.bus.event import Event
from tandem.bus.ports import Topic
from tandem.rpc.directory import Account
from tandem.sip.build import response_to
from tandem.sip.deadlines import Deadlines
from tandem.sip.message import Message, Request, Response, parse_message
from tandem.sip.transaction import (
    ClientTransaction,
    Hop,
    ServerTransaction,
    TransactionLayer,
)
from tests.support.sipphone import (
    ANSWER,
    OFFER,
    Behaviour,
    Phone,
    pick_up,
    refuse,
    ring,
    silent,
)

__all__ = [
    "ANSWER", "OFFER", "Phone", "Weather", "World", "finish", "fork", "hop_to", "pair", "pick_up",
    "plan", "refuse", "ring", "silent", "talk", "target",
]  # fmt: skip

SWITCH: Final = "10.0.0.9:5090"
PROXY: Final = "10.0.0.1:5070"
PUBLIC: Final = "198.51.100.1:5060"


@dataclass(slots=True)
class Weather:
    """What the network does to each datagram."""

    loss: float = 0.0
    doubling: float = 0.0
    delay: float = 0.0
    """Longest delay in seconds; each datagram takes a random part of it, so that they overtake."""


class World:
    """The clock, the network and everybody on it."""

    def __init__(
        self,
        *,
        seed: int = 0,
        weather: Weather | None = None,
        limits: CallLimits | None = None,
        next_hops: NextHops | None = None,
    ) -> None:
        self.now = 1000.0
        self.random = Random(seed)
        self.weather = weather or Weather()
        self.deadlines = Deadlines()
        self.events: list[Event] = []
        self.phones: dict[str, Phone] = {}
        self.addresses: dict[str, str] = {}
        """Where the proxy sees requests of a phone come from, if not where their Via says."""
        self.dead: set[str] = set()
        """Phones that hear and say nothing any more."""
        self.flow_gone: set[str] = set()
        """Phones whose flow the proxy knows to be closed: 430."""
        self.wire: list[tuple[str, str, Message]] = []
        """All that was delivered: from, to, message."""
        self.lose: Callable[[str, str, Message], bool] = lambda src, dst, message: False
        """A test's own loss: what it says True to does not arrive."""
        self._queue: deque[tuple[str, str, bytes]] = deque()
        self._tokens = 0
        self.switch = SwitchCore(self, limits, next_hops)
        self.calls = self.switch.calls

    def token(self) -> str:
        """Unique text."""
        self._tokens += 1
        return f"{self._tokens:016x}"

    def publish(self, topic: Topic, payload: Any) -> None:
        """The bus: keeps the events."""
        assert topic is Topic.EVENTS
        self.events.append(payload)

    def records(self) -> list[CallRecord]:
        """The call records so far."""
        return [event for event in self.events if isinstance(event, CallRecord)]

    def kinds(self) -> list[str]:
        """The types of the events so far."""
        return [event.type for event in self.events]

    def phone(self, name: str, **options: Any) -> Phone:
        """A new phone."""
        phone = self.phones[name] = Phone(self, name, **options)
        return phone

    # -- the network ---------------------------------------------------------------------------

    def send(self, src: str, dst: str, data: bytes) -> None:
        """A datagram from a phone, or over the link."""
        weather = self.weather
        if self.random.random() < weather.loss:
            return
        copies = 2 if self.random.random() < weather.doubling else 1
        for _ in range(copies):
            if weather.delay:
                when = self.now + self.random.random() * weather.delay
                self.deadlines.at(when, lambda now: self._queue.append((src, dst, data)))
            else:
                self._queue.append((src, dst, data))

    def settle(self) -> None:
        """Deliver what is under way."""
        while self._queue:
            src, dst, data = self._queue.popleft()
            if src in self.dead or dst in self.dead:
                continue
            message = parse_message(data)
            message.check()
            if self.lose(src, dst, message):
                continue
            self.wire.append((src, dst, message))
            if dst == "switch":
                self.switch.receive_from_phone(src, message)
            else:
                self._to_phone(dst, message)

    def _to_phone(self, name: str, message: Message) -> None:
        if name in self.flow_gone and isinstance(message, Request):
            if message.method != "ACK":
                self.send(name, "switch", response_to(message, 430, tag="proxy").to_bytes())
            return
        self.phones[name].receive(message)

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass."""
        until = self.now + seconds
        self.settle()
        while (due := self.deadlines.next()) is not None and due <= until:
            self.now = max(self.now, due)
            self.deadlines.run(self.now)
            self.settle()
        self.now = until

    # -- what tests ask ------------------------------------------------------------------------

    def sent_to(self, name: str, method: str) -> list[Request]:
        """The requests of this method that reached a phone, retransmissions too."""
        return [
            message
            for _, dst, message in self.wire
            if dst == name and isinstance(message, Request) and message.method == method
        ]

    def answers_to(self, name: str, method: str) -> list[int]:
        """The statuses of the responses that reached a phone."""
        return [
            message.status
            for _, dst, message in self.wire
            if dst == name and isinstance(message, Response) and message.cseq.method == method
        ]

    def clean(self) -> bool:
        """Whether nothing is left of any call."""
        board = self.calls._board
        return not (board.calls or board.byes or board.dialogs or len(self.switch.layer))


class SwitchCore:
    """The proxy in miniature, and an appserver's core without registrar and routing."""

    def __init__(self, world: World, limits: CallLimits | None, next_hops: NextHops | None) -> None:
        self._world = world
        self.plan = CallPlan("in", ("owner",), None, None, ())
        self.pilot: Pilot | None = None
        """Who steers new calls; None: they ring what the plan says."""
        self.layer = TransactionLayer(
            self._from_switch, self, world.deadlines, sent_by=SWITCH, new_token=world.token
        )
        host = CallHost(
            layer=self.layer,
            deadlines=world.deadlines,
            publisher=world,
            config=AppServerConfig(domains=("example.org",)),
            link_address=SWITCH,
            link_reliable=True,
            wall=lambda: world.now + 1_700_000_000,
            new_token=world.token,
            next_hops=next_hops,
        )
        self.calls = Calls(host, limits or CallLimits())

    # -- the proxy -----------------------------------------------------------------------------

    def receive_from_phone(self, name: str, message: Message) -> None:
        """Put our Via and Record-Routes on, take our Routes off, and pass over the link."""
        assert isinstance(message, Request | Response)
        if isinstance(message, Response):
            message.pop_item("via")
            if not message.values("via"):
                return
        else:
            while (route := message.first("route")) and (PROXY in route or PUBLIC in route):
                message.pop_item("route")
            branch = f"z9hG4bKp{message.via.branch[7:]}"
            if name in self._world.addresses:
                top = message.pop_item("via")
                received = self._world.addresses[name]
                message.add("Via", f"{top};received={received};rport=5060", top=True)
            if message.method != "ACK" and not message.to.tag:
                message.add("Record-Route", f"<sip:{PUBLIC};lr>", top=True)
                message.add("Record-Route", f"<sip:{name}@{PROXY};lr>", top=True)
            message.add("Via", f"SIP/2.0/UDP {PROXY};branch={branch}", top=True)
        again = parse_message(message.to_bytes())
        self.layer.receive(again, Hop(PROXY, False), self._world.now)

    def _from_switch(self, data: bytes, peer: str) -> None:
        message = parse_message(data)
        if isinstance(message, Response):
            message.pop_item("via")
            name = message.via.host.partition(".")[0]
        else:
            name = self._route(message)
            branch = f"z9hG4bKp{message.via.branch[7:]}"
            if message.method == "INVITE" and not message.to.tag:
                message.add("Record-Route", f"<sip:{name}@{PROXY};lr>", top=True)
                message.add("Record-Route", f"<sip:{PUBLIC};lr>", top=True)
            message.add("Via", f"SIP/2.0/UDP {PUBLIC};branch={branch}", top=True)
        if name in self._world.phones:
            self._world.send("switch", name, message.to_bytes())

    def _route(self, request: Request) -> str:
        token = request.pop_item("route") or ""
        route = request.first("route")
        if route is not None and PUBLIC in route:
            request.pop_item("route")
        return token.partition("sip:")[2].partition("@")[0]

    # -- the core ------------------------------------------------------------------------------

    def on_request(self, tx: ServerTransaction, now: float) -> None:
        """In a dialog or a new call."""
        if tx.request.to.tag:
            self.calls.in_dialog(tx, now)
        elif self.pilot is not None and not self.plan.joins:
            self.calls.begin(tx, self.plan, self.pilot, now)
        else:
            self.calls.start(tx, self.plan, now)

    def on_ack(self, ack: Request, hop: Hop, now: float) -> None:
        """As the core does."""
        self.calls.on_ack(ack, hop, now)

    def on_cancel(self, tx: ServerTransaction, cancel: Request, now: float) -> None:
        """As the core does."""
        self.calls.on_cancel(tx, cancel, now)

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """As the core does."""
        self.calls.on_response(tx, response, now)

    def on_client_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """As the core does."""
        self.calls.on_client_failure(tx, status, now)

    def on_stray_response(self, response: Response, hop: Hop, now: float) -> None:
        """As the core does."""
        self.calls.on_stray_response(response, hop, now)

    def on_server_timeout(self, tx: ServerTransaction, now: float) -> None:
        """As the core does."""
        self.calls.on_server_timeout(tx, now)


def hop_to(name: str, *, pinned: bool = True) -> NextHop:
    """The way to a phone."""
    return NextHop(PROXY, (f"<sip:{name}@{PROXY};lr>",), False, pinned, f"udp:{name}:5060")


def target(name: str, *others: str) -> Target:
    """A target that rings one phone, or another by a further hop."""
    hops = tuple(hop_to(each) for each in (name, *others))
    return Target(f"sip:{name}@{name}.invalid", hops, f"{name}@example.org")


def plan(*targets: Target, max_seconds: int = 0, **accounts: Account | None) -> CallPlan:
    """Ring these."""
    return CallPlan(
        "in", ("owner",), accounts.get("caller"), accounts.get("callee"), targets, max_seconds
    )


def pair(world: World, behaviour: Behaviour = pick_up) -> tuple[Phone, Phone]:
    """Alice, who calls, and Bob, who is rung."""
    alice, bob = world.phone("alice"), world.phone("bob", behaviour=behaviour)
    world.switch.plan = plan(target("bob"))
    return alice, bob


def talk(world: World, **options: Any) -> tuple[Phone, Phone]:
    """Alice and Bob in a call that is up."""
    alice, bob = pair(world)
    alice.call(**options)
    world.run(1)
    assert bob.confirmed
    return alice, bob


def fork(world: World, *behaviours: Behaviour) -> tuple[Phone, list[Phone]]:
    """Alice, and as many phones rung at once as there are behaviours."""
    alice = world.phone("alice")
    names = [f"phone{n}" for n in range(len(behaviours))]
    phones = [
        world.phone(name, behaviour=behaviour)
        for name, behaviour in zip(names, behaviours, strict=True)
    ]
    world.switch.plan = plan(*(target(name) for name in names))
    return alice, phones


def finish(world: World) -> None:
    """Nothing may be left once all transactions had their time."""
    world.run(200)
    assert world.clean()
    assert len(world.records()) == 1
