"""The engine: opened, checked, brought to the newest schema, closed."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import Any, Final

from sqlalchemy import URL, Connection, String, column, event, inspect, make_url, select, table
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from services.provisioning.domain.errors import DatabaseProblem

WRITES: Final = "tandem_writes"
"""The execution option of connections that are going to write."""
POOL_SIZE: Final = 5
"""Connections; SQLite has one writer anyway, and readers are done within a millisecond."""
VERSION_TABLE: Final = "alembic_version"
NEWEST_SCHEMA: Final = "0001"
"""The revision of the newest step in `migrations/versions`."""


async def open_database(url: str, *, wait_seconds: float) -> AsyncEngine:
    """An engine on a database with the newest schema. Raises DatabaseProblem."""
    engine = _engine(url, wait_seconds)
    if engine.dialect.name == "sqlite":
        await asyncio.to_thread(_probe, engine.url)
    try:
        async with engine.connect() as connection:
            await connection.execution_options(**{WRITES: True})
            await connection.run_sync(_upgrade)
            await connection.commit()
    except BaseException as fault:
        await engine.dispose()
        if isinstance(fault, DBAPIError | OSError):
            raise DatabaseProblem(_advice(engine.url, fault)) from fault
        raise
    return engine


def _probe(url: URL) -> None:
    # A connection of aiosqlite that can't be opened leaves a thread that may outlive the loop, and
    # then complains on standard error: so it is tried without it.
    try:
        with contextlib.closing(sqlite3.connect(url.database or ":memory:")) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.Error as fault:
        raise DatabaseProblem(_advice(url, fault)) from fault


def _engine(url: str, wait_seconds: float) -> AsyncEngine:
    try:
        parsed = make_url(url)
        if parsed.drivername == "sqlite":
            parsed = parsed.set(drivername="sqlite+aiosqlite")
        engine = create_async_engine(parsed, **_options(parsed, wait_seconds))
    except (SQLAlchemyError, ImportError) as fault:
        raise DatabaseProblem(
            "TANDEM_DATABASE_URL is no address of a database that can be used; "
            "for SQLite it looks like sqlite+aiosqlite:////var/lib/tandem/tandem.db"
        ) from fault
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _options(url: URL, wait_seconds: float) -> dict[str, Any]:
    options: dict[str, Any] = {
        "pool_size": POOL_SIZE,
        "max_overflow": 0,
        "pool_timeout": wait_seconds,
    }
    if url.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": wait_seconds}
    else:
        options["pool_pre_ping"] = True
    return options


def _set_up_sqlite(connection: Any, _record: object) -> None:
    # We begin transactions ourselves: the driver's own way would never be immediate.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()
    except BaseException:
        # the pool does not know this connection yet, and its thread would outlive the loop
        connection.close()
        raise


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads and then writes fails at once when another wrote in between,
    # unless it had said from the start that it would write.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _upgrade(connection: Connection) -> None:
    if _revision(connection) != NEWEST_SCHEMA:
        from services.provisioning.adapters.migrations.upgrade import upgrade  # it takes long

        upgrade(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = column("version_num", String)
    return connection.scalar(select(version).select_from(table(VERSION_TABLE, version)))


def _advice(url: URL, fault: BaseException) -> str:
    where = url.database if url.get_backend_name() == "sqlite" else url.render_as_string()
    text = str(getattr(fault, "orig", None) or fault)
    if "not a database" in text:
        return f"{where} is no database; move it away, or name another in TANDEM_DATABASE_URL."
    if "unable to open" in text or "readonly" in text:
        return (
            f"Can't open the database {where}: make its folder, and make the folder and the file "
            "writable for this user, or name another place in TANDEM_DATABASE_URL."
        )
    if "already exists" in text:
        return (
            f"The database {where} has tables that Tandem did not make; "
            "name another in TANDEM_DATABASE_URL."
        )
    if "locked" in text:
        return f"The database {where} is in use by another program; stop that one first."
    return f"Can't use the database {where}: {text}. See TANDEM_DATABASE_URL."
