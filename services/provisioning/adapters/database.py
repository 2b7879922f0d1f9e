"""The database opened: reached, checked, brought to the newest schema."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import Final

from sqlalchemy import Connection, String, column, inspect, select, table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.provisioning.adapters.engine import WRITES, make_engine, parse
from services.provisioning.domain.errors import DatabaseProblem
from tandem.rpc.directory import DirectoryUnavailable
from tandem.runtime.database import DatabaseUrl, code_of, is_away

VERSION_TABLE: Final = "alembic_version"
NEWEST_SCHEMA: Final = "0004"
"""The revision of the newest step in `migrations/versions`."""
WAIT_SECONDS: Final = 10.0
"""How long a command waits for a database that does not answer."""
UPGRADE_SECONDS: Final = 600.0
"""How long an upgrade may take, or be waited for when another instance is at it."""
UPGRADE_LOCK: Final = 0x7A6D_0001
"""The number of PostgreSQL's advisory lock on upgrades of these tables."""
_WRONG_CODES: Final = frozenset({1044, 1045, 1049, 1698, "28000", "28P01", "3D000"})
"""Access denied, no such database."""
_WRONG_TEXTS: Final = (
    "authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied",
    "not a database", "unable to open", "already exists", "invalid sslmode", "invalid connection",
)  # fmt: skip
"""psycopg has no code for what happens before there is a connection."""


async def open_database(url: str, *, wait_seconds: float) -> AsyncEngine:
    """An engine on a database with the newest schema. Raises DatabaseProblem for what somebody has
    to mend, and DirectoryUnavailable for what may be better when it is tried again."""
    parsed = parse(url)
    await _upgraded(parsed, wait_seconds)
    return make_engine(parsed, wait_seconds=wait_seconds, patience=wait_seconds)


async def revision_of(url: str) -> str | None:
    """The schema that a database has, None for none. Raises like `open_database`."""
    parsed = parse(url)
    async with _connected(parsed, wait_seconds=WAIT_SECONDS) as connection:
        return await connection.run_sync(_revision)


async def upgrade_database(url: str) -> tuple[str | None, str]:
    """Bring the tables up to date; what the schema was and is. Raises like `open_database`."""
    parsed = parse(url)
    return await _upgraded(parsed, WAIT_SECONDS), NEWEST_SCHEMA


async def _upgraded(url: DatabaseUrl, wait_seconds: float) -> str | None:
    if url.dialect == "sqlite":
        await asyncio.to_thread(_probe, url)
    async with _connected(url, wait_seconds) as connection:
        revision = await connection.run_sync(_revision)
    if revision != NEWEST_SCHEMA:
        # Not at the top: Alembic takes long to load, and is seldom needed. And not later: a server
        # takes a transaction that says nothing for so long for one that was left behind.
        from services.provisioning.adapters.migrations.upgrade import upgrade

        async with _connected(url, wait_seconds, UPGRADE_SECONDS, writes=True) as connection:
            await connection.run_sync(_upgrade, url, upgrade)
            await connection.commit()
    return revision


@contextlib.asynccontextmanager
async def _connected(
    url: DatabaseUrl, wait_seconds: float, patience: float = 0.0, *, writes: bool = False
) -> AsyncIterator[AsyncConnection]:
    engine = make_engine(url, wait_seconds=wait_seconds, patience=patience or wait_seconds)
    try:
        async with engine.connect() as connection:
            await connection.execution_options(**{WRITES: writes})
            yield connection
    except (DBAPIError, PoolTimeout, OSError) as fault:
        raise _judged(url, fault) from fault
    finally:
        await engine.dispose()


def _probe(url: DatabaseUrl) -> None:
    # A connection of aiosqlite that can't be opened leaves a thread that may outlive the loop, and
    # then complains on standard error: so it is tried without it.
    try:
        with contextlib.closing(sqlite3.connect(url.name)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.Error as fault:
        raise DatabaseProblem(_advice(url, str(fault))) from fault


def _upgrade(
    connection: Connection, url: DatabaseUrl, upgrade: Callable[[Connection], None]
) -> None:
    _wait_for_others(connection, url)
    if _revision(connection) != NEWEST_SCHEMA:
        upgrade(connection)


def _wait_for_others(connection: Connection, url: DatabaseUrl) -> None:
    """One instance upgrades, others that start at the same time wait here; the lock ends with the
    transaction or the connection. SQLite has begun a transaction that writes: that is its lock."""
    if url.dialect == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": UPGRADE_LOCK})
    elif url.mysql:
        names = {"name": f"tandem-provisioning-{url.name}"[-64:], "seconds": int(UPGRADE_SECONDS)}
        if connection.scalar(text("SELECT GET_LOCK(:name, :seconds)"), names) != 1:
            raise DirectoryUnavailable(f"another instance goes on upgrading {url}")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = column("version_num", String)
    return connection.scalar(select(version).select_from(table(VERSION_TABLE, version)))


def _judged(url: DatabaseUrl, fault: BaseException) -> Exception:
    original = getattr(fault, "orig", None) or fault
    told = " ".join(str(original).split())
    wrong = code_of(original) in _WRONG_CODES or any(piece in told for piece in _WRONG_TEXTS)
    passing = isinstance(original, OSError) or isinstance(fault, PoolTimeout) or is_away(original)
    if url.hosts and passing and not wrong:
        return DirectoryUnavailable(f"the database {url} does not answer: {told}")
    return DatabaseProblem(_advice(url, told))


def _advice(url: DatabaseUrl, told: str) -> str:
    if "not a database" in told:
        return f"{url} is no database; move it away, or name another in TANDEM_DATABASE_URL."
    if "unable to open" in told or "readonly" in told:
        return (
            f"Can't open the database {url}: make its folder, and make the folder and the file "
            "writable for this user, or name another place in TANDEM_DATABASE_URL."
        )
    if "already exists" in told:
        return (
            f"The database {url} has tables that Tandem did not make; "
            "name another in TANDEM_DATABASE_URL."
        )
    if "locked" in told:
        return f"The database {url} is in use by another program; stop that one first."
    return f"Can't use the database {url}: {told}. See TANDEM_DATABASE_URL."
