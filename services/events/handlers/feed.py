"""The feed: how a console reads the order of events from any place in it, and waits at its end.

A console is nothing but a cursor, the id of the last event that it has considered. It asks for
what comes after: the newest events are kept in memory, older ones come from the log. So there is no
queue per console that could overflow, and no seam between replay and live events where one could
be lost or come twice; a slow console falls back to the log, and one that is too slow even for that
is told of the gap. An event is announced here after its transaction is durable, hence whatever
has an id up to `last` can be read from the log.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.events.domain.event import StoredEvent
from services.events.domain.view import View
from services.events.ports import EventLog

RECENT: Final = 4096
"""Events kept in memory at least: some seconds of a busy switch, a few MB."""
PAGE: Final = 500
"""Events taken at a time, from memory or from the log."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that a console can't have any more: after < id < next."""

    after: int
    next: int


@dataclass(frozen=True, slots=True)
class Page:
    """What a console gets, and where it stands then."""

    events: list[StoredEvent]
    cursor: int
    gap: Gap | None = None


class Feed:
    """The recent events, and those who wait for more."""

    def __init__(self, log: EventLog, *, recent: int = RECENT) -> None:
        self.first = 1
        """No event with a smaller id is kept."""
        self.last = 0
        """The id of the last event."""
        self.closed = False
        self._log = log
        self._limit = recent
        self._recent: list[StoredEvent] = []
        self._recent_after = 0
        self._news = asyncio.Event()

    async def start(self) -> None:
        """Learn from the log where the order stands."""
        self.first, self.last = await self._log.bounds()
        self._recent_after = self.last

    def announce(self, events: Sequence[StoredEvent], reached: int) -> None:
        """Add stored events, in order and without any left out up to the id `reached`; wake the
        consoles."""
        self._recent.extend(events)
        self.last = reached
        if len(self._recent) > 2 * self._limit:
            cut = len(self._recent) - self._limit
            self._recent_after = self._recent[cut - 1].id
            del self._recent[:cut]
        self._wake()

    def raise_floor(self, first: int) -> None:
        """Events below `first` are about to be removed. To be called before that, so that whoever
        reads a page with holes in it finds the new floor afterwards."""
        self.first = max(self.first, first)

    def close(self) -> None:
        """Wake all consoles for good."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def start_cursor(self, asked: int | None) -> int:
        """Where a console begins: after the event that it names; 0: with the oldest kept; None:
        with the next event."""
        if asked is None:
            return self.last
        return self.first - 1 if asked == 0 else asked

    async def read(self, view: View, cursor: int) -> Page:
        """What comes after `cursor` for this view, at most PAGE events."""
        if cursor > self.last:
            return await self._read_ahead(cursor)
        if cursor >= self._recent_after:
            return self._read_recent(view, cursor)
        return await self._read_log(view, cursor)

    def _read_recent(self, view: View, cursor: int) -> Page:
        start = bisect_right(self._recent, cursor, key=_id)
        events = self._recent[start : start + PAGE]
        reached = events[-1].id if events else self.last
        return Page([event for event in events if view.shows(event)], reached)

    async def _read_ahead(self, cursor: int) -> Page:
        _, last = await self._log.bounds()
        if cursor <= last:
            return Page([], cursor)  # another events node gave it; we are about to follow
        # An id that this log never gave: its database was replaced by another.
        return Page([], self.last, Gap(cursor, self.last + 1))

    async def _read_log(self, view: View, cursor: int) -> Page:
        until = self.last
        found = await self._log.read(view, cursor, until, PAGE)
        # Another node may have removed some meanwhile.
        self.raise_floor((await self._log.bounds())[0])
        reached = found[-1].id if len(found) == PAGE else until
        gap = Gap(cursor, self.first) if self.first - 1 > cursor else None
        if gap is not None:
            reached = max(reached, self.first - 1)
        shown = [event for event in found if event.id >= self.first and view.shows(event)]
        return Page(shown, reached, gap)

    async def wait(self, cursor: int, seconds: float) -> bool:
        """Wait until there is something after `cursor` or the feed closes; False if there was
        nothing for `seconds`."""
        news = self._news
        if self.last > cursor or self.closed:
            return True
        try:
            async with asyncio.timeout(seconds):
                await news.wait()
        except TimeoutError:
            return False
        return True


def _id(event: StoredEvent) -> int:
    return event.id
