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

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, func, or_, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DataError, SQLAlchemyError, StatementError

from services.events.adapters.append import append, bounds
from services.events.adapters.database import make_engine, migrate
from services.events.adapters.records import delete_records, select_record, select_records
from services.events.adapters.remove import delete_events, delete_traces, old_traces, raise_first
from services.events.adapters.schema import events, unpack_owners
from services.events.domain.event import SIP_TRACE, Draft, StoredEvent
from services.events.domain.view import View
from services.events.ports import (
    Appended,
    CallRecords,
    RecordQuery,
    Refused,
    StorageError,
    Unusable,
)

T = TypeVar("T")

READERS: Final = 4
"""Threads for reading: consoles that look back, pages of records."""
PATIENCE_SECONDS: Final = 20.0
"""How long a transaction may take. One that is given up may still be done later: what is appended
is known by its envelope then."""
REMOVE_AT_A_TIME: Final = 5000
"""Events removed in one transaction, so that storing new ones never waits long for it."""
_EXACT: Final = frozenset({"type", "service", "node", "call_id"})


class SqlEventLog:
    """Implements `services.events.ports.EventLog`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: Engine | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="events-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="events-read")
        # Searches through a long log may hold all readers for long; live events pass them by.
        self._follower = ThreadPoolExecutor(1, thread_name_prefix="events-follow")

    async def open(self) -> None:
        """Connect and migrate."""
        if self._engine is not None:
            return
        engine = self._make()
        try:
            await _in(self._writer, partial(_migrate, engine))
        except (SQLAlchemyError, OSError, Unusable) as error:
            engine.dispose()
            # A file that can't be opened is a wrong path; a server may come back.
            wrong = engine.dialect.name == "sqlite" or isinstance(error, Unusable)
            kind = Unusable if wrong else StorageError
            raise kind(self._cannot_open(_reason(error))) from error
        self._engine = engine

    def _make(self) -> Engine:
        try:
            return make_engine(self._url)
        except (SQLAlchemyError, ImportError) as error:
            raise Unusable(self._cannot_open(_reason(error))) from error

    def _cannot_open(self, reason: str) -> str:
        return f"cannot open the database {_shown(self._url)}: {reason}"

    async def close(self) -> None:
        """Close all connections."""
        engine, self._engine = self._engine, None
        await asyncio.to_thread(self._shut, engine)

    def _shut(self, engine: Engine | None) -> None:
        self._writer.shutdown()
        self._readers.shutdown()
        self._follower.shutdown()
        if engine is not None:
            engine.dispose()

    async def append(self, drafts: Sequence[Draft]) -> Appended:
        """See the port."""
        return await self._write(partial(append, drafts, unrecorded=False))

    async def end_calls(self, drafts: Sequence[Draft]) -> Appended:
        """See the port."""
        return await self._write(partial(append, drafts, unrecorded=True))

    async def bounds(self) -> tuple[int, int]:
        """See the port."""
        return await self._transaction(self._follower, bounds)

    async def read(self, view: View, after: int, until: int, limit: int) -> list[StoredEvent]:
        """See the port."""
        between = (events.c.id > after, events.c.id <= until, *_conditions(view))
        return await self._events(*between, order=events.c.id.asc(), limit=limit)

    async def follow(self, after: int, until: int, limit: int) -> list[StoredEvent]:
        """See the port."""
        between = (events.c.id > after, events.c.id <= until)
        wanted = select(events).where(*between).order_by(events.c.id).limit(limit)
        return await self._transaction(self._follower, partial(_found, wanted))

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
        if first > through:
            return
        await self._write(partial(raise_first, through + 1))
        while first <= through:
            first += REMOVE_AT_A_TIME
            await self._write(partial(delete_events, min(first - 1, through)))

    async def remove_traces(self, before: float, keep: int) -> None:
        """See the port."""
        while old := await self._read(partial(old_traces, before, keep, REMOVE_AT_A_TIME)):
            await self._write(partial(delete_traces, old))

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
        return await self._read(partial(_found, wanted))

    async def _write(self, work: Callable[[Connection], T]) -> T:
        return await self._transaction(self._writer, work)

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await self._transaction(self._readers, work)

    async def _transaction(self, threads: ThreadPoolExecutor, work: Callable[[Connection], T]) -> T:
        if self._engine is None:
            raise StorageError("the events database is not open")
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await _in(threads, partial(_transact, self._engine, work))
        except (DataError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise Refused(f"the events database can't hold this: {_reason(error)}") from error
        except (SQLAlchemyError, OSError) as error:
            kind = Refused if type(error) is StatementError else StorageError
            raise kind(f"the events database failed: {_reason(error)}") from error


async def _in(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, work)


def _transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def _migrate(engine: Engine) -> None:
    _transact(engine, migrate)


def _conditions(view: View) -> list[ColumnElement[bool]]:
    """What the database can tell without reading rows; `view.shows` decides after it."""
    found: list[ColumnElement[bool]] = []
    if view.owner is not None:
        found.append(events.c.owners.contains(f"\n{view.owner}\n", autoescape=True))
    if not view.any_traces:
        found.append(events.c.type != SIP_TRACE)
    for term in view.filter.terms:
        if term.key in _EXACT and term.prefixes:
            column = events.c[term.key]
            found.append(or_(*(column.startswith(p, autoescape=True) for p in term.prefixes)))
    return found


def _found(wanted: Select[Any], connection: Connection) -> list[StoredEvent]:
    return [_from_row(row) for row in connection.execute(wanted)]


def _from_row(row: Row[Any]) -> StoredEvent:
    return StoredEvent(
        row.id, row.time, row.node, row.service, row.type, unpack_owners(row.owners), row.call_id,
        row.message, row.data,
    )  # fmt: skip


def _reason(error: Exception) -> str:
    """What the database said, without the statement and its values: those are customers' data."""
    said = str(getattr(error, "orig", None) or error).partition("\n")[0]
    return said or type(error).__name__


def _shown(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "(its URL cannot be read)"
