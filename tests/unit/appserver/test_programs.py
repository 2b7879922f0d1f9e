"""The cache of dialplans and providers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from services.appserver.handlers import programs
from services.appserver.handlers.programs import Ages, ProgramCache
from tandem.bus.ports import Topic
from tandem.dialplan.script import Dialplan, Language
from tandem.rpc.directory import DirectoryChanged, DirectoryUnavailable
from tandem.rpc.programs import Provider
from tests.support.appserver import Phone, Site, account
from tests.support.programs import FakePrograms


def dialplan(name: str = "Out", source: str = "1", owner: str = "alice") -> Dialplan:
    return Dialplan(id="1", owner=owner, name=name, language=Language.PYTHON, source=source)


def provider(name: str = "Blueface", owner: str = "alice") -> Provider:
    return Provider(id="2", owner=owner, name=name, server="sip:a.b", username="u")


class Bench:
    """A cache with a clock moved by hand."""

    def __init__(self, *made: Dialplan | Provider) -> None:
        self.now = 0.0
        self.source = FakePrograms(*made)
        self.tasks: set[asyncio.Task[None]] = set()
        ages = Ages(fresh=300, usable=3600, missing=15)
        self.cache = ProgramCache(self.source, self._spawn, lambda: self.now, ages)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.add(asyncio.ensure_future(work))

    async def settle(self) -> None:
        await asyncio.gather(*self.tasks)

    async def text(self, name: str = "out") -> str | None:
        found = await self.cache.dialplan("alice", name)
        return found.source if found else None

    def save(self, source: str) -> None:
        self.source.dialplans = [dialplan(source=source)]


async def test_what_was_asked_for_once_is_at_hand_in_any_case() -> None:
    bench = Bench(dialplan(), provider(), provider("other"))
    assert [await bench.text(name) for name in ("out", "OUT", "Out")] == ["1"] * 3
    assert bench.source.asked == 1
    assert await bench.cache.provider("alice", "BLUEFACE") == provider()
    assert await bench.cache.provider("alice", "other") == provider("other")
    assert await bench.cache.provider("alice", "third") is None
    assert await bench.cache.provider("bob", "blueface") is None
    assert bench.source.asked == 3


async def test_many_who_want_the_same_ask_once() -> None:
    bench = Bench(dialplan())
    assert await asyncio.gather(*(bench.text() for _ in range(50))) == ["1"] * 50
    assert bench.source.asked == 1


async def test_one_who_gives_up_takes_nothing_from_the_others() -> None:
    bench = Bench(dialplan())
    gate = asyncio.Event()
    ask = bench.source.dialplan

    async def slow(owner: str, name: str) -> Dialplan | None:
        await gate.wait()
        return await ask(owner, name)

    bench.source.dialplan = slow  # type: ignore[method-assign]
    first, second = (asyncio.ensure_future(bench.text()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    gate.set()
    assert await second == "1"
    assert first.cancelled()


async def test_what_got_old_serves_while_it_is_asked_for_anew() -> None:
    bench = Bench(dialplan())
    await bench.text()
    bench.save("2")
    bench.now = 301
    assert await bench.text() == "1"
    await bench.settle()
    assert await bench.text() == "2"


async def test_what_got_very_old_is_asked_for_first_and_serves_if_nobody_answers() -> None:
    bench = Bench(dialplan())
    await bench.text()
    bench.save("2")
    bench.now = 4000
    bench.source.away = True
    assert await bench.text() == "1"
    asked = bench.source.asked
    assert await bench.text() == "1"
    assert bench.source.asked == asked
    bench.source.away = False
    bench.now += 3
    await bench.text()
    await bench.settle()
    assert await bench.text() == "2"


async def test_what_nobody_knows_and_nobody_can_say_is_told_apart_from_none() -> None:
    bench = Bench()
    bench.source.away = True
    for _ in range(3):
        with pytest.raises(DirectoryUnavailable):
            await bench.text()
    assert bench.source.asked == 1
    bench.source.away = False
    bench.now = 3
    assert await bench.text() is None
    bench.save("1")
    assert await bench.text() is None
    bench.now += 16
    assert await bench.text() == "1"


@pytest.mark.parametrize(
    ("kind", "key", "fresh"),
    [
        ("dialplan", "alice/OUT", "2"),
        ("customer", "alice", "2"),
        ("dialplan", "alice/other", "1"),
        ("dialplan", "bob/out", "1"),
        ("customer", "bob", "1"),
        ("provider", "alice/out", "1"),
        ("sip-account", "alice@local", "1"),
        ("nonsense", "", "1"),
    ],
)
async def test_what_changed_is_asked_for_before_it_is_used(kind: str, key: str, fresh: str) -> None:
    bench = Bench(dialplan())
    await bench.text()
    bench.save("2")
    bench.cache.invalidate(kind, key)
    assert await bench.text() == fresh


async def test_a_provider_that_changed_is_asked_for_with_all_of_its_owners() -> None:
    bench = Bench(provider())
    await bench.cache.provider("alice", "blueface")
    bench.source.known = [replace(provider(), enabled=False)]
    bench.cache.invalidate("provider", "alice/Blueface")
    found = await bench.cache.provider("alice", "blueface")
    assert found is not None
    assert found.enabled is False


async def test_what_changes_while_it_is_asked_for_is_asked_for_again() -> None:
    bench = Bench(dialplan())
    ask = bench.source.dialplan

    async def overtaken(owner: str, name: str) -> Dialplan | None:
        old = await ask(owner, name)
        if bench.source.asked == 1:
            bench.save("2")
            bench.cache.invalidate("dialplan", "alice/Out")
        return old

    bench.source.dialplan = overtaken  # type: ignore[method-assign]
    assert await bench.text() == "2"


async def test_after_news_may_have_been_missed_what_is_there_serves_and_is_asked_for() -> None:
    bench = Bench(dialplan())
    await bench.text()
    assert await bench.text("other") is None
    bench.source.dialplans = [dialplan(source="2"), dialplan("other", "3")]
    bench.cache.doubt()
    assert await bench.text() == "1"
    assert await bench.text("other") == "3"
    await bench.settle()
    assert await bench.text() == "2"


async def test_what_is_at_hand_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "MAX_WEIGHT", 10_000)
    bench = Bench(*(dialplan(f"d{n}", "x" * 1000) for n in range(20)))
    for number in range(20):
        assert await bench.text(f"d{number}")
        assert await bench.text("d0")
        assert len(bench.cache) <= 5
    asked = bench.source.asked
    await bench.text("d0")
    assert bench.source.asked == asked
    await bench.text("d5")
    assert bench.source.asked == asked + 1


async def test_those_who_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "MAX_WAITING", 2)
    bench = Bench(dialplan())
    answers = await asyncio.gather(*(bench.text() for _ in range(3)), return_exceptions=True)
    assert answers[:2] == ["1", "1"]
    assert isinstance(answers[2], DirectoryUnavailable)
    assert await bench.text() == "1"


@pytest.mark.parametrize("name", ["", "x" * 129, "a\0", "\udc80", "a\r\nb"])
async def test_a_name_that_nothing_can_have_is_not_there(name: str) -> None:
    bench = Bench()
    assert await bench.text(name) is None


async def test_values_are_never_at_hand() -> None:
    bench = Bench()
    assert await bench.cache.read_value("alice", "k") is None
    assert await bench.cache.write_value("alice", "k", "1")
    assert await bench.cache.read_value("alice", "k") == "1"
    assert await bench.cache.value_keys("alice") == ["k"]
    bench.source.away = True
    with pytest.raises(DirectoryUnavailable):
        await bench.cache.read_value("alice", "k")


async def test_the_appserver_hears_of_changes_over_the_bus() -> None:
    async with Site() as site:
        site.programs.dialplans = [dialplan()]
        cache = site.app.tools.programs
        assert await cache.dialplan("alice", "out") == dialplan()
        site.programs.dialplans = [dialplan(source="2")]
        assert await cache.dialplan("alice", "out") == dialplan()
        change = DirectoryChanged("dialplan", "alice/Out")
        await site.bus.deliver(Topic.DIRECTORY, change)
        assert await cache.dialplan("alice", "out") == dialplan(source="2")


async def test_a_change_of_a_dialplan_costs_no_look_up_of_accounts() -> None:
    async with Site(account("alice")) as site:
        await Phone(site).registered()
        asked = site.directory.asked
        for kind in ("dialplan", "provider", "of-the-future"):
            await site.bus.deliver(Topic.DIRECTORY, DirectoryChanged(kind, "owner-alice/x"))
        await site.settle()
        await Phone(site).registered()
        assert site.directory.asked == asked
