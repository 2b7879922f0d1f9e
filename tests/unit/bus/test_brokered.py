"""The loop that keeps a session up, over sessions that a test breaks at will."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

import pytest

from tandem.bus import brokered
from tandem.bus.brokered import AnySubscription, BrokeredBus, Session
from tandem.bus.hints import HintsWanted
from tandem.bus.open import open_bus
from tandem.bus.ports import Envelope, Keep, Topic
from tests.support.waiting import eventually


class FakeSession:
    """Takes all that the outbox has when it begins to publish."""

    def __init__(self, bus: FakeBus, place: int) -> None:
        self.bus = bus
        self.place = place
        self.fed: list[str] = []
        self.closed = False
        self.end = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        if self.bus.away:
            raise ConnectionRefusedError(f"broker {self.place}")
        for subscription in self.bus.subscriptions:
            await self.consume(subscription)
        self.bus.log.append("subscribed")

    async def publish(self) -> None:
        self.bus.log.append("flushed")

    async def consume(self, subscription: AnySubscription) -> None:
        self.fed.append(subscription.name)

    def run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.bus.later.append(asyncio.create_task(work, name=name))

    async def ended(self) -> str:
        return str(await self.end)

    async def stop_consuming(self) -> None:
        if self.bus.stubborn:
            raise ConnectionError("it broke")

    async def delete_queues(self) -> None:
        self.bus.log.append("queues deleted")

    async def close(self) -> None:
        self.closed = True


class FakeBus(BrokeredBus):
    def __init__(self, *addresses: str) -> None:
        self.away = False
        self.stubborn = False
        self.log: list[str] = []
        self.later: list[asyncio.Task[None]] = []
        self.sessions: list[FakeSession] = []
        super().__init__("node", lambda: 1000.0, "tandem", addresses or ("one:1",))

    def session(self, place: int) -> Session:
        self.sessions.append(FakeSession(self, place))
        return self.sessions[-1]


async def nothing(batch: Sequence[Envelope]) -> None:
    pass


@pytest.fixture
async def bus(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeBus]:
    monkeypatch.setattr(brokered, "BACK_OFF", (0.001,))
    monkeypatch.setattr(brokered, "CLOSE_SECONDS", 0.05)
    bus = FakeBus()
    yield bus
    await bus.close()


async def sessions(bus: FakeBus, count: int) -> None:
    async def made() -> bool:
        return len(bus.sessions) >= count

    await eventually(made, f"{count} sessions")


async def test_a_session_that_ends_is_followed_by_another_before_the_flush(bus: FakeBus) -> None:
    bus.subscribe(Topic.EVENTS, nothing, name="s")
    bus.on_resumed(lambda: bus.log.append("resumed"))
    await bus.start()
    assert bus.connected
    assert bus.log == ["subscribed", "flushed"]
    bus.sessions[0].end.set_result("broken")
    await sessions(bus, 2)

    async def flushed() -> bool:
        return bus.log[2:] == ["subscribed", "resumed", "flushed"]

    await eventually(flushed, "the resumption")
    assert bus.sessions[0].closed
    assert bus.sessions[1].fed == ["s"]


async def test_all_addresses_are_tried_and_an_outage_is_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brokered, "BACK_OFF", (0.001,))
    bus = FakeBus("one:1", "two:2")
    bus.away = True
    with caplog.at_level(logging.INFO, logger="tandem.bus.brokered"):
        await bus.start()
        assert not bus.connected
        await sessions(bus, 6)
        bus.away = False

        async def connected() -> bool:
            return bus.connected

        await eventually(connected, "the connection")
    assert [session.place for session in bus.sessions[:4]] == [0, 1, 0, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "the broker at one:1 can't be used: ConnectionRefusedError broker 0",
        f"the broker at {('one:1', 'two:2')[bus.sessions[-1].place]} is back",
    ]
    await bus.close()


async def test_sessions_that_break_at_once_come_ever_more_slowly_and_steady_ones_do_not(
    bus: FakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    class Pauses(tuple[float, ...]):
        def __getitem__(self, index: Any) -> Any:
            pauses.append(super().__getitem__(index))
            return 0.0

    async def break_sessions(first: int, last: int) -> None:
        for number in range(first, last):
            await sessions(bus, number + 1)
            bus.sessions[number].end.set_result("broken")
        await sessions(bus, last + 1)

    monkeypatch.setattr(brokered, "BACK_OFF", Pauses((1.0, 2.0, 3.0)))
    await bus.start()
    await break_sessions(0, 4)
    assert pauses == [1.0, 2.0, 3.0, 3.0]
    monkeypatch.setattr(brokered, "STEADY_SECONDS", 0.0)
    await break_sessions(4, 6)
    assert pauses[4:] == [1.0, 1.0]


async def test_a_callback_that_fails_does_not_keep_the_others_from_it(
    bus: FakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("no")

    called: list[int] = []
    bus.on_resumed(fail)
    bus.on_resumed(lambda: called.append(1))
    await bus.start()
    bus.sessions[0].end.set_result("broken")

    async def done() -> bool:
        return bool(called)

    await eventually(done, "the callback")
    assert "a callback failed" in caplog.text


async def test_a_subscriber_that_comes_late_is_fed_by_the_session_there_is(bus: FakeBus) -> None:
    await bus.start()
    bus.subscribe(Topic.NODES, nothing, name="late", keep=Keep.NODE)
    await asyncio.gather(*bus.later)
    assert bus.sessions[0].fed == ["late"]


async def test_publishing_needs_no_loop_and_no_broker_and_ends_with_close(bus: FakeBus) -> None:
    for number in range(3):
        bus.publish(Topic.EVENTS, HintsWanted(str(number)))
    counts = bus.counters()[Topic.EVENTS]
    assert (counts.published, counts.outbox) == (3, 3)
    await bus.close()
    bus.publish(Topic.EVENTS, HintsWanted("late"))
    counts = bus.counters()[Topic.EVENTS]
    assert (counts.published, counts.outbox, counts.dropped["closed"]) == (3, 0, 3)


async def test_losses_are_told_once_and_only_where_they_matter(bus: FakeBus) -> None:
    for topic in (Topic.HINTS, Topic.NODES):
        bus.outboxes[topic].limit = 1
        for number in range(4):
            bus.publish(topic, HintsWanted(str(number)))
    bus.tell_losses()
    bus.tell_losses()
    events = bus.outboxes[Topic.EVENTS]
    told = [events.next(), events.next()]
    assert told[0] is not None
    assert (told[0].payload.topic, told[0].payload.count, told[0].payload.reason) == (
        "hints", 3, "outbox full",
    )  # fmt: skip
    assert told[1] is None


async def test_losses_wait_while_telling_them_would_lose_more(bus: FakeBus) -> None:
    events = bus.outboxes[Topic.EVENTS]
    events.limit = 4
    for number in range(6):
        bus.publish(Topic.EVENTS, HintsWanted(str(number)))
    bus.tell_losses()
    assert events.published == 6
    while events.next() is not None:
        pass
    events.arrived()
    bus.tell_losses()
    told = events.next()
    assert told is not None
    assert told.payload.count == 2


async def test_a_session_that_breaks_while_closing_does_not_stop_it(bus: FakeBus) -> None:
    bus.stubborn = True
    await bus.start()
    await bus.close()
    assert bus.sessions[0].closed
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("bus ")]


async def test_a_clean_close_deletes_what_ends_with_the_node(bus: FakeBus) -> None:
    await bus.start()
    await bus.close()
    assert bus.log[-1] == "queues deleted"


@pytest.mark.parametrize(
    "url",
    ["", "redis://x", "amqp://", "amqp://user:secret@host:port/", "amqp://user:secret@", "memory",
     "amqp://a:secret@h,http://b", "amqp://[::1", "amqp://h,"],
)  # fmt: skip
def test_a_wrong_url_is_refused_without_telling_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="must be amqp://") as caught:
        open_bus(url, "node")
    assert "secret" not in str(caught.value)


def test_the_url_of_a_broker_or_of_none_opens_a_bus() -> None:
    assert open_bus("memory:", "node").connected
    assert not open_bus("amqp://u:p@[::1]/v,amqps://b.example", "node").connected
