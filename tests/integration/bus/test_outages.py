"""The broker goes away and comes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import aio_pika
import pytest
from yarl import URL

from tandem.bus.amqp import AmqpBus
from tandem.bus.hints import HintsWanted
from tandem.bus.node_events import MessagesLost
from tandem.bus.ports import Envelope, Keep, Topic
from tests.integration.bus.world import Taker, World, holds, say
from tests.support.rabbit import Rabbit

RABBIT_FORGETS_SECONDS = 2.0
"""RabbitMQ 3.10 has no members for a quorum queue that was declared in the last second before it
was killed; nobody tells when that time is over."""


async def test_a_broker_that_is_killed_while_we_publish_loses_nothing(world: World) -> None:
    publisher, consumer = world.node("publisher"), world.node("consumer")
    node, shared, live = Taker(), Taker(), Taker()
    consumer.subscribe(Topic.EVENTS, node, name="n", keep=Keep.NODE)
    consumer.subscribe(Topic.EVENTS, shared, name="events", keep=Keep.SHARED)
    consumer.subscribe(Topic.EVENTS, live, name="l")
    resumed: list[str] = []
    consumer.on_resumed(lambda: resumed.append("consumer"))
    await consumer.start()
    await publisher.start()
    assert resumed == []
    said = say(publisher, Topic.EVENTS, range(500))
    await asyncio.sleep(RABBIT_FORGETS_SECONDS)
    killing = asyncio.Event()

    async def go_on() -> None:
        at = 500
        while not killing.is_set() or not publisher.connected:
            said.extend(say(publisher, Topic.EVENTS, range(at, at + 20)))
            at += 20
            await asyncio.sleep(0.02)

    publishing = asyncio.create_task(go_on())
    await shared.has(700)
    world.rabbit.kill()
    await holds(lambda: not consumer.connected, "the loss to be noticed")
    await asyncio.to_thread(world.rabbit.start)
    killing.set()
    await publishing
    for taker in (node, shared):
        await taker.has(len(said))
        assert taker.distinct == said
    ids = {envelope.payload.proxy: envelope.id for envelope in node.envelopes}
    assert all(ids[e.payload.proxy] == e.id for e in [*node.envelopes, *shared.envelopes])
    assert set(resumed) == {"consumer"}
    await holds(lambda: live.said[-1:] == said[-1:], "live deliveries to go on")
    assert publisher.counters()[Topic.EVENTS].dropped.total() == 0


async def test_a_queue_that_the_killed_broker_forgot_is_made_anew(world: World) -> None:
    bus, got = world.node("young"), Taker()
    hints = Taker()
    bus.subscribe(Topic.LOCATION, got, name="n", keep=Keep.NODE)
    bus.subscribe(Topic.HINTS, hints, name="h")
    await bus.start()
    await world.rabbit_restarts()
    said = say(bus, Topic.LOCATION, range(50))
    await holds(lambda: bus.connected, "the broker")
    say(bus, Topic.HINTS, range(1))
    await hints.has(1)  # the other topics work meanwhile
    await got.has(50)
    assert got.distinct == said


async def test_a_broker_that_is_away_at_the_start_is_found_when_it_comes(world: World) -> None:
    world.rabbit.kill()
    bus, got = world.node("early"), Taker()
    resumed: list[bool] = []
    bus.subscribe(Topic.LOCATION, got, name="n", keep=Keep.NODE)
    bus.on_resumed(lambda: resumed.append(bus.connected))
    async with asyncio.timeout(5):
        await bus.start()
    assert not bus.connected
    said = say(bus, Topic.LOCATION, range(50))
    assert bus.counters()[Topic.LOCATION].outbox == 50
    await asyncio.to_thread(world.rabbit.start)
    await got.has(50)
    assert got.said == said
    assert resumed == [True]


async def test_what_is_published_before_the_start_is_sent(world: World) -> None:
    bus, got = world.node("eager"), Taker()
    bus.subscribe(Topic.EVENTS, got, name="n")
    said = say(bus, Topic.EVENTS, range(3))
    await bus.start()
    await got.has(3)
    assert got.said == said


async def test_what_the_outbox_cannot_hold_is_counted_and_told(world: World) -> None:
    bus, got = world.node("full"), Taker()
    lost: list[MessagesLost] = []

    async def events(batch: Sequence[Envelope]) -> None:
        lost.extend(e.payload for e in batch if isinstance(e.payload, MessagesLost))

    bus.subscribe(Topic.LOCATION, got, name="n", keep=Keep.NODE)
    bus.subscribe(Topic.EVENTS, events, name="e")
    await bus.start()
    await asyncio.sleep(RABBIT_FORGETS_SECONDS)
    bus.outboxes[Topic.LOCATION].limit = 100
    world.rabbit.kill()
    await holds(lambda: not bus.connected, "the loss to be noticed")
    said = say(bus, Topic.LOCATION, range(150))
    counts = bus.counters()[Topic.LOCATION]
    assert counts.dropped == {"outbox full": 50}
    assert counts.outbox == 100
    await asyncio.to_thread(world.rabbit.start)
    await got.has(100)
    assert got.distinct == said[50:]
    await holds(lambda: bool(lost), "the event")
    assert [(e.topic, e.count, e.reason) for e in lost] == [("location", 50, "outbox full")]


async def test_what_is_worth_nothing_later_does_not_wait_for_the_broker(world: World) -> None:
    bus, got = world.node("old"), Taker()
    bus.subscribe(Topic.NODES, got, name="n")
    await bus.start()
    bus.outboxes[Topic.NODES].seconds = 0.5
    world.rabbit.kill()
    await holds(lambda: not bus.connected, "the loss to be noticed")
    say(bus, Topic.NODES, range(5))
    await asyncio.to_thread(world.rabbit.start)
    await holds(lambda: bus.connected, "the broker")
    said = say(bus, Topic.NODES, range(5, 7))
    await got.has(2)
    assert got.said == said
    assert bus.counters()[Topic.NODES].dropped == {"too old": 5}


async def test_a_broker_that_hangs_is_noticed_within_seconds(world: World) -> None:
    bus, got = world.node("waiting"), Taker()
    bus.subscribe(Topic.EVENTS, got, name="n", keep=Keep.NODE)
    await bus.start()
    world.rabbit.freeze()
    try:
        said = say(bus, Topic.EVENTS, range(10))
        await holds(lambda: not bus.connected, "the silence to be noticed")
    finally:
        world.rabbit.thaw()
    await got.has(10)
    assert got.distinct == said


async def test_the_second_url_is_used_when_the_first_does_not_answer(world: World) -> None:
    dead = "amqp://guest:guest@127.0.0.1:1/"
    bus, got = world.node("second", f"{dead},{world.rabbit.url}"), Taker()
    bus.subscribe(Topic.EVENTS, got, name="n")
    await bus.start()
    assert bus.connected
    say(bus, Topic.EVENTS, range(1))
    await got.has(1)


async def test_no_password_is_ever_logged(rabbit: Rabbit, caplog: pytest.LogCaptureFixture) -> None:
    wrong = rabbit.url.replace("guest:guest", "guest:hunter2")
    caplog.set_level(logging.DEBUG)
    bus = AmqpBus(f"{wrong},amqp://x:hunter2@127.0.0.1:1", "node")
    await bus.start()
    assert not bus.connected
    await bus.close()
    assert "can't be used" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("broker", ["away", "frozen"])
async def test_connections_that_can_not_end_well_are_closed_all_the_same(
    rabbit: Rabbit, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of aio-pika's that is open when it is collected closes itself: on whatever loop there is
    then, or without one, in a thread, with a warning that the coroutine was never awaited."""
    made: list[aio_pika.Connection] = []

    class Noted(aio_pika.Connection):
        def __init__(self, url: URL) -> None:
            super().__init__(url)
            made.append(self)

    monkeypatch.setattr(aio_pika, "Connection", Noted)
    url = rabbit.url if broker == "frozen" else "amqp://guest:guest@127.0.0.1:1/"
    bus = AmqpBus(url, "node")
    await bus.start()
    try:
        if broker == "frozen":
            rabbit.freeze()
        await bus.close()
    finally:
        rabbit.thaw()
    assert made
    assert all(connection.is_closed for connection in made)


async def test_closing_without_a_broker_takes_seconds_and_says_what_is_lost(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.rabbit.kill()
    bus = world.node("lost")
    await bus.start()
    bus.publish(Topic.EVENTS, HintsWanted("x"))
    async with asyncio.timeout(15):
        await bus.close()
    assert bus.counters()[Topic.EVENTS].dropped == {"closed": 1}
    assert "1 message(s) on events lost" in caplog.text
