"""The resolver's cache and waiting, with a source of the test's own and a hand-moved clock."""

from __future__ import annotations

import asyncio

import pytest

from tandem.sip.uri import Uri
from tandem.siptransport import resolver as module
from tandem.siptransport.dnscache import (
    FAILURE_TTL,
    MAX_ENTRIES,
    MAX_TTL,
    MIN_TTL,
    NEGATIVE_TTL,
    STALE,
    DnsCache,
)
from tandem.siptransport.locate import Answer, Hop, Kind, Policy, Question
from tandem.siptransport.resolver import Lookup, ResolveError, Resolver

NAME = Uri.parse("sip:example.com:5060")
AWAY = Lookup(Answer(failure="DNS does not answer"))


class Source:
    """Answers every question alike, when it is let."""

    def __init__(self) -> None:
        self.lookup = Lookup(Answer(("192.0.2.1",)), 100)
        self.asked: list[Question] = []
        self.open = asyncio.Event()
        self.open.set()
        self.arrived = asyncio.Event()

    async def ask(self, question: Question) -> Lookup:
        self.asked.append(question)
        self.arrived.set()
        await self.open.wait()
        return self.lookup


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def source() -> Source:
    return Source()


@pytest.fixture
def resolver(source: Source, clock: Clock) -> Resolver:
    return Resolver(clock=clock, source=source, policy=Policy(families=(Kind.A,)))


async def hosts(resolver: Resolver, uri: Uri = NAME) -> list[str]:
    return [hop.host for hop in await resolver.resolve(uri)]


async def test_an_answer_is_asked_for_once_while_it_holds(
    resolver: Resolver, source: Source, clock: Clock
) -> None:
    assert resolver.resolve_now(NAME) is None
    assert await hosts(resolver) == ["192.0.2.1"]
    clock.now = 99
    assert resolver.resolve_now(NAME) == [Hop("udp", "192.0.2.1", 5060, "example.com")]
    await hosts(resolver)
    assert len(source.asked) == 1
    clock.now = 100
    assert resolver.resolve_now(NAME) is None
    await hosts(resolver)
    assert len(source.asked) == 2


async def test_an_expired_answer_goes_on_serving_while_dns_is_away(
    resolver: Resolver, source: Source, clock: Clock
) -> None:
    await hosts(resolver)
    clock.now, source.lookup = 1000, AWAY
    assert await hosts(resolver) == ["192.0.2.1"]
    assert resolver.resolve_now(NAME) is not None
    assert len(source.asked) == 2
    clock.now += FAILURE_TTL
    assert resolver.resolve_now(NAME) is None
    source.lookup = Lookup(Answer(("192.0.2.2",)), 100)
    assert await hosts(resolver) == ["192.0.2.2"]


async def test_an_expired_answer_does_not_wait_for_a_slow_server(
    resolver: Resolver, source: Source, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALE_PATIENCE", 0.0)
    await hosts(resolver)
    clock.now = 1000
    source.open.clear()
    assert await hosts(resolver) == ["192.0.2.1"]
    source.lookup = Lookup(Answer(("192.0.2.2",)), 100)
    source.open.set()
    monkeypatch.setattr(module, "STALE_PATIENCE", 60.0)
    assert await hosts(resolver) == ["192.0.2.2"]


async def test_a_stale_answer_is_useless_after_a_day(
    resolver: Resolver, source: Source, clock: Clock
) -> None:
    await hosts(resolver)
    clock.now, source.lookup = 100 + STALE, AWAY
    with pytest.raises(ResolveError, match="DNS does not answer"):
        await hosts(resolver)


async def test_a_failure_is_not_asked_again_at_once_and_not_for_long(
    resolver: Resolver, source: Source, clock: Clock
) -> None:
    source.lookup = AWAY
    with pytest.raises(ResolveError):
        await hosts(resolver)
    with pytest.raises(ResolveError):
        resolver.resolve_now(NAME)
    assert len(source.asked) == 1
    clock.now, source.lookup = FAILURE_TTL, Lookup(Answer(("192.0.2.1",)), 100)
    assert await hosts(resolver) == ["192.0.2.1"]


async def test_the_absence_of_a_name_is_kept_for_a_while(
    resolver: Resolver, source: Source, clock: Clock
) -> None:
    source.lookup = Lookup(Answer(), 10_000)
    with pytest.raises(ResolveError, match="has no address"):
        await hosts(resolver)
    clock.now = NEGATIVE_TTL - 1
    with pytest.raises(ResolveError, match="has no address"):
        resolver.resolve_now(NAME)
    clock.now = NEGATIVE_TTL
    assert resolver.resolve_now(NAME) is None


async def test_many_who_ask_at_once_cost_one_query_and_one_who_leaves_harms_nobody(
    resolver: Resolver, source: Source
) -> None:
    source.open.clear()
    waiting = [asyncio.ensure_future(hosts(resolver)) for _ in range(20)]
    await source.arrived.wait()
    waiting[0].cancel()
    await asyncio.sleep(0)
    source.open.set()
    assert await asyncio.gather(*waiting[1:]) == [["192.0.2.1"]] * 19
    assert waiting[0].cancelled()
    assert len(source.asked) == 1


async def test_queries_under_way_are_bounded(
    resolver: Resolver, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_UNDER_WAY", 1)
    source.open.clear()
    first = asyncio.ensure_future(hosts(resolver))
    await source.arrived.wait()
    with pytest.raises(ResolveError, match="too many DNS queries under way"):
        await hosts(resolver, Uri.parse("sip:example.net:5060"))
    source.open.set()
    assert await first == ["192.0.2.1"]


async def test_a_uri_that_takes_too_long_is_given_up(
    resolver: Resolver, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESOLVE_TIMEOUT", 0.0)
    source.open.clear()
    with pytest.raises(ResolveError, match="cannot be looked up: DNS is too slow"):
        await hosts(resolver)
    await resolver.close()


async def test_a_destination_that_failed_comes_last(
    resolver: Resolver, source: Source, clock: Clock
) -> None:
    source.lookup = Lookup(Answer(("192.0.2.1", "192.0.2.2")), 100)
    first, second = await resolver.resolve(NAME)
    resolver.health.mark_failed(first, clock())
    assert resolver.resolve_now(NAME) == [second, first]
    assert await resolver.resolve(NAME) == [second, first]


@pytest.mark.parametrize(("ttl", "kept"), [(0, MIN_TTL), (30, 30), (1_000_000, MAX_TTL)])
def test_times_to_live_are_bounded(ttl: float, kept: float) -> None:
    cache, question = DnsCache(), Question("example.com", Kind.A)
    answer = cache.put(question, Answer(("192.0.2.1",)), ttl, 0)
    assert cache.get(question, kept - 0.1) is answer
    assert cache.get(question, kept) is None
    assert cache.get_stale(question, kept) is answer


def test_the_cache_is_bounded_and_the_oldest_gives_way() -> None:
    cache = DnsCache()
    questions = [Question(f"{n}.example.com", Kind.A) for n in range(MAX_ENTRIES + 1)]
    for question in questions:
        cache.put(question, Answer(("192.0.2.1",)), 60, 0)
    assert len(cache) == MAX_ENTRIES
    assert cache.get(questions[0], 1) is None
    assert cache.get(questions[1], 1) is not None
