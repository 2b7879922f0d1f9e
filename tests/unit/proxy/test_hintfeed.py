"""Hints from the bus into the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.proxy.domain.hints import HintTable
from services.proxy.handlers.hintfeed import AFTERWARDS, HintFeed
from tandem.bus.hints import Hint, HintAcknowledged, HintsWanted, HintWithdrawn
from tandem.bus.memory import MemoryBus
from tandem.bus.ports import Envelope, Handler, Keep, Topic

NOW = 1_700_000_000.0


class FakeBus:
    """Keeps what is published; the test delivers."""

    def __init__(self) -> None:
        self.published: list[Any] = []
        """On Topic.HINTS."""
        self.answers: list[tuple[Any, str]] = []
        """On Topic.ANSWERS, and to whom."""
        self.resumed: list[Callable[[], None]] = []

    def publish(self, topic: Topic, payload: Any, *, to: str = "") -> None:
        if topic is Topic.ANSWERS:
            self.answers.append((payload, to))
        else:
            assert (topic, to) == (Topic.HINTS, "")
            self.published.append(payload)

    def subscribe(
        self, topic: Topic, handler: Handler, *, name: str, keep: Keep = Keep.LIVE
    ) -> None:
        assert (topic, keep) == (Topic.HINTS, Keep.LIVE)

    def on_resumed(self, callback: Callable[[], None]) -> None:
        self.resumed.append(callback)

    async def start(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""


class World:
    """A feed, its table and its timers."""

    def __init__(self) -> None:
        self.table, self.bus = HintTable(), FakeBus()
        self.timers: list[float] = []
        self.feed = HintFeed(
            self.table, self.bus, "proxy1", lambda s, call: self.timers.append(s), lambda: NOW
        )

    async def hear(self, *payloads: object) -> None:
        await self.feed.take([Envelope(str(n), NOW, "x", p) for n, p in enumerate(payloads)])


def hint(number: str, expires_at: float = NOW + 30) -> Hint:
    return Hint(
        id=number, node="n", appserver="a:1", customer="c", users=("bob",), expires_at=expires_at
    )


async def test_each_hint_is_acknowledged_to_its_appserver_each_time_it_is_heard() -> None:
    world = World()
    await world.hear(hint("1"), hint("2"), hint("1"))
    assert world.bus.answers == [(HintAcknowledged(n, "proxy1"), "n") for n in ("1", "2", "1")]
    assert world.bus.published == []
    assert len(world.table) == 2
    assert world.feed.acknowledged == 3


async def test_what_is_not_in_the_table_is_not_acknowledged() -> None:
    world = World()
    await world.hear(hint("1", NOW), HintAcknowledged("2", "proxy2"), HintsWanted("proxy2"))
    assert (world.bus.published, world.bus.answers) == ([], [])
    assert len(world.table) == 0


async def test_a_hint_that_is_withdrawn_is_gone() -> None:
    world = World()
    await world.hear(hint("1"), hint("2"), HintWithdrawn("1", "matched"))
    assert ("1" in world.table, "2" in world.table) == (False, True)


async def test_it_asks_anew_when_the_broker_is_back_and_again_for_who_comes_back_later() -> None:
    world = World()
    (resumed,) = world.bus.resumed
    resumed()
    assert world.bus.published == [HintsWanted("proxy1")]
    assert world.timers == list(AFTERWARDS)


async def test_appservers_are_asked_when_the_question_has_come_back() -> None:
    world = World()
    world.feed.ask()
    assert (world.bus.published, world.bus.answers) == ([HintsWanted("proxy1")], [])
    await world.hear(*world.bus.published)
    assert world.bus.answers == [(HintsWanted("proxy1"), "")]


async def test_a_start_ends_with_the_live_hints_in_the_table() -> None:
    bus = MemoryBus("test")
    table = HintTable()
    feed = HintFeed(table, bus, "proxy1", lambda seconds, call: None, lambda: NOW)

    async def appserver(batch: Any) -> None:
        for envelope in batch:
            if envelope.payload == HintsWanted("proxy1"):
                bus.publish(Topic.HINTS, hint("1"))

    bus.subscribe(Topic.ANSWERS, appserver, name="appserver")
    await bus.start()
    await feed.catch_up()
    assert "1" in table
    await bus.close()


async def test_a_start_without_the_broker_goes_on() -> None:
    world = World()
    await world.feed.catch_up()
    assert set(world.bus.published) == {HintsWanted("proxy1")}
    assert len(world.table) == 0
