"""Consoles: the streams that people and programs watch, counted and bounded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Final

from services.events.domain.event import StoredEvent
from services.events.domain.view import View
from services.events.handlers.feed import Feed, Gap
from services.events.handlers.watched import Watched
from services.events.ports import StorageError
from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.sessions import Sessions

VERIFY_SECONDS: Final = 60.0
"""How often a stream's token is verified again: how long a revoked one goes on at most."""


class TooManyConsoles(Exception):
    """A limit on streams is reached; its text says which."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing new for this console; it has considered all events up to `cursor`."""

    cursor: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The last thing that a console gets, and why."""

    reason: str


Item = list[StoredEvent] | Gap | Heartbeat | Closed


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who opened a stream, and with what."""

    view: View
    token: str
    """To be verified now and then; "" for a service."""


class Consoles:
    """All open streams."""

    def __init__(
        self,
        feed: Feed,
        sessions: Sessions,
        *,
        heartbeat_seconds: float,
        max_open: int,
        max_per_user: int,
        watched: Watched,
        verify_seconds: float = VERIFY_SECONDS,
    ) -> None:
        self.refused = 0
        """Streams refused for a limit."""
        self.gaps = 0
        """Times that a console was told of a gap."""
        self._feed = feed
        self._sessions = sessions
        self._heartbeat_seconds = heartbeat_seconds
        self._max_open = max_open
        self._max_per_user = max_per_user
        self._verify_seconds = verify_seconds
        self._watched = watched
        self._open: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._open.total()

    def check_room(self, username: str) -> None:
        """Raises TooManyConsoles when `username` can't have one more."""
        if self._open[username] >= self._max_per_user:
            self.refused += 1
            raise TooManyConsoles(f"You have {self._max_per_user} event streams open already.")
        if self._open.total() >= self._max_open:
            self.refused += 1
            raise TooManyConsoles("The server has as many event streams open as it can serve.")

    @contextmanager
    def counted(self, username: str) -> Iterator[None]:
        """Count a stream while it is open."""
        self._open[username] += 1
        try:
            yield
        finally:
            self._open[username] -= 1
            if not self._open[username]:
                del self._open[username]

    async def follow(self, ticket: Ticket, asked: int | None) -> AsyncGenerator[Item, None]:
        """Everything after the cursor `asked`, then what happens, until the feed closes."""
        with self._watched.by_console(ticket.view.traces):
            async with aclosing(self._follow(ticket, asked)) as items:
                async for item in items:
                    yield item

    async def _follow(self, ticket: Ticket, asked: int | None) -> AsyncGenerator[Item, None]:
        cursor = self._feed.start_cursor(asked)
        yield Heartbeat(cursor)
        verified = time.monotonic()
        while not self._feed.closed:
            try:
                page = await self._feed.read(ticket.view, cursor)
            except StorageError:
                yield Closed("The event log cannot be read now; come back with the last id.")
                return
            cursor = page.cursor
            if page.gap is not None:
                self.gaps += 1
                yield page.gap
            if page.events:
                yield page.events
            news = await self._feed.wait(cursor, self._heartbeat_seconds)
            if time.monotonic() - verified >= self._verify_seconds:
                if not await self._still_valid(ticket):
                    yield Closed("The token has expired or was revoked; log in again.")
                    return
                verified = time.monotonic()
            if not news:
                yield Heartbeat(cursor)
        yield Closed("The server is stopping; come back with the last id.")

    async def _still_valid(self, ticket: Ticket) -> bool:
        if not ticket.token:
            return True  # a service: its key does not expire
        try:
            return await self._sessions.verify(ticket.token) == ticket.view.viewer
        except DirectoryUnavailable:
            return True  # nobody can tell now; the next time will
