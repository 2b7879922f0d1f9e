"""What every implementation of the bus does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from tandem.bus.ports import Bus, Envelope, Topic

TIMEOUT = 10.0


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
    def payloads(self) -> list[object]:
        return [envelope.payload for envelope in self.envelopes]

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(TIMEOUT), self._changed:
            await self._changed.wait_for(lambda: len(self.envelopes) >= count)


async def test_a_subscriber_gets_all_payloads_of_its_topic_in_order(bus: Bus) -> None:
    got = Collector()
    bus.subscribe(Topic.EVENTS, got, name="events")
    await bus.start()
    for number in range(1200):
        bus.publish(Topic.EVENTS, number)
    bus.publish(Topic.LOCATION, "elsewhere")
    await got.wait_for(1200)
    assert got.payloads == list(range(1200))


async def test_each_subscriber_gets_each_payload(bus: Bus) -> None:
    first, second = Collector(), Collector()
    bus.subscribe(Topic.LOCATION, first, name="first")
    bus.subscribe(Topic.LOCATION, second, name="second")
    await bus.start()
    bus.publish(Topic.LOCATION, "binding")
    await first.wait_for(1)
    await second.wait_for(1)
    assert first.envelopes == second.envelopes


async def test_payloads_that_are_published_together_travel_in_batches(bus: Bus) -> None:
    got = Collector()
    bus.subscribe(Topic.EVENTS, got, name="events")
    await bus.start()
    for number in range(100):
        bus.publish(Topic.EVENTS, number)
    await got.wait_for(100)
    assert len(got.batches) < 100


async def test_envelopes_name_the_node_and_their_ids_grow(bus: Bus) -> None:
    got = Collector()
    bus.subscribe(Topic.NODES, got, name="nodes")
    await bus.start()
    for number in range(300):
        bus.publish(Topic.NODES, number)
    await got.wait_for(300)
    ids = [envelope.id for envelope in got.envelopes]
    assert len(set(ids)) == 300
    assert ids == sorted(ids)
    assert {envelope.node for envelope in got.envelopes} == {"node-a"}
    assert all(envelope.time > 0 for envelope in got.envelopes)


async def test_a_handler_that_fails_goes_on_getting_batches(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    got = Collector()

    async def handler(batch: Sequence[Envelope]) -> None:
        await got(batch)
        if "bad" in [envelope.payload for envelope in batch]:
            raise RuntimeError("cannot take this one")

    bus.subscribe(Topic.HINTS, handler, name="fragile")
    await bus.start()
    with caplog.at_level(logging.CRITICAL, logger="tandem.bus.memory"):
        bus.publish(Topic.HINTS, "bad")
        await got.wait_for(1)
        bus.publish(Topic.HINTS, "good")
        await got.wait_for(2)
    assert got.payloads == ["bad", "good"]


async def test_what_a_handler_publishes_is_delivered(bus: Bus) -> None:
    got = Collector()

    async def relay(batch: Sequence[Envelope]) -> None:
        for envelope in batch:
            bus.publish(Topic.EVENTS, envelope.payload)

    bus.subscribe(Topic.NODES, relay, name="relay")
    bus.subscribe(Topic.EVENTS, got, name="events")
    await bus.start()
    bus.publish(Topic.NODES, "hello")
    await got.wait_for(1)
    assert got.payloads == ["hello"]


async def test_close_delivers_what_is_queued(bus: Bus) -> None:
    got = Collector()
    bus.subscribe(Topic.EVENTS, got, name="events")
    await bus.start()
    for number in range(700):
        bus.publish(Topic.EVENTS, number)
    await bus.close()
    assert got.payloads == list(range(700))


async def test_publishing_after_close_does_nothing(bus: Bus) -> None:
    got = Collector()
    bus.subscribe(Topic.EVENTS, got, name="events")
    await bus.start()
    await bus.close()
    bus.publish(Topic.EVENTS, "late")
    await bus.close()
    assert got.payloads == []
