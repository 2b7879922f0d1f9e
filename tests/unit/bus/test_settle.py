"""What becomes of batches whose handler fails."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from tandem.bus import settle
from tandem.bus.counters import SubscriptionCounts
from tandem.bus.ports import Envelope, Later
from tandem.bus.settle import Seen, Settler


class Handler:
    """Fails on some ids, or for some calls."""

    def __init__(self, *bad: str, fails: int = 0) -> None:
        self.bad = set(bad)
        self.fails = fails
        self.took: list[str] = []
        self.calls = 0

    async def __call__(self, batch: Sequence[Envelope]) -> None:
        self.calls += 1
        if self.calls <= self.fails or self.bad & {e.id for e in batch}:
            raise ValueError("no")
        self.took.extend(e.id for e in batch)


class Site:
    def __init__(self, handler: Handler, *, place: bool = True) -> None:
        self.counts = SubscriptionCounts()
        self.refused: list[str] = []
        self.place = place
        self.settler = Settler("s", handler, self.counts, self._refuse, remember=True)

    async def _refuse(self, envelope: Envelope) -> None:
        if not self.place:
            raise ConnectionError("no place for it")
        self.refused.append(envelope.id)


def batch(*ids: str) -> list[Envelope]:
    return [Envelope(i, 0.0, "n", None) for i in ids]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "PAUSES", (0.0, 0.0))


async def test_a_batch_that_is_handled_is_done() -> None:
    handler = Handler()
    site = Site(handler)
    assert await site.settler.settle(batch("a", "b"))
    assert handler.took == ["a", "b"]
    assert (site.counts.delivered, site.counts.failed) == (2, 0)


async def test_what_was_handled_before_is_left_out() -> None:
    handler = Handler()
    site = Site(handler)
    await site.settler.settle(batch("a", "b"))
    assert await site.settler.settle(batch("b", "c"))
    assert await site.settler.settle(batch("a"))
    assert handler.took == ["a", "b", "c"]
    assert site.counts.repeated == 2


async def test_a_passing_failure_is_tried_again_as_a_whole() -> None:
    handler = Handler(fails=2)
    site = Site(handler)
    assert await site.settler.settle(batch("a", "b"))
    assert handler.took == ["a", "b"]
    assert site.counts.failed == 2


@pytest.mark.parametrize("bad", [*"abcdefg", "ab", "de", "abc", "aceg", "bcdefg", "abcdefg"])
async def test_those_that_fail_are_found_wherever_they_are(bad: str) -> None:
    handler = Handler(*bad)
    site = Site(handler)
    rounds = 0
    # what is tried in vain comes again, with what came meanwhile
    while not await site.settler.settle(batch(*"abcdefg", *map(str, range(rounds)))):
        rounds += 1
        assert rounds < 10
    assert sorted(handler.took) == sorted((set("abcdefg") - set(bad)) | set("0123456789"[:rounds]))
    assert sorted(site.refused) == sorted(bad)
    assert site.counts.refused == len(bad)
    assert site.counts.delivered == len(handler.took)


async def test_what_is_refused_is_not_handled_again() -> None:
    handler = Handler("b")
    site = Site(handler)
    assert await site.settler.settle(batch("b", "a"))
    calls = handler.calls
    assert await site.settler.settle(batch("b"))
    assert handler.calls == calls


async def test_when_all_fail_nothing_is_refused() -> None:
    handler = Handler(*"abcd")
    site = Site(handler)
    assert not await site.settler.settle(batch(*"abcd"))
    assert site.refused == []
    handler.bad.clear()
    assert await site.settler.settle(batch(*"abcd"))
    assert handler.took == list("abcd")


async def test_one_that_comes_alone_is_not_refused_until_another_comes() -> None:
    handler = Handler("a")
    site = Site(handler)
    assert not await site.settler.settle(batch("a"))
    assert await site.settler.settle(batch("a", "b"))
    assert site.refused == ["a"]
    assert handler.took == ["b"]


async def test_without_a_place_for_the_refused_it_comes_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = Site(Handler("a"), place=False)
    assert not await site.settler.settle(batch("a", "b"))
    assert site.counts.refused == 0
    assert "could not set a aside" in caplog.text


async def test_a_batch_is_logged_with_its_error_once(caplog: pytest.LogCaptureFixture) -> None:
    site = Site(Handler(*"ab"))
    with caplog.at_level(logging.INFO, logger="tandem.bus.settle"):
        await site.settler.settle(batch("a", "b"))
    assert len(caplog.records) == 1
    assert "subscriber s failed on 2" in caplog.text


async def test_a_handler_that_lacks_something_is_not_told_of_at_length(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Waiting(Handler):
        async def __call__(self, batch: Sequence[Envelope]) -> None:
            raise Later("the database is away")

    site = Site(Waiting())
    with caplog.at_level(logging.INFO, logger="tandem.bus.settle"):
        assert not await site.settler.settle(batch("a", "b"))
    assert caplog.records == []
    assert site.counts.failed > 0


def test_the_oldest_ids_are_forgotten() -> None:
    seen = Seen(limit=2)
    for number in ("a", "b", "b", "c"):
        seen.add(number)
    assert [number in seen for number in "abc"] == [False, True, True]


async def test_without_memory_only_a_batch_that_is_under_way_is_remembered() -> None:
    taken: list[str] = []
    bad = {"c"}

    async def handler(batch: Sequence[Envelope]) -> None:
        if bad & {envelope.id for envelope in batch}:
            raise ValueError("bad")
        taken.extend(envelope.id for envelope in batch)

    refused: list[str] = []

    async def refuse(envelope: Envelope) -> None:
        refused.append(envelope.id)

    settler = Settler("s", handler, SubscriptionCounts(), refuse, remember=False)
    assert await settler.settle(batch("a", "b", "c", "d"))
    assert (sorted(taken), refused) == (["a", "b", "d"], ["c"])
    assert await settler.settle(batch("a"))
    assert sorted(taken) == ["a", "a", "b", "d"]
