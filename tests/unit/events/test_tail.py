"""How a node follows a log that others write too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.events.domain.calls import LiveCalls
from services.events.domain.event import StoredEvent
from services.events.domain.view import EVERYBODY, View
from services.events.handlers import tail
from services.events.handlers.feed import PAGE, Feed
from services.events.handlers.tail import Tail
from services.events.ports import Appended, StorageError
from tandem.bus.interest import EventsStored
from tandem.bus.ports import Envelope
from tandem.rpc.sessions import Principal
from tests.support.events import stored
from tests.unit.events.test_feed import MemoryLog, some
from tests.unit.events.test_handlers import Said

ALL = View(Principal("root", admin=True), traces=EVERYBODY)


class Follower:
    """A node with a feed, and a log that a test writes."""

    def __init__(self, poll_seconds: float | None = None) -> None:
        self.log = MemoryLog()
        self.feed = Feed(self.log)
        self.calls = LiveCalls()
        self.said = Said()
        self.tail = Tail(self.log, self.calls, self.feed, self.said, poll_seconds=poll_seconds)

    def write(self, *events: StoredEvent) -> Appended:
        """As any node would."""
        after = self.log.events[-1].id if self.log.events else 0
        self.log.events += events
        return Appended(after, list(events))

    @asynccontextmanager
    async def running(self, since: float | None = None) -> AsyncIterator[None]:
        await self.tail.start(since)
        task = asyncio.create_task(self.tail.run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def heard(self, last: int) -> None:
        await self.tail.heard([Envelope("e", 1.0, "events-2", EventsStored(last))])

    async def reaches(self, last: int) -> list[int]:
        async with asyncio.timeout(10):
            while self.feed.last < last:
                await self.feed.wait(self.feed.last, 1.0)
        return [event.id for event in (await self.feed.read(ALL, 0)).events]


async def test_what_this_node_stored_in_turn_is_not_read_back() -> None:
    node = Follower()
    async with node.running():
        node.tail.stored(node.write(*some(1, 3)))
        node.tail.stored(node.write(*some(4, 5)))
        assert node.feed.last == 5
        assert node.log.reads == 0
    assert node.said.payloads == [EventsStored(3), EventsStored(5)]


async def test_what_others_stored_is_read_before_what_this_node_stored() -> None:
    node = Follower()
    async with node.running():
        node.write(*some(1, 3))
        node.tail.stored(node.write(*some(4, 5)))
        assert node.feed.last == 0
        assert await node.reaches(5) == [1, 2, 3, 4, 5]
    assert node.tail.read_back == 5


async def test_what_others_tell_of_is_read_once_in_pages() -> None:
    node = Follower()
    total = 2 * PAGE + 7
    async with node.running():
        node.write(*some(1, total))
        await node.heard(total)
        await node.heard(3)
        await node.reaches(total)
        node.write(stored(total + 1, call_id="c1"))
        await node.heard(total + 1)
        await node.reaches(total + 1)
    assert node.tail.read_back == total + 1
    assert [call.id for call in node.calls] == ["c1"]


async def test_a_node_that_hears_nothing_looks_for_itself() -> None:
    node = Follower(poll_seconds=0.01)
    async with node.running():
        node.write(*some(1, 3))
        assert await node.reaches(3) == [1, 2, 3]


async def test_own_events_that_overtake_a_read_come_once() -> None:
    node = Follower()
    gate = asyncio.Event()
    follow = node.log.follow

    async def slow(after: int, until: int, limit: int) -> list[StoredEvent]:
        found = await follow(after, until, limit)
        await gate.wait()
        return found

    node.log.follow = slow  # type: ignore[method-assign]
    async with node.running():
        first = node.write(*some(1, 3))
        await node.heard(3)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        node.tail.stored(first)  # the same, by the short way
        node.tail.stored(node.write(*some(4, 4)))
        assert node.feed.last == 4
        gate.set()
        node.tail.stored(node.write(*some(5, 5)))
        assert await node.reaches(5) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("fault", [StorageError("away"), RuntimeError("nobody thought of this")])
async def test_a_log_that_cannot_be_read_is_read_later(fault: Exception) -> None:
    node = Follower()
    faults = [fault]
    follow = node.log.follow

    async def fragile(after: int, until: int, limit: int) -> list[StoredEvent]:
        if faults:
            raise faults.pop()
        return await follow(after, until, limit)

    node.log.follow = fragile  # type: ignore[method-assign]
    async with node.running():
        node.write(*some(1, 3))
        await node.heard(3)
        assert await node.reaches(3) == [1, 2, 3]
    assert node.tail.failed == 1
    assert not node.tail.failing


async def test_a_log_that_stays_away_is_told_of_once_and_followed_when_it_is_back(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "RETRY_SECONDS", 0.01)
    caplog.set_level(logging.INFO, logger=tail.__name__)
    node = Follower(poll_seconds=0.01)
    node.write(*some(1, 3))
    away = asyncio.Event()
    bounds = node.log.bounds

    async def gone() -> tuple[int, int]:
        if away.is_set():
            raise StorageError("away")
        return await bounds()

    node.log.bounds = gone  # type: ignore[method-assign]
    async with node.running(), asyncio.timeout(10):
        away.set()
        while node.tail.failed < 5:
            assert node.tail.failing is (node.tail.failed > 0)
            await asyncio.sleep(0)
        away.clear()
        node.write(*some(4, 4))  # its announcement is lost
        assert await node.reaches(4) == [1, 2, 3, 4]
    assert not node.tail.failing
    assert [record.message for record in caplog.records] == [
        "the event log cannot be followed now: away",
        "the event log is followed again",
    ]


async def test_calls_under_way_are_learnt_from_the_log_at_the_start() -> None:
    node = Follower()
    node.write(stored(1, call_id="old"), stored(2, call_id="c1"), stored(3, call_id="c2"))
    node.write(stored(4, "call.ended", call_id="c2"))
    async with node.running(since=1002.0):
        assert [call.id for call in node.calls] == ["c1"]
        assert node.feed.last == 4


async def test_a_console_that_is_ahead_of_its_new_node_waits_and_misses_nothing() -> None:
    node = Follower()
    async with node.running():
        node.write(*some(1, 5))  # the console has seen 4 elsewhere; we know nothing yet
        page = await node.feed.read(ALL, 4)
        assert (page.events, page.cursor, page.gap) == ([], 4, None)
        await node.heard(5)
        await node.feed.wait(4, 10.0)
        assert [event.id for event in (await node.feed.read(ALL, 4)).events] == [5]
