"""The event log in SQL, by SQLAlchemy: SQLite, PostgreSQL and others alike.

Each transaction is one piece of work for a thread of the log's own. SQLAlchemy's asyncio form goes
to the database's thread and back for each statement, and for each step of one: measured here, that
is ten times the cost of storing a batch of events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, Delete, Engine, Row, delete, func, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from services.events.adapters.database import make_engine, migrate
from services.events.adapters.records import (
    delete_records,
    insert_records,
    select_record,
    select_records,
)
from services.events.adapters.schema import events, pack_owners, unpack_owners
from services.events.domain.event import Draft, StoredEvent
from services.events.domain.view import View
from services.events.ports import CallRecords, RecordQuery, StorageError

T = TypeVar("T")

READERS: Final = 4
"""Threads for reading: consoles that look back, pages of records."""
REMOVE_AT_A_TIME: Final = 5000
"""Events removed in one transaction, so that storing new ones never waits long for it."""
_EXACT: Final = frozenset({"type", "service", "node", "call_id"})


class SqlEventLog:
    """Implements `services.events.ports.EventLog`. One process writes at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: Engine | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="events-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="events-read")

    async def open(self) -> None:
        """Connect and migrate."""
        try:
            self._engine = make_engine(self._url)
            await _in(self._writer, partial(_migrate, self._engine))
        except (SQLAlchemyError, ImportError, OSError) as error:
            await self.close()
            reason = getattr(error, "orig", None) or error
            raise StorageError(f"cannot open the database {_shown(self._url)}: {reason}") from error

    async def close(self) -> None:
        """Close all connections."""
        engine, self._engine = self._engine, None
        await asyncio.to_thread(self._shut, engine)

    def _shut(self, engine: Engine | None) -> None:
        self._writer.shutdown()
        self._readers.shutdown()
        if engine is not None:
            engine.dispose()

    async def append(self, drafts: Sequence[Draft]) -> list[StoredEvent]:
        """See the port."""
        return await self._write(partial(_append, drafts))

    async def bounds(self) -> tuple[int, int]:
        """See the port."""
        return await self._read(_bounds)

    async def read(self, view: View, after: int, until: int, limit: int) -> list[StoredEvent]:
        """See the port."""
        between = (events.c.id > after, events.c.id <= until, *_conditions(view))
        return await self._events(*between, order=events.c.id.asc(), limit=limit)

    async def latest(self, view: View, before: int, limit: int) -> list[StoredEvent]:
        """See the port."""
        wanted = (events.c.id < before, *_conditions(view))
        return await self._events(*wanted, order=events.c.id.desc(), limit=limit)

    async def of_call(self, call_id: str, limit: int) -> list[StoredEvent]:
        """See the port."""
        wanted = events.c.call_id == call_id
        return await self._events(wanted, order=events.c.id.asc(), limit=limit)

    async def last_before(self, time: float) -> int:
        """See the port."""
        newest = select(func.max(events.c.id)).where(events.c.time < time)
        return await self._read(lambda connection: connection.scalar(newest) or 0)

    async def remove_events(self, through: int) -> None:
        """See the port."""
        first, last = await self.bounds()
        through = min(through, last - 1)
        while first <= through:
            first += REMOVE_AT_A_TIME
            cut = delete(events).where(events.c.id <= min(first - 1, through))
            await self._write(partial(_execute, cut))

    async def records(self, query: RecordQuery, offset: int, count: int) -> CallRecords:
        """See the port."""
        return await self._read(lambda connection: select_records(connection, query, offset, count))

    async def record(self, call_id: str) -> dict[str, Any] | None:
        """See the port."""
        return await self._read(lambda connection: select_record(connection, call_id))

    async def remove_records(self, before: float) -> None:
        """See the port."""
        await self._write(lambda connection: delete_records(connection, before))

    async def _events(
        self, *where: ColumnElement[bool], order: ColumnElement[Any], limit: int
    ) -> list[StoredEvent]:
        wanted = select(events).where(*where).order_by(order).limit(limit)
        return await self._read(
            lambda connection: [_from_row(row) for row in connection.execute(wanted)]
        )

    async def _write(self, work: Callable[[Connection], T]) -> T:
        return await self._transaction(self._writer, work)

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await self._transaction(self._readers, work)

    async def _transaction(self, threads: ThreadPoolExecutor, work: Callable[[Connection], T]) -> T:
        if self._engine is None:
            raise StorageError("the events database is not open")
        try:
            return await _in(threads, partial(_transact, self._engine, work))
        except (SQLAlchemyError, OSError) as error:
            raise StorageError(f"the events database failed: {error}") from error


async def _in(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, work)


def _transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def _migrate(engine: Engine) -> None:
    _transact(engine, migrate)


def _execute(statement: Delete, connection: Connection) -> None:
    connection.execute(statement)


def _bounds(connection: Connection) -> tuple[int, int]:
    first, last = connection.execute(select(func.min(events.c.id), func.max(events.c.id))).one()
    return (1, 0) if last is None else (first, last)


def _append(drafts: Sequence[Draft], connection: Connection) -> list[StoredEvent]:
    new = _unknown(connection, drafts)
    if not new:
        return []
    # Ids of our own, since asking the database for them costs a statement per event. The newest
    # event is never removed, so no id is given twice.
    first = 1 + (connection.scalar(select(func.max(events.c.id))) or 0)
    stored = [_stored(number, draft) for number, draft in enumerate(new, first)]
    rows = [_event_row(event.id, draft) for event, draft in zip(stored, new, strict=True)]
    connection.execute(insert(events), rows)
    insert_records(connection, new)
    return stored


def _unknown(connection: Connection, drafts: Sequence[Draft]) -> list[Draft]:
    """`drafts` without those whose envelope was stored before or comes twice."""
    unique = {draft.envelope_id: draft for draft in reversed(drafts)}
    known = connection.scalars(select(events.c.envelope_id).where(events.c.envelope_id.in_(unique)))
    for envelope_id in known.all():
        del unique[envelope_id]
    return list(reversed(unique.values()))


def _conditions(view: View) -> list[ColumnElement[bool]]:
    """What the database can tell without reading rows; `view.shows` decides after it."""
    found: list[ColumnElement[bool]] = []
    if view.owner is not None:
        found.append(events.c.owners.contains(f"\n{view.owner}\n", autoescape=True))
    for term in view.filter.terms:
        if term.key in _EXACT and term.prefix:
            found.append(events.c[term.key].startswith(term.prefix, autoescape=True))
    return found


def _event_row(number: int, draft: Draft) -> dict[str, Any]:
    return {
        "id": number,
        "envelope_id": draft.envelope_id,
        "time": draft.time,
        "node": draft.node,
        "service": draft.service,
        "type": draft.type,
        "call_id": draft.call_id,
        "owners": pack_owners(draft.owners),
        "message": draft.message,
        "data": draft.data,
    }


def _stored(number: int, draft: Draft) -> StoredEvent:
    return StoredEvent(
        number, draft.time, draft.node, draft.service, draft.type, draft.owners, draft.call_id,
        draft.message, draft.data,
    )  # fmt: skip


def _from_row(row: Row[Any]) -> StoredEvent:
    return StoredEvent(
        row.id, row.time, row.node, row.service, row.type, unpack_owners(row.owners), row.call_id,
        row.message, row.data,
    )  # fmt: skip


def _shown(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "(its URL cannot be read)"
