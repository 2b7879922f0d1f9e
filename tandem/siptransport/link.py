"""The internal link between proxies and appservers.

A link carries whole SIP messages, and control lines (§ below), between a proxy and an appserver.
It is trusted: only our own services hold an end of it. In one process it is memory; between
processes it is UDP on internal sockets.

What a proxy understands in the Route of a request that comes over the link (topmost first):
  <sip:TOKEN@proxy;lr>                    a token that this cluster signed: the flow it names
  <sip:proxy;lr;dst=udp:192.0.2.1:5060>   send to that address over that transport; with `;sni=name`
                                          over TLS, to whom has a certificate for that name
Both `proxy` routes are taken away. The response comes back over the link.

Control lines begin with a byte that no SIP message begins with:
  \\x01KEEPALIVE TOKEN        appserver → proxy: send a NAT keep-alive down this flow
  \\x01FLOW-CLOSED TOKEN      proxy → appserver: the connection behind this token is gone
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

CONTROL: Final = b"\x01"

MAX_DRAIN: Final = 4096
"""Deliveries in one turn of the loop, so that ends which answer each other without an end leave
the loop to the rest: a batch of 64 datagrams makes some 300."""

Receiver = Callable[[bytes, str], None]
"""Takes one message (or control line) and the peer that it came from."""


class Link(Protocol):
    """One end of the link."""

    address: str
    """What a Via or Route names this end by: `host:port`."""
    reliable: bool
    """Whether what is sent arrives: then only the outer transport decides on retransmissions."""
    receiver: Receiver

    def send(self, data: bytes, peer: str) -> None:
        """Send to a peer (its `address`); never blocks, never raises for a peer that is away."""


class BatchLink(Link, Protocol):
    """One that can be told where a batch of messages begins and ends, which costs less."""

    def hold(self) -> None:
        """A batch begins: what is sent from now on waits for `flush`."""

    def flush(self) -> None:
        """The batch ends: what was sent leaves now, and not when the loop comes round."""


class Hub:
    """Joins the ends that live in one process, with one queue for all of them.

    Whoever ends a batch carries it through: `drain` delivers until nothing is left, what the
    receivers send meanwhile too, so that a datagram is read, answered and on its way in one turn
    of the loop. A receiver is entered from the drain alone, and so never from inside its own send.
    """

    def __init__(self) -> None:
        self.ends: dict[str, MemoryLink] = {}
        self.held = False
        self._queue: deque[tuple[MemoryLink, bytes, str]] = deque()
        self._scheduled = False
        self._draining = False

    def put(self, end: MemoryLink, data: bytes, peer: str) -> None:
        """Queue for `end`. Outside of a batch it is delivered in the loop's next turn."""
        self._queue.append((end, data, peer))
        if not self._draining and not self.held and not self._scheduled:
            self._schedule()

    def drain(self) -> None:
        """Deliver what is queued, at most MAX_DRAIN; inside of a drain it does nothing."""
        if self._draining:
            return
        self._draining = True
        queue = self._queue
        try:
            for _ in range(MAX_DRAIN):
                if not queue:
                    return
                end, data, peer = queue.popleft()
                end.receiver(data, peer)
        finally:
            self._draining = False
            if queue and not self._scheduled:
                self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._on_turn)

    def _on_turn(self) -> None:
        self._scheduled = False
        self.drain()


class MemoryLink:
    """An end that lives in one process with its peers. Delivery is in the order of sending."""

    reliable = True

    def __init__(self, address: str, hub: Hub) -> None:
        self.address = address
        self.receiver: Receiver = _nobody
        self._hub = hub
        hub.ends[address] = self

    def send(self, data: bytes, peer: str) -> None:
        """Queue for `peer`; one that there is not gets nothing."""
        other = self._hub.ends.get(peer)
        if other is not None:
            self._hub.put(other, data, self.address)

    def hold(self) -> None:
        """A batch begins: see `flush`."""
        self._hub.held = True

    def flush(self) -> None:
        """Deliver what is queued, and what comes of it, before this returns."""
        self._hub.held = False
        self._hub.drain()


def _nobody(data: bytes, peer: str) -> None:
    """The receiver of an end that nobody listens at."""
