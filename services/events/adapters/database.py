"""The engine, and the migrations that run at the start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Engine,
    String,
    column,
    create_engine,
    event,
    inspect,
    select,
    table,
)
from sqlalchemy.engine import make_url

MIGRATIONS: Final = Path(__file__).parent / "migrations"
VERSION_TABLE: Final = "events_version"
NEWEST_SCHEMA: Final = "0001"
"""The revision of the newest step in `migrations/versions`."""
BUSY_MILLISECONDS: Final = 5000
"""How long SQLite waits for another process's lock."""


def make_engine(url: str) -> Engine:
    """An engine for `url`. Raises sqlalchemy.exc.ArgumentError and ImportError for a wrong one."""
    engine = create_engine(make_url(url), json_serializer=_to_json)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def migrate(connection: Connection) -> None:
    """Bring the tables up to date."""
    if _revision(connection) == NEWEST_SCHEMA:
        return
    # Here and not above: Alembic takes long to load, and there is seldom something to do.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = column("version_num", String)
    return connection.scalar(select(version).select_from(table(VERSION_TABLE, version)))


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


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
