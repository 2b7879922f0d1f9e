"""Transactions without sockets: messages to feed them, a user that notes what it is told, and two
layers joined by a network that loses, doubles and delays."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from tandem.sip.build import response_to
from tandem.sip.deadlines import Deadlines
from tandem.sip.message import Request, Response, parse_message
from tandem.sip.transaction import (
    ClientTransaction,
    Hop,
    ServerTransaction,
    TransactionLayer,
)

UNRELIABLE = Hop("peer", reliable=False)
RELIABLE = Hop("peer", reliable=True)


def request(
    method: str = "INVITE",
    *extra: str,
    branch: str | None = "z9hG4bK1",
    number: int = 1,
    call_id: str = "call@test",
) -> Request:
    """A request; with a branch (or "" for RFC 2543) it has a Via as received, None: no Via yet."""
    lines = [] if branch is None else [_via(branch)]
    lines += extra
    lines += [
        "From: <sip:alice@example.test>;tag=a",
        "To: <sip:bob@example.test>",
        f"Call-ID: {call_id}",
        f"CSeq: {number} {method}",
        "Max-Forwards: 70",
    ]
    return Request(method, "sip:bob@example.test", lines)


def _via(branch: str) -> str:
    return "Via: SIP/2.0/UDP 192.0.2.1:5060" + (f";branch={branch}" if branch else "")


def answer(to: Request, status: int, tag: str = "b") -> Response:
    """A response as it is received or sent."""
    return response_to(to, status, tag=tag)


def tokens(prefix: str = "t") -> Callable[[], str]:
    """Random text that is the same in each run."""
    numbers = count(1)
    return lambda: f"{prefix}{next(numbers)}"


@dataclass
class Recorder:
    """A transaction user that notes what it is told and does nothing by itself."""

    requests: list[ServerTransaction] = field(default_factory=list)
    acks: list[Request] = field(default_factory=list)
    cancelled: list[ServerTransaction] = field(default_factory=list)
    responses: list[tuple[ClientTransaction, int]] = field(default_factory=list)
    failures: list[tuple[ClientTransaction, int]] = field(default_factory=list)
    strays: list[Response] = field(default_factory=list)
    unacknowledged: list[ServerTransaction] = field(default_factory=list)

    @property
    def statuses(self) -> list[int]:
        """The responses' statuses alone."""
        return [status for _, status in self.responses]

    def on_request(self, tx: ServerTransaction, now: float) -> None:
        self.requests.append(tx)

    def on_ack(self, ack: Request, hop: Hop, now: float) -> None:
        self.acks.append(ack)

    def on_cancel(self, tx: ServerTransaction, cancel: Request, now: float) -> None:
        self.cancelled.append(tx)

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        self.responses.append((tx, response.status))

    def on_client_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        self.failures.append((tx, status))

    def on_stray_response(self, response: Response, hop: Hop, now: float) -> None:
        self.strays.append(response)

    def on_server_timeout(self, tx: ServerTransaction, now: float) -> None:
        self.unacknowledged.append(tx)


@dataclass
class Bench:
    """One layer by itself, its clock, and what it sent with the time of each."""

    max_transactions: int = 100
    now: float = 0.0
    sent: list[tuple[float, Request | Response]] = field(default_factory=list)
    user: Recorder = field(default_factory=Recorder)
    deadlines: Deadlines = field(default_factory=Deadlines)

    def __post_init__(self) -> None:
        self.layer = TransactionLayer(
            lambda data, peer: self.sent.append((self.now, parse_message(data))),
            self.user,
            self.deadlines,
            sent_by="192.0.2.9:5060",
            new_token=tokens(),
            max_transactions=self.max_transactions,
        )

    def receive(self, message: Request | Response, hop: Hop = UNRELIABLE) -> None:
        """Let a message arrive."""
        self.layer.receive(message, hop, self.now)

    def until(self, when: float) -> None:
        """Move the clock from one deadline to the next, up to and with `when`."""
        while (due := self.deadlines.next()) is not None and due <= when:
            self.now = max(self.now, due)
            self.deadlines.run(self.now)
        self.now = when

    @property
    def sent_last(self) -> Request | Response:
        """The last message sent."""
        return self.sent[-1][1]

    def times(self, what: str | int) -> list[float]:
        """When requests of this method, or responses of this status, were sent."""
        return [
            when
            for when, message in self.sent
            if what == (message.method if isinstance(message, Request) else message.status)
        ]


@dataclass(frozen=True)
class Weather:
    """What a network does to a datagram: probabilities, and seconds of delay."""

    loss: float = 0.0
    duplication: float = 0.0
    min_delay: float = 0.01
    max_delay: float = 0.01


class Network:
    """Delivers between the ends that were joined to it, on its own clock."""

    def __init__(self, weather: Weather, seed: int) -> None:
        self.deadlines = Deadlines()
        self.now = 0.0
        self._weather = weather
        self._random = random.Random(seed)
        self._ends: dict[str, TransactionLayer] = {}

    def join(self, name: str, layer: TransactionLayer) -> None:
        """Make `layer` reachable as peer `name`."""
        self._ends[name] = layer

    def sender(self, name: str) -> Callable[[bytes, str], None]:
        """The `send` of the end `name`."""
        return lambda data, peer: self._send(data, name, peer)

    def _send(self, data: bytes, source: str, peer: str) -> None:
        if self._random.random() < self._weather.loss:
            return
        copies = 2 if self._random.random() < self._weather.duplication else 1
        for _ in range(copies):
            delay = self._random.uniform(self._weather.min_delay, self._weather.max_delay)
            self.deadlines.at(self.now + delay, lambda now: self._arrive(data, source, peer, now))

    def _arrive(self, data: bytes, source: str, peer: str, now: float) -> None:
        message = parse_message(data)
        message.check()
        self._ends[peer].receive(message, Hop(source, reliable=False), now)

    def until(self, when: float) -> None:
        """Run everything up to `when`."""
        while (due := self.deadlines.next()) is not None and due <= when:
            self.now = max(self.now, due)
            self.deadlines.run(self.now)
        self.now = when
