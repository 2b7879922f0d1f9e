"""Bringing a database to the newest schema. A module of its own, since Alembic takes long to load
and is seldom needed: `adapters.database` imports it when there is something to do."""

from __future__ import annotations

import logging
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, literal, select

from services.provisioning.adapters import callmanager_tables  # noqa: F401  # in `metadata`, too
from services.provisioning.adapters.tables import metadata
from services.provisioning.domain.errors import DatabaseProblem

VERSION_TABLE: Final = "alembic_version"
_SCRIPTS: Final = "services.provisioning.adapters:migrations"

_log = logging.getLogger(__name__)


def upgrade(connection: Connection) -> None:
    """Run the steps that this database has not seen. Raises DatabaseProblem if it saw others."""
    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None and connection.dialect.name in ("mysql", "mariadb"):
        _remove_half_made(connection)
    if current not in {None, *(script.revision for script in scripts.walk_revisions())}:
        raise DatabaseProblem(
            f"The database was written by a newer Tandem (schema {current}); "
            "run that version, or name another database in TANDEM_DATABASE_URL."
        )
    if current != scripts.get_current_head():
        _log.info("database schema %s → %s", current, scripts.get_current_head())
        command.upgrade(config, "head")


def _remove_half_made(connection: Connection) -> None:
    """MariaDB can't undo DDL: when the very first upgrade was broken off, Alembic's table is there
    and has no row, and some of ours are there, empty."""
    found = set(inspect(connection).get_table_names())
    ours = [table for table in metadata.sorted_tables if table.name in found]
    if VERSION_TABLE not in found or not ours:
        return
    if any(connection.execute(select(literal(1)).select_from(t).limit(1)).first() for t in ours):
        raise DatabaseProblem(
            "The database has tables with rows, but does not tell their schema; "
            "name another in TANDEM_DATABASE_URL, or restore a backup."
        )
    metadata.drop_all(connection, tables=ours)
