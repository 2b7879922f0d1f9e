"""Ingest, consoles and retention over the in-memory log of the feed's tests."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest

from services.events.domain.calls import LiveCalls
from services.events.domain.event import Draft, draft
from services.events.domain.view import View
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
from services.events.handlers.tail import Tail
from services.events.handlers.watched import Watched
from services.events.ports import Appended, Refused, StorageError
from tandem.bus.interest import EventsStored
from tandem.bus.ports import Envelope, Topic
from tandem.rpc.sessions import Principal
from tests.support.events import Tokens, removed
from tests.unit.events.test_feed import MemoryLog, some


class FragileLog(MemoryLog):
    """Fails to store as often as it is told, and never holds what is `poison`."""

    def __init__(self, failures: int = 0, poison: str = "") -> None:
        super().__init__()
        self.failures = failures
        self.poison = poison

    async def append(self, drafts: Sequence[Draft]) -> Appended:
        if self.failures:
            self.failures -= 1
            raise StorageError("away")
        if any(draft.envelope_id == self.poison for draft in drafts):
            raise Refused("too long")
        after = len(self.events)
        new = some(after + 1, after + len(drafts))
        self.events += new
        return Appended(after, new)


class Said:
    """A publisher that remembers."""

    def __init__(self) -> None:
        self.payloads: list[Any] = []

    def publish(self, topic: Topic, payload: Any) -> None:
        self.payloads.append(payload)


async def ingest_of(log: MemoryLog, said: Said | None = None) -> tuple[Ingest, Feed]:
    feed = Feed(log)
    tail = Tail(log, LiveCalls(), feed, said or Said(), poll_seconds=None)
    await tail.start(None)
    return Ingest(log, tail, clock=lambda: 11.0), feed


def envelopes(count: int) -> list[Envelope]:
    return [Envelope(f"n-{n}", 1.0, "n", removed("alice", n)) for n in range(count)]


async def test_a_batch_that_cannot_be_stored_stays_with_the_broker_and_the_delay_shows_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ingest, feed = await ingest_of(FragileLog(failures=2))
    with caplog.at_level(logging.CRITICAL):
        for _ in range(2):
            with pytest.raises(StorageError):
                await ingest(envelopes(3))
    assert (ingest.stored, ingest.postponed, feed.last) == (0, 2, 0)
    assert ingest.failing
    assert ingest.delay() == 10.0  # the events are of the time 1
    await ingest(envelopes(3))
    assert (ingest.stored, feed.last) == (3, 3)
    assert not ingest.failing


async def test_a_batch_that_another_node_stores_is_no_delay_of_this_one() -> None:
    log = FragileLog(failures=1)
    feed = Feed(log)
    tail = Tail(log, LiveCalls(), feed, Said(), poll_seconds=None)
    await tail.start(None)
    ingest = Ingest(log, tail, clock=lambda: 11.0)
    with pytest.raises(StorageError):
        await ingest(envelopes(3))
    assert ingest.delay() == 10.0
    tail.stored(await log.append([draft(envelope) for envelope in envelopes(3)]))
    assert ingest.delay() == 0.0


async def test_what_is_stored_is_told_to_the_other_nodes() -> None:
    said = Said()
    ingest, _ = await ingest_of(FragileLog(), said)
    await ingest(envelopes(3))
    assert said.payloads == [EventsStored(3)]


async def test_an_event_that_the_database_cannot_hold_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ingest, feed = await ingest_of(FragileLog(poison="n-1"))
    with caplog.at_level(logging.CRITICAL):
        await ingest(envelopes(3))
    assert (ingest.stored, ingest.refused, feed.last) == (2, 1, 2)


async def test_what_is_no_event_is_counted_and_the_rest_is_stored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ingest, _ = await ingest_of(FragileLog())
    with caplog.at_level(logging.CRITICAL):
        await ingest([Envelope("n-9", 1.0, "n", "nonsense"), *envelopes(2)])
    assert (ingest.unreadable, ingest.stored) == (1, 2)


def consoles_of(feed: Feed, tokens: Tokens) -> Consoles:
    return Consoles(
        feed,
        tokens,
        heartbeat_seconds=0.001,
        max_open=3,
        max_per_user=2,
        watched=Watched(Said(), lambda: 0.0),
        verify_seconds=0.002,
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
    [((1000, 1000.0), 1), ((10, 1000.0), 91), ((1000, 20.0), 81), ((10, 0.0), 100)],
)
async def test_events_go_by_age_and_by_number_and_the_last_stays(
    keep: tuple[int, float], first: int
) -> None:
    log = MemoryLog(some(1, 100))  # event n is of the time 1000 + n
    feed = Feed(log)
    await feed.start()
    limits = Keep(*keep, record_seconds=1.0, traces=1, trace_seconds=1.0)
    await Retention(log, feed, LiveCalls(), limits, clock=lambda: 1100.5).once()
    assert log.events[0].id == first
    assert feed.first == first
