"""The way to ourselves: what is sent to SELF comes in again in the loop's next turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from services.appserver.domain.loops import MAX_TOLD
from services.appserver.domain.plan import SELF

MAX_TURN: Final = 4096
"""Messages in one turn of the loop: calls that ring each other leave it to the rest."""

MAX_QUEUE: Final = MAX_TOLD
"""Messages that wait, about 1 kB each: no more than is remembered of them. More are thrown
away, as on a network."""

Send = Callable[[bytes, str], None]


class Loopback:
    """Stands before the link. A receiver is entered from the loop alone, and so never from inside
    its own send."""

    def __init__(self, link: Send, receive: Send) -> None:
        self._link = link
        self._receive = receive
        self._queue: deque[bytes] = deque()
        self._scheduled = False
        self._closed = False
        self.dropped = 0

    def send(self, data: bytes, peer: str) -> None:
        """Put a message on the link, or back to ourselves."""
        if peer != SELF:
            self._link(data, peer)
        elif self._closed or len(self._queue) >= MAX_QUEUE:
            self.dropped += 1
        else:
            self._queue.append(data)
            self._schedule()

    def close(self) -> None:
        """Take nothing any more."""
        self._closed = True
        self._queue.clear()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._on_turn)

    def _on_turn(self) -> None:
        self._scheduled = False
        for _ in range(min(len(self._queue), MAX_TURN)):
            if self._queue:
                self._receive(self._queue.popleft(), SELF)
        if self._queue:
            self._schedule()
