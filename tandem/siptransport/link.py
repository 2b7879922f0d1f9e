"""The internal link between proxies and appservers.

A link carries whole SIP messages, and control lines (§ below), between a proxy and an appserver.
It is trusted: only our own services hold an end of it. In one process it is memory; between
processes it is UDP on internal sockets.

What a proxy understands in the Route of a request that comes over the link (topmost first):
  <sip:TOKEN@proxy;lr>                    a token that this cluster signed: the flow it names
  <sip:proxy;lr;dst=udp:192.0.2.1:5060>   send to that address over that transport
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


class MemoryLink:
    """Ends that live in one process. What is sent is delivered in order from the event loop, so
    that a receiver is never entered again from inside its own send."""

    reliable = True

    def __init__(self, address: str, hub: dict[str, MemoryLink]) -> None:
        self.address = address
        self.receiver: Receiver = lambda data, peer: None
        self._hub = hub
        self._queue: deque[tuple[bytes, str]] = deque()
        self._scheduled = False
        hub[address] = self

    def send(self, data: bytes, peer: str) -> None:
        """Queue for `peer`, to be delivered in this turn of the event loop or the next."""
        other = self._hub.get(peer)
        if other is None:
            return
        other._queue.append((data, self.address))
        if not other._scheduled:
            other._scheduled = True
            asyncio.get_running_loop().call_soon(other._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        queue = self._queue
        for _ in range(len(queue)):
            data, peer = queue.popleft()
            self.receiver(data, peer)
        if queue and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._deliver)
