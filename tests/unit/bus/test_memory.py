from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from tandem.bus import memory
from tandem.bus.memory import MemoryBus
from tandem.bus.ports import Envelope, Topic
from tandem.bus.subscription import BATCH_LIMIT


async def test_a_full_queue_drops_the_oldest_and_counts_them() -> None:
    bus = MemoryBus("a", queue_limit=3)
    got: list[object] = []

    async def handler(batch: Sequence[Envelope]) -> None:
        got.extend(envelope.payload for envelope in batch)

    bus.subscribe(Topic.EVENTS, handler, name="slow")
    for number in range(5):
        bus.publish(Topic.EVENTS, number)
    assert bus.subscriptions[0].dropped == 2
    await bus.start()
    await bus.close()
    assert got == [2, 3, 4]
    assert bus.subscriptions[0].delivered == 3


def test_publishing_with_no_subscriber_does_nothing_and_needs_no_loop() -> None:
    bus = MemoryBus("a")
    bus.publish(Topic.EVENTS, "nobody")
    assert bus.published == 0


async def test_the_envelope_has_the_time_of_the_clock() -> None:
    now = 1000.0
    bus = MemoryBus("a", clock=lambda: now)
    got: list[Envelope] = []

    async def handler(batch: Sequence[Envelope]) -> None:
        got.extend(batch)

    bus.subscribe(Topic.NODES, handler, name="n")
    now = 1234.5
    bus.publish(Topic.NODES, "x")
    await bus.start()
    await bus.close()
    assert got[0].time == 1234.5


async def test_the_ids_of_a_later_start_are_greater() -> None:
    async def first_id(start: float) -> str:
        bus = MemoryBus("a", clock=lambda: start)
        ids: list[str] = []

        async def handler(batch: Sequence[Envelope]) -> None:
            ids.extend(envelope.id for envelope in batch)

        bus.subscribe(Topic.NODES, handler, name="n")
        bus.publish(Topic.NODES, "x")
        await bus.start()
        await bus.close()
        return ids[0]

    ids = [await first_id(start) for start in (9e8, 1.7e9, 1.7e9 + 0.5, 1.9e9)]
    assert ids == sorted(set(ids))


async def test_a_failing_handler_is_counted_and_logged_with_its_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = MemoryBus("a")

    async def handler(batch: Sequence[Envelope]) -> None:
        raise ValueError("no")

    bus.subscribe(Topic.NODES, handler, name="broken one")
    await bus.start()
    bus.publish(Topic.NODES, 1)
    with caplog.at_level(logging.ERROR):
        await bus.close()
    assert bus.subscriptions[0].failed == 1
    assert "broken one" in caplog.text


async def test_close_gives_up_on_a_handler_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CLOSE_SECONDS", 0.01)
    bus = MemoryBus("a", queue_limit=10)
    entered = asyncio.Event()

    async def handler(batch: Sequence[Envelope]) -> None:
        entered.set()
        await asyncio.Event().wait()

    bus.subscribe(Topic.NODES, handler, name="stuck")
    await bus.start()
    bus.publish(Topic.NODES, 1)
    await entered.wait()
    bus.publish(Topic.NODES, 2)
    await bus.close()
    assert bus.subscriptions[0].dropped == 1


async def test_a_subscriber_that_comes_after_the_start_is_served() -> None:
    bus = MemoryBus("a")
    await bus.start()
    got: list[object] = []

    async def handler(batch: Sequence[Envelope]) -> None:
        got.extend(envelope.payload for envelope in batch)

    bus.subscribe(Topic.EVENTS, handler, name="late")
    bus.publish(Topic.EVENTS, "x")
    await bus.close()
    assert got == ["x"]


async def test_what_comes_while_a_batch_is_handled_and_soon_after_is_one_batch() -> None:
    bus = MemoryBus("a")
    loop = asyncio.get_running_loop()
    batches: list[list[object]] = []
    times: list[float] = []
    done = asyncio.Event()

    async def handler(batch: Sequence[Envelope]) -> None:
        batches.append([envelope.payload for envelope in batch])
        times.append(loop.time())
        if len(batches) == 1:
            bus.publish(Topic.EVENTS, 2)
            loop.call_later(0.02, bus.publish, Topic.EVENTS, 3)
        if batches[-1][-1] == 3:
            done.set()

    bus.subscribe(Topic.EVENTS, handler, name="dear")
    await bus.start()
    bus.publish(Topic.EVENTS, 1)
    async with asyncio.timeout(5):
        await done.wait()
    await bus.close()
    assert batches == [[1], [2, 3]]
    assert times[1] - times[0] >= memory.PACE[Topic.EVENTS].apart - 0.01


async def test_more_than_a_batch_goes_on_at_once() -> None:
    bus = MemoryBus("a")
    loop = asyncio.get_running_loop()
    times: list[float] = []
    done = asyncio.Event()

    async def handler(batch: Sequence[Envelope]) -> None:
        times.append(loop.time())
        if len(times) == 3:
            done.set()

    bus.subscribe(Topic.EVENTS, handler, name="dear")
    await bus.start()
    for number in range(3 * BATCH_LIMIT):
        bus.publish(Topic.EVENTS, number)
    async with asyncio.timeout(5):
        await done.wait()
    await bus.close()
    assert times[2] - times[0] < memory.PACE[Topic.EVENTS].apart
