"""Signals of voice applications: who gets them, and how many are kept for how long."""

from __future__ import annotations

import asyncio

import pytest

from services.appserver.domain import signals as rules
from services.appserver.domain.signals import Full, Mailboxes, TooManyWaits
from services.appserver.handlers.signals import MAX_SECONDS, Signals
from tandem.sip.deadlines import Deadlines


class World:
    """Signals with a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.deadlines = Deadlines()
        self.signals = Signals(self.deadlines, lambda: self.now, lambda: None)

    async def waiting(
        self, key: str = "k", seconds: float = 10.0, customer: str = "alice"
    ) -> asyncio.Task[str | None]:
        task = asyncio.create_task(self.signals.wait(customer, key, seconds))
        await asyncio.sleep(0)
        return task

    def put(self, body: str, key: str = "k", customer: str = "alice", keep: bool = True) -> object:
        return self.signals.put(customer, key, body, keep=keep)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.deadlines.run(self.now)


@pytest.fixture
def world() -> World:
    return World()


async def test_who_waits_gets_the_signal_and_waits_no_longer(world: World) -> None:
    task = await world.waiting()
    assert len(world.signals) == 1
    assert world.put("1234") == (1, False)
    assert await task == "1234"
    assert len(world.signals) == 0
    assert world.deadlines.next() is None


async def test_all_who_wait_under_a_key_get_it(world: World) -> None:
    tasks = [await world.waiting(), await world.waiting(), await world.waiting("other")]
    assert world.put("x") == (2, False)
    assert [await tasks[0], await tasks[1]] == ["x", "x"]
    assert not tasks[2].done()
    tasks[2].cancel()


async def test_another_customers_wait_is_another_wait(world: World) -> None:
    task = await world.waiting(customer="eve")
    assert world.put("x", keep=False) == (0, False)
    assert not task.done()
    task.cancel()


async def test_a_wait_without_a_signal_ends_in_time(world: World) -> None:
    task = await world.waiting(seconds=10.0)
    world.advance(9.9)
    await asyncio.sleep(0)
    assert not task.done()
    world.advance(0.1)
    assert await task is None
    assert world.signals.counters.timed_out == 1


async def test_no_wait_is_longer_than_the_longest(world: World) -> None:
    task = await world.waiting(seconds=1e9)
    world.advance(MAX_SECONDS)
    assert await task is None


async def test_an_early_signal_is_kept_for_a_while_in_order(world: World) -> None:
    assert world.put("one") == (0, True)
    assert world.put("two") == (0, True)
    world.advance(rules.KEEP_SECONDS - 1)
    assert await world.signals.wait("alice", "k", 0) == "one"
    world.advance(1)
    task = await world.waiting(seconds=1)
    world.advance(1)
    assert await task is None


async def test_a_signal_that_is_not_to_be_kept_is_not(world: World) -> None:
    assert world.put("x", keep=False) == (0, False)
    task = await world.waiting(seconds=1)
    world.advance(1)
    assert await task is None


async def test_a_second_signal_before_the_first_was_heard_is_kept_too(world: World) -> None:
    task = await world.waiting()
    assert world.put("one") == (1, False)
    assert world.put("two") == (0, True)
    assert await task == "one"
    assert await world.signals.wait("alice", "k", 0) == "two"


async def test_a_cancelled_wait_leaves_nothing(world: World) -> None:
    task = await world.waiting()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(world.signals) == 0
    assert world.put("x") == (0, True)


async def test_waits_are_bounded_per_customer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.appserver.handlers.signals.MAX_WAITS_OF_CUSTOMER", 1)
    task = await world.waiting()
    with pytest.raises(TooManyWaits):
        await world.signals.wait("alice", "other", 1)
    other = await world.waiting(customer="bob")
    for one in (task, other):
        one.cancel()


def test_what_is_kept_is_bounded_per_key_customer_and_over_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "MAX_KEPT_OF_KEY", 2)
    monkeypatch.setattr(rules, "MAX_KEPT_OF_CUSTOMER", 3)
    monkeypatch.setattr(rules, "MAX_KEPT", 4)
    boxes = Mailboxes()
    for customer, key in [("alice", "1"), ("alice", "1"), ("alice", "2"), ("bob", "1")]:
        boxes.keep(customer, key, "x", 0.0)
    for customer, key, text in [
        ("alice", "1", "under this key"), ("alice", "3", "of this customer"), ("eve", "1", "too"),
    ]:  # fmt: skip
        with pytest.raises(Full, match=text):
            boxes.keep(customer, key, "x", 0.0)
    assert len(boxes) == 4
    boxes.keep("eve", "1", "x", rules.KEEP_SECONDS)
    assert len(boxes) == 1
