from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from services.events.domain.event import Draft, StoredEvent
from services.events.domain.view import View
from services.events.handlers.feed import PAGE, Feed, Gap
from services.events.ports import Appended, CallRecords, RecordQuery
from tandem.rpc.sessions import Principal
from tests.support.events import stored

ALICE = View(Principal("alice"))


class MemoryLog:
    """An event log in a list; what it does not do is not needed by the feed."""

    def __init__(self, events: Sequence[StoredEvent] = ()) -> None:
        self.events = list(events)
        self.reads = 0

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    async def append(self, drafts: Sequence[Draft]) -> Appended:
        raise NotImplementedError

    async def end_calls(self, drafts: Sequence[Draft]) -> Appended:
        raise NotImplementedError

    async def bounds(self) -> tuple[int, int]:
        return (self.events[0].id, self.events[-1].id) if self.events else (1, 0)

    async def read(self, view: View, after: int, until: int, limit: int) -> list[StoredEvent]:
        self.reads += 1
        owned = [e for e in self.events if view.viewer.may_see(e.owners)]
        return [e for e in owned if after < e.id <= until][:limit]

    async def follow(self, after: int, until: int, limit: int) -> list[StoredEvent]:
        self.reads += 1
        return [e for e in self.events if after < e.id <= until][:limit]

    async def latest(self, view: View, before: int, limit: int) -> list[StoredEvent]:
        raise NotImplementedError

    async def of_call(self, call_id: str, limit: int) -> list[StoredEvent]:
        raise NotImplementedError

    async def last_before(self, time: float) -> int:
        return max((e.id for e in self.events if e.time < time), default=0)

    async def remove_events(self, through: int) -> None:
        self.events = [e for e in self.events if e.id > through]

    async def remove_traces(self, before: float, keep: int) -> None: ...

    async def records(self, query: RecordQuery, offset: int, count: int) -> CallRecords:
        raise NotImplementedError

    async def record(self, call_id: str) -> dict[str, Any] | None:
        raise NotImplementedError

    async def remove_records(self, before: float) -> None: ...


async def read_all(feed: Feed, cursor: int, view: View = ALICE) -> tuple[list[int], list[Gap]]:
    ids: list[int] = []
    gaps: list[Gap] = []
    while cursor < feed.last or (not ids and not gaps and cursor > feed.last):
        page = await feed.read(view, cursor)
        assert page.cursor > cursor or page.gap
        cursor = page.cursor
        ids += [event.id for event in page.events]
        gaps += [page.gap] if page.gap else []
    return ids, gaps


def some(first: int, last: int) -> list[StoredEvent]:
    return [stored(n, owners=("alice",) if n % 2 else ("bob",)) for n in range(first, last + 1)]


async def test_old_events_come_from_the_log_and_new_ones_from_memory() -> None:
    log = MemoryLog(some(1, 3 * PAGE))
    feed = Feed(log)
    await feed.start()
    new = some(3 * PAGE + 1, 5 * PAGE)
    log.events += new
    feed.announce(new, new[-1].id)
    ids, gaps = await read_all(feed, 10)
    assert ids == [n for n in range(11, 5 * PAGE + 1) if n % 2]
    assert gaps == []
    reads = log.reads
    ids, _ = await read_all(feed, 3 * PAGE)
    assert ids == [n for n in range(3 * PAGE + 1, 5 * PAGE + 1) if n % 2]
    assert log.reads == reads


async def test_memory_is_bounded_and_the_log_takes_over() -> None:
    log = MemoryLog()
    feed = Feed(log, recent=10)
    await feed.start()
    for first in range(1, 101, 5):
        log.events += some(first, first + 4)
        feed.announce(some(first, first + 4), first + 4)
    ids, gaps = await read_all(feed, 0)
    assert ids == list(range(1, 101, 2))
    assert gaps == []
    assert log.reads > 0


async def test_a_cursor_below_the_floor_is_a_gap_even_while_events_are_being_removed() -> None:
    log = MemoryLog(some(1, 100))
    feed = Feed(log)
    await feed.start()
    feed.raise_floor(51)  # announced, and the log still has them
    assert await read_all(feed, 10) == ([n for n in range(51, 101) if n % 2], [Gap(10, 51)])
    await log.remove_events(50)
    assert await read_all(feed, 50) == ([n for n in range(51, 101) if n % 2], [])
    assert feed.start_cursor(0) == 50


async def test_nothing_left_for_a_viewer_still_moves_the_cursor() -> None:
    log = MemoryLog(some(2, 2))
    feed = Feed(log)
    await feed.start()
    page = await feed.read(ALICE, 1)
    assert (page.events, page.cursor) == ([], 2)


async def test_a_cursor_from_the_future_is_a_gap() -> None:
    feed = Feed(MemoryLog(some(1, 5)))
    await feed.start()
    page = await feed.read(ALICE, 77)
    assert (page.cursor, page.gap) == (5, Gap(77, 6))


async def test_waiting_ends_with_news_with_the_close_and_with_time() -> None:
    feed = Feed(MemoryLog())
    await feed.start()
    assert not await feed.wait(0, 0.001)
    waiting = asyncio.create_task(feed.wait(0, 60))
    await asyncio.sleep(0)
    feed.announce(some(1, 1), 1)
    assert await waiting
    assert await feed.wait(0, 60)
    waiting = asyncio.create_task(feed.wait(1, 60))
    await asyncio.sleep(0)
    feed.close()
    assert await waiting
