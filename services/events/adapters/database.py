"""The engine, and the migrations that run at the start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    String,
    column,
    create_engine,
    event,
    inspect,
    literal,
    select,
    table,
    text,
)
from sqlalchemy.engine import Dialect, ExceptionContext
from sqlalchemy.exc import ArgumentError

from services.events.adapters.schema import metadata
from services.events.ports import Unusable
from tandem.runtime.database import DatabaseUrl, bear_nul, is_read_only

MIGRATIONS: Final = Path(__file__).parent / "migrations"
VERSION_TABLE: Final = "events_version"
NEWEST_SCHEMA: Final = "0002"
"""The revision of the newest step in `migrations/versions`."""
BUSY_MILLISECONDS: Final = 5000
"""How long SQLite waits for another process's lock."""
STATEMENT_SECONDS: Final = 30.0
"""When a server gives up on a statement: a page of a very long log takes seconds."""
SILENCE_SECONDS: Final = 5.0
"""How much longer than that we wait before the connection is given up."""
UPGRADE_SECONDS: Final = 600
"""How long another instance is waited for that is upgrading."""
UPGRADE_LOCK: Final = 0x7A6D_0002
"""The number of PostgreSQL's advisory lock on upgrades of these tables."""
_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_DRIVERS: Final = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}


def make_engine(url: str, *, statement_seconds: float = STATEMENT_SECONDS) -> Engine:
    """An engine for `url`; nothing is connected yet. Raises sqlalchemy.exc.ArgumentError for a
    wrong one. `statement_seconds`: 0 for no limit."""
    try:
        parsed = DatabaseUrl.parse(url)
        connect = _Connecting(parsed, statement_seconds)
    except (ValueError, OSError) as fault:
        raise ArgumentError(str(fault)) from fault
    if parsed.dialect == "sqlite":
        file = URL.create("sqlite", database=parsed.name or None)
        engine = create_engine(file, json_serializer=_JSON.encode)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    engine = create_engine(
        URL.create(_DRIVERS[parsed.dialect]),
        json_serializer=_JSON.encode,
        pool_pre_ping=True,
        # The same on all: what is read is what was committed before the statement.
        isolation_level="READ COMMITTED",
    )
    event.listen(engine, "do_connect", connect)
    event.listen(engine, "handle_error", _on_error)
    if parsed.dialect == "postgresql":
        event.listen(engine, "connect", lambda connection, _record: bear_nul(connection))
    return engine


def migrate(connection: Connection) -> None:
    """Bring the tables up to date. Of several instances that start at the same time one does it
    and the others wait. Raises Unusable for tables of a newer version."""
    if _revision(connection) == NEWEST_SCHEMA:
        return
    _wait_for_others(connection)
    if _revision(connection) != NEWEST_SCHEMA:
        _upgrade(connection)
    _let_others_go_on(connection)


def revision_of(url: str) -> str | None:
    """The schema that a database has, None for none. Raises SQLAlchemyError and OSError."""
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            return _revision(connection)
    finally:
        engine.dispose()


def upgrade_database(url: str) -> tuple[str | None, str]:
    """Bring the tables up to date, however long it takes; what the schema was and is. Raises
    Unusable, SQLAlchemyError and OSError."""
    engine = make_engine(url, statement_seconds=0)
    try:
        with engine.begin() as connection:
            before = _revision(connection)
            migrate(connection)
        return before, NEWEST_SCHEMA
    finally:
        engine.dispose()


def _upgrade(connection: Connection) -> None:
    # Here and not above: Alembic takes long to load, and there is seldom something to do.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    current = _revision(connection)
    known = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
    if current not in {None, *known}:
        raise Unusable(f"a newer Tandem has written it (schema {current}); run that version")
    if current is None and connection.dialect.name in ("mysql", "mariadb"):
        _remove_half_made(connection)
    command.upgrade(config, "head")


def _remove_half_made(connection: Connection) -> None:
    """MariaDB can't undo DDL: when the very first upgrade was broken off, Alembic's table is there
    and has no row, and some of ours are there, empty."""
    found = set(inspect(connection).get_table_names())
    ours = [made for made in metadata.sorted_tables if made.name in found]
    if VERSION_TABLE not in found or not ours:
        return
    if any(connection.execute(select(literal(1)).select_from(t).limit(1)).first() for t in ours):
        raise Unusable("it has tables with rows, and does not tell their schema")
    metadata.drop_all(connection, tables=ours)


def _wait_for_others(connection: Connection) -> None:
    match connection.dialect.name:
        case "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        case "postgresql":  # until the end of the transaction
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({UPGRADE_LOCK})")
        case _:
            seconds = {"seconds": UPGRADE_SECONDS}
            if connection.scalar(text(f"SELECT GET_LOCK({_MYSQL_LOCK}, :seconds)"), seconds) != 1:
                raise TimeoutError("another instance goes on upgrading the database")


_MYSQL_LOCK: Final = "RIGHT(CONCAT('tandem-events-', DATABASE()), 64)"


def _let_others_go_on(connection: Connection) -> None:
    if connection.dialect.name in ("mysql", "mariadb"):
        # This lock would last as long as the connection, and must outlast the transaction.
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql(f"SELECT RELEASE_LOCK({_MYSQL_LOCK})")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = column("version_num", String)
    return connection.scalar(select(version).select_from(table(VERSION_TABLE, version)))


class _Connecting:
    """Makes connections: to the first host that will do."""

    def __init__(self, url: DatabaseUrl, statement_seconds: float) -> None:
        self._attempts = url.attempts(statement_seconds=statement_seconds) if url.hosts else []
        self._patience = 0.0
        if statement_seconds:
            limit = statement_seconds + SILENCE_SECONDS
            if url.mysql:
                for attempt in self._attempts:
                    attempt["read_timeout"] = attempt["write_timeout"] = limit
            else:
                self._patience = limit

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
        if not self._patience:
            return dialect.connect(**arguments)
        # Here and not above: who has another database needs no psycopg.
        from services.events.adapters import patience

        return patience.connect(self._patience, **arguments)


def _on_error(context: ExceptionContext) -> None:
    # After a fail-over the old connections may lead to what is a standby now: make them anew.
    if context.original_exception and is_read_only(context.original_exception):
        context.is_disconnect = True


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"busy_timeout={BUSY_MILLISECONDS}",
        # As other databases have it: names that differ in case are other names.
        "case_sensitive_like=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
