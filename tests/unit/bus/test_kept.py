"""A subscriber over a source that a test plays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from tandem.bus import kept, settle
from tandem.bus.kept import KeptSubscription, Message
from tandem.bus.ports import Envelope, Keep, Topic
from tests.support.waiting import eventually


class FakeSource:
    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.given_back = 0
        self.refused: list[bytes] = []
        self.broken = False

    async def acknowledge(self, tag: int) -> None:
        if self.broken:
            raise ConnectionError("gone")
        self.acknowledged.append(tag)

    async def refuse(self, message: bytes) -> None:
        if self.broken:
            raise ConnectionError("gone")
        self.refused.append(message)

    async def give_back(self) -> None:
        self.given_back += 1


class Site:
    def __init__(self, keep: Keep) -> None:
        self.fails = False
        self.took: list[str] = []
        self.tries = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.source = FakeSource()
        self.subscription = KeptSubscription(Topic.EVENTS, "s", self._handle, keep)
        self.subscription.attach(self.source)
        self.work = asyncio.create_task(self.subscription.run())

    async def _handle(self, batch: Sequence[Envelope]) -> None:
        self.tries += 1
        await self.gate.wait()
        if self.fails:
            raise RuntimeError("no")
        self.took.extend(envelope.id for envelope in batch)

    def arrive(self, tag: int, *ids: str) -> None:
        self.subscription.arrived(Message(tag, [Envelope(i, 0.0, "n", None) for i in ids]))

    async def until(self, look: Callable[[], bool]) -> None:
        async def holds() -> bool:
            return look()

        await eventually(holds, "the subscriber")


@pytest.fixture(params=[Keep.NODE, Keep.SHARED], ids=["node", "shared"])
async def site(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    monkeypatch.setattr(settle, "PAUSES", (0.0,))
    monkeypatch.setattr(kept, "RETRY_SECONDS", 0.001)
    site = Site(request.param)
    yield site
    site.work.cancel()
    await asyncio.gather(site.work, return_exceptions=True)


async def test_what_waits_is_handled_together_and_acknowledged_once(site: Site) -> None:
    site.arrive(1, "a", "b")
    site.arrive(2, "c")
    assert len(site.subscription) == 3
    await site.until(lambda: site.source.acknowledged == [2])
    assert site.took == ["a", "b", "c"]
    assert site.tries == 1


async def test_no_batch_is_longer_than_a_handler_is_promised(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "BATCH_LIMIT", 3)
    for tag, ids in enumerate(("ab", "cd", "e", "fghi", "j"), 1):
        site.arrive(tag, *ids)
    await site.until(lambda: site.source.acknowledged == [1, 3, 4, 5])
    assert "".join(site.took) == "abcdefghij"


async def test_what_a_new_session_brings_again_is_known_and_acknowledged_there(
    site: Site,
) -> None:
    site.gate.clear()
    site.arrive(1, "a")
    await site.until(lambda: site.tries == 1)
    site.subscription.detach()
    other = FakeSource()
    site.subscription.attach(other)
    site.arrive(7, "a")
    site.gate.set()
    await site.until(lambda: other.acknowledged == [7])
    assert site.source.acknowledged == []
    assert site.took == ["a"]


async def test_an_acknowledgement_that_fails_ends_nothing(site: Site) -> None:
    site.source.broken = True
    site.arrive(1, "a")
    await site.until(lambda: site.took == ["a"])
    site.source.broken = False
    site.arrive(2, "b")
    await site.until(lambda: site.source.acknowledged == [2])


async def test_what_can_not_be_read_is_set_aside_before_it_is_acknowledged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.source.broken = True
    site.subscription.arrived(Message(1, [], b"of a newer version"))
    await site.until(lambda: "could not set a message aside" in caplog.text)
    site.source.broken = False
    if site.subscription.keep is Keep.SHARED:
        await site.until(lambda: site.source.given_back == 1)
        assert site.source.acknowledged == []
        site.subscription.arrived(Message(1, [], b"of a newer version"))
    await site.until(lambda: site.source.acknowledged == [1])
    assert site.source.refused == [b"of a newer version"]


async def test_only_a_shared_queue_gets_back_what_cannot_be_handled(site: Site) -> None:
    site.fails = True
    site.arrive(1, "a")
    if site.subscription.keep is Keep.SHARED:
        await site.until(lambda: site.source.given_back == 1)
        assert len(site.subscription) == 0
    else:
        await site.until(lambda: site.tries > 8)
        assert site.source.given_back == 0
        site.fails = False
        await site.until(lambda: site.source.acknowledged == [1])
    assert site.source.refused == []


async def test_it_finishes_what_is_here_and_ends(site: Site) -> None:
    site.arrive(1, "a")
    site.subscription.finish()
    async with asyncio.timeout(10):
        await site.work
    assert site.took == ["a"]
    assert site.source.acknowledged == [1]
