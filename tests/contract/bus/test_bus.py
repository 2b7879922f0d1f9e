"""What every implementation of the bus does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from tandem.bus.hints import HintsWanted
from tandem.bus.ports import CountedBus, Envelope, Keep, Topic
from tests.support.waiting import eventually

TIMEOUT = 15.0


KEPT = pytest.mark.parametrize("keep", [Keep.NODE, Keep.SHARED], ids=["node", "shared"])


def say(text: object) -> HintsWanted:
    """A payload that holds a text."""
    return HintsWanted(str(text))


class Collector:
    """A handler that keeps what it gets and can be waited on."""

    def __init__(self) -> None:
        self.batches: list[list[Envelope]] = []
        self._changed = asyncio.Condition()

    async def __call__(self, batch: Sequence[Envelope]) -> None:
        async with self._changed:
            self.batches.append(list(batch))
            self._changed.notify_all()

    @property
    def envelopes(self) -> list[Envelope]:
        return [envelope for batch in self.batches for envelope in batch]

    @property
    def said(self) -> list[str]:
        return [envelope.payload.proxy for envelope in self.envelopes]

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(TIMEOUT), self._changed:
            await self._changed.wait_for(lambda: len(self.envelopes) >= count)


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


async def test_a_subscriber_gets_all_payloads_of_its_topic_in_order(bus: CountedBus) -> None:
    got = Collector()
    bus.subscribe(Topic.EVENTS, got, name="events")
    await bus.start()
    for number in range(1200):
        bus.publish(Topic.EVENTS, say(number))
    bus.publish(Topic.LOCATION, say("elsewhere"))
    await got.wait_for(1200)
    assert got.said == numbers(1200)


async def test_each_subscriber_gets_each_payload(bus: CountedBus) -> None:
    first, second = Collector(), Collector()
    bus.subscribe(Topic.LOCATION, first, name="first")
    bus.subscribe(Topic.LOCATION, second, name="second")
    await bus.start()
    bus.publish(Topic.LOCATION, say("binding"))
    await first.wait_for(1)
    await second.wait_for(1)
    assert first.envelopes == second.envelopes


async def test_what_is_for_one_node_reaches_no_other(bus: CountedBus) -> None:
    """The bus is that of node-a."""
    got = Collector()
    bus.subscribe(Topic.ANSWERS, got, name="answers")
    await bus.start()
    for number, to in enumerate(("node-b", "node-a", "", "node-b", "node-a", "node", "")):
        bus.publish(Topic.ANSWERS, say(number), to=to)
    await got.wait_for(4)
    assert got.said == ["1", "2", "4", "6"]


async def test_payloads_that_are_published_together_travel_in_batches(bus: CountedBus) -> None:
    got = Collector()
    bus.subscribe(Topic.EVENTS, got, name="events")
    await bus.start()
    for number in range(100):
        bus.publish(Topic.EVENTS, say(number))
    await got.wait_for(100)
    assert len(got.batches) < 100


async def test_envelopes_name_the_node_and_their_ids_grow(bus: CountedBus) -> None:
    got = Collector()
    bus.subscribe(Topic.NODES, got, name="nodes")
    await bus.start()
    for number in range(300):
        bus.publish(Topic.NODES, say(number))
    await got.wait_for(300)
    ids = [envelope.id for envelope in got.envelopes]
    assert len(set(ids)) == 300
    assert ids == sorted(ids)
    assert {envelope.node for envelope in got.envelopes} == {"node-a"}
    assert all(envelope.time > 0 for envelope in got.envelopes)


async def test_a_handler_that_fails_goes_on_getting_batches(
    bus: CountedBus, caplog: pytest.LogCaptureFixture
) -> None:
    got = Collector()

    async def handler(batch: Sequence[Envelope]) -> None:
        await got(batch)
        if say("bad") in [envelope.payload for envelope in batch]:
            raise RuntimeError("cannot take this one")

    bus.subscribe(Topic.HINTS, handler, name="fragile")
    await bus.start()
    with caplog.at_level(logging.CRITICAL, logger="tandem.bus.subscription"):
        bus.publish(Topic.HINTS, say("bad"))
        await got.wait_for(1)
        bus.publish(Topic.HINTS, say("good"))
        await got.wait_for(2)
    assert got.said == ["bad", "good"]


async def test_what_a_handler_publishes_is_delivered(bus: CountedBus) -> None:
    got = Collector()

    async def relay(batch: Sequence[Envelope]) -> None:
        for envelope in batch:
            bus.publish(Topic.EVENTS, envelope.payload)

    bus.subscribe(Topic.NODES, relay, name="relay")
    bus.subscribe(Topic.EVENTS, got, name="events")
    await bus.start()
    bus.publish(Topic.NODES, say("hello"))
    await got.wait_for(1)
    assert got.said == ["hello"]


async def test_close_delivers_what_is_queued(bus: CountedBus) -> None:
    got = Collector()
    bus.subscribe(Topic.EVENTS, got, name="events")
    await bus.start()
    for number in range(700):
        bus.publish(Topic.EVENTS, say(number))
    await bus.close()
    assert got.said == numbers(700)


async def test_publishing_after_close_does_nothing(bus: CountedBus) -> None:
    got = Collector()
    bus.subscribe(Topic.EVENTS, got, name="events")
    await bus.start()
    await bus.close()
    bus.publish(Topic.EVENTS, say("late"))
    await bus.close()
    assert got.said == []


async def test_publishing_to_nobody_does_nothing(bus: CountedBus) -> None:
    await bus.start()
    bus.publish(Topic.FEED, say("nobody"))


async def test_a_subscriber_that_comes_after_the_start_is_served(bus: CountedBus) -> None:
    await bus.start()
    got = Collector()
    bus.subscribe(Topic.DIRECTORY, got, name="late")

    async def heard() -> bool:
        bus.publish(Topic.DIRECTORY, say("x"))
        return bool(got.batches)

    await eventually(heard, "a delivery")


@KEPT
async def test_kept_payloads_come_in_order(bus: CountedBus, keep: Keep) -> None:
    got = Collector()
    bus.subscribe(Topic.LOCATION, got, name="kept", keep=keep)
    await bus.start()
    for number in range(1200):
        bus.publish(Topic.LOCATION, say(number))
    await got.wait_for(1200)
    assert got.said == numbers(1200)


@KEPT
async def test_a_kept_batch_comes_again_until_the_handler_takes_it(
    bus: CountedBus, keep: Keep, caplog: pytest.LogCaptureFixture
) -> None:
    got, tries = Collector(), 0

    async def handler(batch: Sequence[Envelope]) -> None:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise RuntimeError("not now")
        await got(batch)

    bus.subscribe(Topic.LOCATION, handler, name="kept", keep=keep)
    await bus.start()
    with caplog.at_level(logging.CRITICAL, logger="tandem.bus.settle"):
        for number in range(100):
            bus.publish(Topic.LOCATION, say(number))
        await got.wait_for(100)
    assert got.said == numbers(100)
    counts = bus.counters()[Topic.LOCATION]
    assert counts.failed >= 2
    assert counts.dropped.total() == 0


@KEPT
async def test_what_fails_alone_while_the_rest_works_is_refused_and_the_rest_is_handled(
    bus: CountedBus, keep: Keep, caplog: pytest.LogCaptureFixture
) -> None:
    got = Collector()

    async def handler(batch: Sequence[Envelope]) -> None:
        if say("poison") in [envelope.payload for envelope in batch]:
            raise ValueError("cannot take this one")
        await got(batch)

    bus.subscribe(Topic.LOCATION, handler, name="kept", keep=keep)
    await bus.start()
    with caplog.at_level(logging.CRITICAL, logger="tandem.bus.settle"):
        for number in range(50):
            bus.publish(Topic.LOCATION, say(number if number != 20 else "poison"))
        await got.wait_for(49)

        async def refused() -> bool:
            return bus.counters()[Topic.LOCATION].refused == 1

        await eventually(refused, "the refusal")
    assert sorted(got.said) == sorted(set(numbers(50)) - {"20"})


async def test_the_counters_tell_what_was_published_and_delivered(bus: CountedBus) -> None:
    got = Collector()
    bus.subscribe(Topic.EVENTS, got, name="events")
    await bus.start()
    for number in range(30):
        bus.publish(Topic.EVENTS, say(number))
    await got.wait_for(30)

    async def settled() -> bool:
        return bus.counters()[Topic.EVENTS].confirmed == 30

    await eventually(settled, "the confirms")
    counts = bus.counters()[Topic.EVENTS]
    assert (counts.published, counts.delivered, counts.outbox, counts.queued) == (30, 30, 0, 0)
    assert bus.connected
    assert bus.queue_depth == 0
    assert bus.counters()[Topic.HINTS].published == 0
