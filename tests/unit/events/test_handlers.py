"""Ingest, consoles and retention over the in-memory log of the feed's tests."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from services.events.domain.calls import LiveCalls
from services.events.domain.event import Draft, StoredEvent
from services.events.domain.view import View
from services.events.handlers import ingest as ingest_module
from services.events.handlers.consoles import (
    Closed,
    Consoles,
    Heartbeat,
    Item,
    Ticket,
    TooManyConsoles,
)
from services.events.handlers.feed import Feed
from services.events.handlers.ingest import Ingest
from services.events.handlers.retention import Keep, Retention
from services.events.ports import StorageError
from tandem.bus.ports import Envelope
from tandem.rpc.sessions import Principal
from tests.support.events import Tokens, removed
from tests.unit.events.test_feed import MemoryLog, some


class FragileLog(MemoryLog):
    """Fails to store as often as it is told."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def append(self, drafts: Sequence[Draft]) -> list[StoredEvent]:
        if self.failures:
            self.failures -= 1
            raise StorageError("away")
        return some(1, len(drafts))


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "RETRY_SECONDS", (0.0, 0.0))


def envelopes(count: int) -> list[Envelope]:
    return [Envelope(f"n-{n}", 1.0, "n", removed("alice", n)) for n in range(count)]


@pytest.mark.parametrize(("failures", "stored", "lost"), [(0, 3, 0), (2, 3, 0), (3, 0, 3)])
async def test_storing_is_tried_again_before_a_batch_is_lost(
    failures: int, stored: int, lost: int, caplog: pytest.LogCaptureFixture
) -> None:
    log = FragileLog(failures)
    feed = Feed(log)
    ingest = Ingest(log, LiveCalls(), feed)
    with caplog.at_level(logging.CRITICAL):
        await ingest(envelopes(3))
    assert (ingest.stored, ingest.lost, feed.last) == (stored, lost, stored)


async def test_what_is_no_event_is_counted_and_the_rest_is_stored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = FragileLog(0)
    ingest = Ingest(log, LiveCalls(), Feed(log))
    with caplog.at_level(logging.CRITICAL):
        await ingest([Envelope("n-9", 1.0, "n", "nonsense"), *envelopes(2)])
    assert (ingest.unreadable, ingest.stored) == (1, 2)


def consoles_of(feed: Feed, tokens: Tokens) -> Consoles:
    return Consoles(
        feed, tokens, heartbeat_seconds=0.001, max_open=3, max_per_user=2, verify_seconds=0.002
    )


async def test_a_stream_ends_when_its_token_is_revoked() -> None:
    feed, tokens = Feed(MemoryLog()), Tokens()
    consoles = consoles_of(feed, tokens)
    items: list[Item] = []
    async for item in consoles.follow(Ticket(View(Principal("alice")), "alice"), None):
        items.append(item)
        if len(items) == 4:
            tokens.users.remove("alice")
    assert items[0] == Heartbeat(0)
    assert isinstance(items[-1], Closed)
    assert "token" in items[-1].reason


def test_streams_are_limited_per_user_and_in_all() -> None:
    consoles = consoles_of(Feed(MemoryLog()), Tokens())
    with consoles.counted("alice"), consoles.counted("alice"):
        with pytest.raises(TooManyConsoles, match="You have 2"):
            consoles.check_room("alice")
        with consoles.counted("bob"), pytest.raises(TooManyConsoles, match="The server"):
            consoles.check_room("bob")
        consoles.check_room("bob")
    consoles.check_room("alice")
    assert len(consoles) == 0
    assert consoles.refused == 2


@pytest.mark.parametrize(
    ("keep", "first"),
    [(Keep(1000, 1000.0, 1.0), 1), (Keep(10, 1000.0, 1.0), 91), (Keep(1000, 20.0, 1.0), 81),
     (Keep(10, 0.0, 1.0), 100)],
)  # fmt: skip
async def test_events_go_by_age_and_by_number_and_the_last_stays(keep: Keep, first: int) -> None:
    log = MemoryLog(some(1, 100))  # event n is of the time 1000 + n
    feed = Feed(log)
    await feed.start()
    await Retention(log, feed, LiveCalls(), keep, clock=lambda: 1100.5).once()
    assert log.events[0].id == first
    assert feed.first == first
