"""The event log on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection

from services.events.adapters import eventlog
from services.events.adapters.eventlog import SqlEventLog
from services.events.domain.event import Draft, draft
from services.events.domain.filters import parse_filter
from services.events.domain.view import EVERYBODY, View
from services.events.ports import Appended, RecordQuery, Refused, StorageError, Unusable
from tandem.bus.ports import Envelope
from tandem.rpc.sessions import Principal
from tests.support.databases import DatabaseServer
from tests.support.events import record, removed

ADMIN = View(Principal("root", admin=True))
EVERYTHING = View(Principal("root", admin=True), traces=EVERYBODY)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new and empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/events.db"
    server: DatabaseServer = request.getfixturevalue(request.param)
    return server.fresh_database()


@pytest.fixture
async def log(url: str) -> AsyncIterator[SqlEventLog]:
    log = SqlEventLog(url)
    await log.open()
    yield log
    await log.close()


@pytest.fixture
async def other(url: str, log: SqlEventLog) -> AsyncIterator[SqlEventLog]:
    """A second events node on the same database."""
    other = SqlEventLog(url)
    await other.open()
    yield other
    await other.close()


def event(number: int, owner: str | None = "alice", time: float = 0.0) -> Draft:
    return draft(Envelope(f"n-{number:05}", time or 1000.0 + number, "n", removed(owner, number)))


def call(call_id: str, envelope: str, owner: str = "alice", **changes: object) -> Draft:
    return draft(Envelope(envelope, 1.0, "n", record(call_id, owner, **changes)))


async def test_events_get_growing_ids_in_order_and_come_back_as_they_were(log: SqlEventLog) -> None:
    first = (await log.append([event(n) for n in range(700)])).events
    second = (await log.append([event(n, None) for n in range(700, 710)])).events
    assert [e.id for e in first + second] == list(range(1, 711))
    assert [e.data["reason"] for e in first] == [str(n) for n in range(700)]
    assert await log.read(ADMIN, 0, 710, 1000) == first + second
    assert await log.bounds() == (1, 710)


async def test_an_envelope_that_comes_again_is_not_stored_again(log: SqlEventLog) -> None:
    await log.append([event(1), event(2)])
    again = await log.append([event(2), event(3), event(3), event(1)])
    assert again.after == 2
    assert [(e.id, e.data["reason"]) for e in again.events] == [(3, "3")]
    assert len(await log.read(ADMIN, 0, 99, 99)) == 3


async def test_the_first_record_of_a_call_stays(log: SqlEventLog) -> None:
    await log.append([call("c1", "a", status=200), call("c1", "b", status=486)])
    await log.append([call("c1", "c", status=503), call("c2", "d", created_at=2000.0)])
    page = await log.records(RecordQuery(), 0, 10)
    assert [(r["id"], r["status"]) for r in page.items] == [("c2", 200), ("c1", 200)]
    assert page.total == 2


async def test_records_are_found_by_owner_time_status_and_account(log: SqlEventLog) -> None:
    await log.append([
        call("c1", "a", "alice", created_at=1000.0),
        call("c2", "b", "Alice", created_at=2000.0, status=486),
        call("c3", "c", "al_ce", created_at=3000.0, caller="sip:Desk_1@example.org"),
    ])  # fmt: skip

    async def found(query: RecordQuery) -> list[str]:
        return [r["id"] for r in (await log.records(query, 0, 10)).items]

    assert await found(RecordQuery(owner="alice")) == ["c1"]
    assert await found(RecordQuery(owner="al_ce")) == ["c3"]
    assert await found(RecordQuery(owner="lice")) == []
    assert await found(RecordQuery(since=2000.0)) == ["c3", "c2"]
    assert await found(RecordQuery(until=2000.0)) == ["c1"]
    assert await found(RecordQuery(status=486)) == ["c2"]
    assert await found(RecordQuery(account="desk_1@")) == ["c3"]
    assert await found(RecordQuery(account="deskx1@")) == []
    assert (await log.records(RecordQuery(), 1, 1)).total == 3


async def test_the_database_narrows_by_owner_and_by_prefix(log: SqlEventLog) -> None:
    await log.append([event(1, "alice"), event(2, "bob"), event(3, None), call("c1", "x")])
    alice = await log.read(View(Principal("alice")), 0, 99, 99)
    assert [e.id for e in alice] == [1, 4]
    calls = View(Principal("root", admin=True), parse_filter("type=call.*"))
    assert [e.id for e in await log.latest(calls, 99, 99)] == [4]
    assert [e.id for e in await log.of_call("c1", 9)] == [4]


async def test_who_follows_the_end_does_not_wait_for_those_who_look_back(
    log: SqlEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    appended = await log.append([event(1, "alice"), event(2, None)])
    gate, busy = threading.Event(), threading.Semaphore(0)

    def search(connection: Connection, call_id: str) -> None:
        busy.release()
        gate.wait(30)

    monkeypatch.setattr(eventlog, "select_record", search)
    searches = [asyncio.create_task(log.record("c1")) for _ in range(eventlog.READERS)]
    try:
        for _ in searches:
            assert await asyncio.to_thread(busy.acquire, timeout=10)
        async with asyncio.timeout(10):
            assert await log.follow(0, 2, 9) == appended.events
            assert await log.follow(1, 9, 1) == appended.events[1:]
            assert await log.bounds() == (1, 2)
    finally:
        gate.set()
        await asyncio.gather(*searches)


async def test_a_nul_in_what_is_asked_for_finds_nothing(log: SqlEventLog) -> None:
    await log.append([event(1), call("c1", "x")])
    assert await log.of_call("c1\0", 9) == []
    assert await log.record("c1\0") is None
    assert (await log.records(RecordQuery(owner="alice", account="\0"), 0, 9)).items == []
    view = View(Principal("root", admin=True), parse_filter("type=call\0.*"))
    assert await log.latest(view, 99, 99) == []


async def test_removing_keeps_the_last_event_and_no_id_comes_twice(log: SqlEventLog) -> None:
    await log.append([event(n) for n in range(10)])
    await log.remove_events(4)
    assert await log.bounds() == (5, 10)
    await log.remove_events(99)
    assert await log.bounds() == (10, 10)
    assert [e.id for e in (await log.append([event(50)])).events] == [11]
    assert await log.last_before(1000.0) == 0
    assert await log.last_before(1050.0) == 10


async def test_records_are_removed_by_their_end(log: SqlEventLog) -> None:
    await log.append([call("c1", "a", ended_at=10.0), call("c2", "b", ended_at=20.0)])
    await log.remove_records(15.0)
    assert await log.record("c1") is None
    assert (await log.record("c2") or {})["owners"] == ("alice",)


async def test_the_log_survives_a_restart(log: SqlEventLog, url: str) -> None:
    await log.append([event(1)])
    await log.close()
    again = SqlEventLog(url)
    await again.open()
    assert await again.bounds() == (1, 1)
    assert [e.id for e in (await again.append([event(1), event(2)])).events] == [2]
    await again.close()


async def test_a_log_that_a_newer_version_has_written_is_not_opened(
    log: SqlEventLog, url: str
) -> None:
    assert log._engine is not None
    with log._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE events_version SET version_num = '9999'")
    with pytest.raises(Unusable, match=r"a newer Tandem has written it \(schema 9999\)"):
        await SqlEventLog(url).open()


async def test_reading_goes_on_while_events_are_stored(log: SqlEventLog) -> None:
    async def write() -> None:
        for n in range(0, 1000, 20):
            await log.append([event(i) for i in range(n, n + 20)])

    async def read() -> None:
        for _ in range(50):
            ids = [e.id for e in await log.read(ADMIN, 0, 10_000, 10_000)]
            assert ids == list(range(1, len(ids) + 1))

    await asyncio.gather(write(), read(), read())
    assert await log.bounds() == (1, 1000)


async def test_two_writers_give_one_order_that_readers_see_grow(
    log: SqlEventLog, other: SqlEventLog
) -> None:
    total, size = 60, 7
    writing = 2

    async def write(one: SqlEventLog, name: str) -> list[int]:
        nonlocal writing
        given: list[int] = []
        for n in range(total):
            # SQLite refuses a second writer now and then; its broker would give the batch again
            batch = [replace(event(i), envelope_id=f"{name}-{n}-{i}") for i in range(size)]
            while True:
                try:
                    given += [e.id for e in (await one.append(batch)).events]
                    break
                except StorageError:
                    await asyncio.sleep(0.001)
        writing -= 1
        return given

    async def follow(one: SqlEventLog) -> list[int]:
        seen: list[int] = []
        while writing or seen[-1:] != [2 * total * size]:
            seen += [e.id for e in await one.read(ADMIN, seen[-1] if seen else 0, 10**9, 50)]
        return seen

    async with asyncio.timeout(60):
        one, two, left, right = await asyncio.gather(
            write(log, "a"), write(other, "b"), follow(log), follow(other)
        )
    everything = list(range(1, 2 * total * size + 1))
    assert sorted(one + two) == everything
    assert left == right == everything


async def test_a_batch_that_two_writers_get_is_stored_once(
    log: SqlEventLog, other: SqlEventLog, url: str
) -> None:
    for first in range(0, 200, 20):
        batch = [event(n) for n in range(first, first + 20)]
        results = await asyncio.gather(
            log.append(batch), other.append(batch), return_exceptions=True
        )
        stored = [r for r in results if isinstance(r, Appended)]
        refused = [r for r in results if isinstance(r, StorageError)]
        assert len(stored) + len(refused) == 2
        assert len(refused) <= int(url.startswith("sqlite"))
        assert sum(len(result.events) for result in stored) == 20
    assert await log.bounds() == (1, 200)


async def test_a_lost_call_is_ended_once_and_never_after_its_record(
    log: SqlEventLog, other: SqlEventLog
) -> None:
    ends = [call("c1", "lost-c1-record", end_reason="server lost"), call("c2", "lost-c2-record")]
    await log.append([call("c2", "own")])
    assert [e.call_id for e in (await log.end_calls(ends)).events] == ["c1"]
    assert (await other.end_calls(ends)).events == []
    late = [call("c1", "own-late", status=486), replace(event(1), call_id="c1")]
    assert [e.type for e in (await other.append(late)).events] == ["registration.removed"]
    assert (await other.record("c1") or {})["end_reason"] == "server lost"


async def test_traces_go_before_the_rest(log: SqlEventLog) -> None:
    def trace(number: int) -> Draft:
        return replace(event(number), type="sip.trace")

    await log.append([trace(1), event(2), trace(3), trace(4), trace(5), event(6), trace(7)])
    await log.remove_traces(1003.5, 100)
    left = await log.read(EVERYTHING, 0, 99, 99)
    assert [e.id for e in left] == [2, 4, 5, 6, 7]
    await log.remove_traces(0.0, 1)
    assert [e.id for e in await log.read(EVERYTHING, 0, 99, 99)] == [2, 6, 7]
    assert [e.id for e in await log.read(ADMIN, 0, 99, 99)] == [2, 6]
    assert await log.bounds() == (1, 7)


async def test_what_the_database_cannot_hold_is_refused_and_stores_nothing(
    log: SqlEventLog,
) -> None:
    bad = call("c1", "a", legs=10**30)
    with pytest.raises(Refused):
        await log.append([event(1), bad])
    assert await log.bounds() == (1, 0)


@pytest.mark.parametrize(
    "wrong",
    ["sqlite:////no/such/folder/events.db", "nonsense", "nosuch+driver://h/x"],
)
async def test_a_database_that_cannot_be_opened_is_told_in_a_line(wrong: str) -> None:
    log = SqlEventLog(wrong)
    with pytest.raises(Unusable, match="cannot open the database"):
        await log.open()


async def test_a_log_that_is_not_open_says_so(log: SqlEventLog) -> None:
    await log.close()
    with pytest.raises(StorageError, match="not open"):
        await log.bounds()


async def test_names_with_wildcards_are_no_patterns(log: SqlEventLog) -> None:
    await log.append([replace(event(1), owners=("a%b",)), replace(event(2), owners=("axb",))])
    found = await log.read(View(Principal("a%b")), 0, 9, 9)
    assert [e.id for e in found] == [1]
