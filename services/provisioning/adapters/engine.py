"""The engine for each kind of database: its driver, its time-outs, its way of being away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from sqlalchemy import URL, Connection, event
from sqlalchemy.engine import Dialect, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from services.provisioning.domain.errors import DatabaseProblem
from tandem.runtime.database import DatabaseUrl, is_read_only

WRITES: Final = "tandem_writes"
"""The execution option of connections that are going to write."""
POOL_SIZE: Final = 5
"""Connections; SQLite has one writer anyway, and readers are done within a millisecond."""
SERVER_POOL_SIZE: Final = 10
"""Connections to a server: one writes, the others read."""
_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+aiomysql",
    "mariadb": "mariadb+aiomysql",
}


def parse(text: str) -> DatabaseUrl:
    """Read TANDEM_DATABASE_URL. Raises DatabaseProblem."""
    try:
        url = DatabaseUrl.parse(text)
    except ValueError as fault:
        raise DatabaseProblem(f"TANDEM_DATABASE_URL is wrong: {fault}") from None
    if not url.name:
        raise DatabaseProblem("TANDEM_DATABASE_URL is wrong: an SQLite database needs a file")
    return url


def make_engine(url: DatabaseUrl, *, wait_seconds: float, patience: float) -> AsyncEngine:
    """An engine; nothing is connected yet. `wait_seconds`: how long a free connection (and for
    SQLite a lock) is waited for; `patience`: for the answer to a statement. Raises
    DatabaseProblem."""
    options: dict[str, Any] = {"max_overflow": 0, "pool_timeout": wait_seconds}
    if url.dialect == "sqlite":
        options |= {"pool_size": POOL_SIZE, "connect_args": {"timeout": wait_seconds}}
        engine = create_async_engine(URL.create(_DRIVERS["sqlite"], database=url.name), **options)
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    options |= {"pool_size": SERVER_POOL_SIZE, "pool_pre_ping": True}
    # The same on all: what is read in a transaction is what was committed before the statement.
    options |= {"isolation_level": "READ COMMITTED"}
    engine = create_async_engine(URL.create(_DRIVERS[url.dialect]), **options)
    event.listen(engine.sync_engine, "do_connect", _Connecting(url, patience))
    event.listen(engine.sync_engine, "handle_error", _on_error)
    return engine


class _Connecting:
    """Makes connections: to the first host that will do."""

    def __init__(self, url: DatabaseUrl, patience: float) -> None:
        # the server gives up before we do, and then the connection can go on being used
        seconds = patience * 0.8 if patience > 1 else patience
        try:
            self._attempts = url.attempts(statement_seconds=seconds)
        except OSError as fault:
            raise DatabaseProblem(f"TANDEM_DATABASE_URL: ssl_ca: {fault}") from fault
        self._creator = _creator(url, patience)

    def __call__(
        self, dialect: Dialect, _record: object, _arguments: object, _names: object
    ) -> Any:
        *others, last = self._attempts
        for attempt in others:
            try:
                return self._connect(dialect, attempt)
            except dialect.loaded_dbapi.OperationalError:
                continue
        return self._connect(dialect, last)

    def _connect(self, dialect: Dialect, arguments: dict[str, Any]) -> Any:
        return dialect.connect(async_creator_fn=self._creator, **arguments)


def _creator(url: DatabaseUrl, patience: float) -> Callable[..., Awaitable[Any]]:
    # Here and not above: SQLite needs none of this, and it takes a while to load.
    from services.provisioning.adapters import drivers

    connect = drivers.connect_mariadb if url.mysql else drivers.connect_postgresql
    return partial(connect, patience)


def _on_error(context: ExceptionContext) -> None:
    # After a fail-over the old connections may lead to what is a standby now: make them anew.
    if context.original_exception and is_read_only(context.original_exception):
        context.is_disconnect = True


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
