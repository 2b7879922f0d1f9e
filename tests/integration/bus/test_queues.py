"""Queues and exchanges: shared, deleted by hand, left behind by nobody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from tandem.bus.codec import decode, join
from tandem.bus.hints import HintsWanted
from tandem.bus.ports import Envelope, Keep, Topic
from tandem.stubs.bus.v1 import envelope_pb2
from tests.integration.bus.world import Taker, World, holds, say
from tests.support.waiting import eventually


async def test_of_two_nodes_one_gets_all_in_order_and_the_other_goes_on_after_it(
    world: World,
) -> None:
    takers, buses = {}, {}
    for name in ("a", "b"):
        takers[name], buses[name] = taker, bus = Taker(), world.node(name)
        bus.subscribe(Topic.EVENTS, taker, name="events", keep=Keep.SHARED)
        await bus.start()
    publisher = world.node("publisher")
    await publisher.start()
    said: list[str] = []
    for at in range(0, 400, 10):
        said += say(publisher, Topic.EVENTS, range(at, at + 10))
        await asyncio.sleep(0.06)  # longer than the linger: each ten are a message of their own
        if at == 200:
            await takers["a"].has(10)
            await buses["a"].close()
    first = len(takers["a"].said)
    await takers["b"].has(400 - first)
    assert takers["a"].said + takers["b"].said == said
    assert first


async def test_what_a_dead_node_had_in_hand_is_handled_by_the_other(world: World) -> None:
    publisher = world.node("publisher")
    await publisher.start()
    await world.process("doomed", Topic.EVENTS, "events", "shared")
    said = say(publisher, Topic.EVENTS, range(100))
    await world.took()
    other, got = world.node("other"), Taker()
    other.subscribe(Topic.EVENTS, got, name="events", keep=Keep.SHARED)
    await other.start()
    assert got.said == []
    await world.kill()
    await got.has(100)
    assert got.said == said
    assert other.counters()[Topic.EVENTS].redelivered == 100


async def test_a_node_that_can_not_handle_its_share_leaves_it_to_the_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="tandem.bus.settle")
    broken, works = world.node("broken"), world.node("works")
    failing, got = Taker(), Taker()
    failing.fails = True
    broken.subscribe(Topic.EVENTS, failing, name="events", keep=Keep.SHARED)
    await broken.start()
    said = say(broken, Topic.EVENTS, range(40))
    await holds(lambda: failing.tries > 0, "the first failure")
    works.subscribe(Topic.EVENTS, got, name="events", keep=Keep.SHARED)
    await works.start()
    await got.has(40)
    assert got.said == said
    assert failing.said == []


async def test_an_outage_of_what_a_handler_needs_loses_and_refuses_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="tandem.bus.settle")
    bus, got = world.node("alone"), Taker()
    got.fails = True
    bus.subscribe(Topic.EVENTS, got, name="events", keep=Keep.SHARED)
    await bus.start()
    said = say(bus, Topic.EVENTS, range(30))
    await holds(lambda: got.tries > 20, "two rounds of tries")
    assert bus.connected
    got.fails = False
    await got.has(30)
    assert got.distinct == said
    counts = bus.counters()[Topic.EVENTS]
    assert (counts.refused, counts.dropped.total()) == (0, 0)


async def test_what_is_refused_lies_in_a_queue_beside(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="tandem.bus.settle")
    bus, got = world.node("picky"), Taker()

    async def handler(batch: Sequence[Envelope]) -> None:
        if any(e.payload == HintsWanted("3") for e in batch):
            raise ValueError("not that one")
        await got(batch)

    bus.subscribe(Topic.EVENTS, handler, name="events", keep=Keep.SHARED)
    await bus.start()
    say(bus, Topic.EVENTS, range(6))
    await got.has(5)
    await holds(lambda: bus.counters()[Topic.EVENTS].refused == 1, "the refusal")
    bodies = await world.bodies(f"{world.prefix}.events.events.refused")
    assert [e.payload for body in bodies for e in decode(body).envelopes] == [HintsWanted("3")]


async def test_events_wait_for_a_service_that_never_started_yet(world: World) -> None:
    publisher = world.node("first")
    await publisher.start()
    said = say(publisher, Topic.EVENTS, range(20))
    where = say(publisher, Topic.LOCATION, range(20))
    await holds(lambda: publisher.counters()[Topic.LOCATION].outbox == 0, "the confirms")
    late, events, location = world.node("late"), Taker(), Taker()
    late.subscribe(Topic.EVENTS, events, name="events", keep=Keep.SHARED)
    late.subscribe(Topic.LOCATION, location, name="provisioning", keep=Keep.SHARED)
    await late.start()
    await events.has(20)
    await location.has(20)
    assert (events.said, location.said) == (said, where)


async def test_a_node_that_crashed_finds_what_came_meanwhile(world: World) -> None:
    publisher = world.node("publisher")
    await publisher.start()
    await world.process("node", Topic.LOCATION, "replica", "node")
    said = say(publisher, Topic.LOCATION, range(10))
    await world.took()
    await world.kill()
    said += say(publisher, Topic.LOCATION, range(10, 20))
    again, got = world.node("node"), Taker()
    again.subscribe(Topic.LOCATION, got, name="replica", keep=Keep.NODE)
    await again.start()
    await got.has(20)
    assert got.said == said


async def test_a_clean_close_leaves_only_what_is_shared(world: World) -> None:
    bus = world.node("leaving")
    bus.subscribe(Topic.EVENTS, Taker(), name="l")
    bus.subscribe(Topic.LOCATION, Taker(), name="n", keep=Keep.NODE)
    bus.subscribe(Topic.EVENTS, Taker(), name="events", keep=Keep.SHARED)
    await bus.start()
    shared = [f"{world.prefix}.events.events", f"{world.prefix}.location.provisioning"]
    before = await asyncio.to_thread(world.rabbit.queues, world.prefix)
    assert len(before) == 4
    await bus.close()
    assert await asyncio.to_thread(world.rabbit.queues, world.prefix) == shared


@pytest.mark.parametrize("keep", [Keep.NODE, Keep.SHARED], ids=["node", "shared"])
async def test_a_consumer_comes_back_after_its_queue_was_deleted(world: World, keep: Keep) -> None:
    bus, got = world.node("a"), Taker()
    resumed: list[int] = []
    bus.subscribe(Topic.LOCATION, got, name="q", keep=keep)
    bus.on_resumed(lambda: resumed.append(1))
    await bus.start()
    say(bus, Topic.LOCATION, range(5))
    await got.has(5)
    await world.by_hand("delete queue", f"{world.prefix}.location.q")
    await holds(lambda: bool(resumed), "the consumer to come back")
    say(bus, Topic.LOCATION, range(5, 10))
    await got.has(10)


async def test_an_exchange_that_is_deleted_is_made_again_by_who_publishes(world: World) -> None:
    bus, got = world.node("a"), Taker()
    bus.subscribe(Topic.EVENTS, got, name="q", keep=Keep.NODE)
    await bus.start()
    await world.by_hand("delete exchange", f"{world.prefix}.events")
    said = say(bus, Topic.EVENTS, range(5))
    await got.has(5)
    assert got.said == said


async def test_what_is_for_one_node_reaches_that_node_alone(world: World) -> None:
    asker, other, proxy = (world.node(name) for name in ("asker", "other", "proxy"))
    answers, heard = Taker(), Taker()
    asker.subscribe(Topic.ANSWERS, answers, name="asker-answers")
    other.subscribe(Topic.ANSWERS, heard, name="other-answers")
    for bus in (asker, other, proxy):
        await bus.start()
    for number, to in enumerate(("asker", "nobody", "asker", "")):
        proxy.publish(Topic.ANSWERS, HintsWanted(str(number)), to=to)
    await heard.has(1)
    await answers.has(3)
    assert (answers.said, heard.said) == (["0", "2", "3"], ["3"])


async def test_a_mere_listener_is_bound_again_after_its_exchange_was_deleted(
    world: World,
) -> None:
    listener, publisher, got = world.node("listener"), world.node("publisher"), Taker()
    listener.subscribe(Topic.HINTS, got, name="q")
    await listener.start()
    await publisher.start()
    await world.by_hand("delete exchange", f"{world.prefix}.hints")
    # the publisher makes it again at once, so that the listener sees nothing missing
    sent = 0

    async def hear() -> bool:
        nonlocal sent
        say(publisher, Topic.HINTS, range(sent, sent + 1))
        sent += 1
        return bool(got.said)

    await eventually(hear, "a delivery", 60)


async def test_what_a_shared_queue_s_reader_can_not_read_lies_in_a_queue_beside(
    world: World,
) -> None:
    bus, got = world.node("old"), Taker()
    bus.subscribe(Topic.EVENTS, got, name="events", keep=Keep.SHARED)
    await bus.start()
    newer = join([envelope_pb2.Envelope(id="1", type="Later").SerializeToString()])
    await world.stranger(f"{world.prefix}.events", newer)
    said = say(bus, Topic.EVENTS, range(3))
    await got.has(3)
    assert got.said == said
    assert bus.counters()[Topic.EVENTS].unreadable == 1
    assert await world.bodies(f"{world.prefix}.events.events.refused") == [newer]


async def test_a_stranger_s_message_is_skipped_and_counted(world: World) -> None:
    bus, got = world.node("a"), Taker()
    bus.subscribe(Topic.EVENTS, got, name="q", keep=Keep.NODE)
    await bus.start()
    await world.stranger(f"{world.prefix}.events", b"\xff\xffnonsense")
    said = say(bus, Topic.EVENTS, range(3))
    await got.has(3)
    assert got.said == said
    assert bus.counters()[Topic.EVENTS].unreadable == 1
    await holds(lambda: bus.queue_depth == 0, "nothing to be left")
