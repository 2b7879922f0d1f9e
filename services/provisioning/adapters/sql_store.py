"""Transactions on the database: implements `ports.Store`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.provisioning.adapters.accounts import SqlAccounts
from services.provisioning.adapters.bindings import SqlBindings
from services.provisioning.adapters.callmanager import SqlAccess, SqlAgiRules
from services.provisioning.adapters.customers import SqlApiKeys, SqlCustomers, SqlTokens
from services.provisioning.adapters.dialplans import SqlDialplans
from services.provisioning.adapters.domains import SqlDomains
from services.provisioning.adapters.engine import WRITES
from services.provisioning.adapters.leases import SqlLeases
from services.provisioning.adapters.providers import SqlProviders
from services.provisioning.adapters.tables import write_turn
from services.provisioning.adapters.values import SqlValues
from services.provisioning.domain.scope import Scope
from tandem.rpc.directory import DirectoryUnavailable, OutcomeUnknown


class SqlWork:
    """Implements `ports.Work`: a transaction's tables, all with one scope."""

    def __init__(self, connection: AsyncConnection, scope: Scope) -> None:
        self._connection = connection
        self._scope = scope

    @cached_property
    def customers(self) -> SqlCustomers:
        return SqlCustomers(self._connection, self._scope)

    @cached_property
    def domains(self) -> SqlDomains:
        return SqlDomains(self._connection, self._scope)

    @cached_property
    def accounts(self) -> SqlAccounts:
        return SqlAccounts(self._connection, self._scope)

    @cached_property
    def api_keys(self) -> SqlApiKeys:
        return SqlApiKeys(self._connection, self._scope)

    @cached_property
    def tokens(self) -> SqlTokens:
        return SqlTokens(self._connection)

    @cached_property
    def bindings(self) -> SqlBindings:
        return SqlBindings(self._connection, self._scope)

    @cached_property
    def access(self) -> SqlAccess:
        return SqlAccess(self._connection, self._scope)

    @cached_property
    def agi_rules(self) -> SqlAgiRules:
        return SqlAgiRules(self._connection, self._scope)

    @cached_property
    def dialplans(self) -> SqlDialplans:
        return SqlDialplans(self._connection, self._scope)

    @cached_property
    def providers(self) -> SqlProviders:
        return SqlProviders(self._connection, self._scope)

    @cached_property
    def leases(self) -> SqlLeases:
        return SqlLeases(self._connection, self._scope)

    @cached_property
    def values(self) -> SqlValues:
        return SqlValues(self._connection, self._scope)


class SqlStore:
    """Implements `ports.Store`."""

    def __init__(self, *, wait_seconds: float) -> None:
        self._engine: AsyncEngine | None = None
        self._wait_seconds = wait_seconds
        # One writer at a time per process costs nothing (SQLite allows no more) and queues them
        # fairly, where SQLite's own waiting is a lottery.
        self._turn = asyncio.Lock()

    def open(self, engine: AsyncEngine) -> None:
        """Work on this database from now on."""
        self._engine = engine

    async def close(self) -> None:
        """Close all connections; from then on the database is away."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()

    @asynccontextmanager
    async def read(self, scope: Scope) -> AsyncIterator[SqlWork]:
        """A transaction for reading."""
        with _Away():
            async with self._opened().connect() as connection:
                yield SqlWork(connection, scope)

    @asynccontextmanager
    async def write(self, scope: Scope) -> AsyncIterator[SqlWork]:
        """A transaction that is committed at the end of the block."""
        with _Away():
            async with asyncio.timeout(self._wait_seconds):
                await self._turn.acquire()
            try:
                writer = self._opened().execution_options(**{WRITES: True})
                async with writer.connect() as connection:
                    await _take_turn(connection)
                    yield SqlWork(connection, scope)
                    await _commit(connection)
            finally:
                self._turn.release()

    def _opened(self) -> AsyncEngine:
        if self._engine is None:
            raise DirectoryUnavailable("the database is not open")
        return self._engine


async def _take_turn(connection: AsyncConnection) -> None:
    # One writer at a time in the whole cluster, as SQLite has it anyway: what a use case has looked
    # at (a last administrator, a newer registration) is still so when it commits, and no two of
    # them can wait for each other. Writes are few: sessions, changes by people, batches of news.
    if connection.dialect.name != "sqlite":
        await connection.execute(select(write_turn.c.id).with_for_update())


async def _commit(connection: AsyncConnection) -> None:
    try:
        await connection.commit()
    except DBAPIError as fault:
        if fault.connection_invalidated:
            raise OutcomeUnknown(f"the commit was not answered: {fault.orig}") from fault
        raise


class _Away:
    """Turns the many ways of a database to be away into one."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, fault: BaseException | None, _trace: object) -> None:
        if isinstance(fault, IntegrityError):
            return
        if isinstance(fault, DBAPIError | PoolTimeout | OSError):
            reason = getattr(fault, "orig", None) or fault
            raise DirectoryUnavailable(f"the database does not answer: {reason}") from fault
