"""Bringing a database to the newest schema. A module of its own, since Alembic takes long to load
and is seldom needed: `adapters.database` imports it when there is something to do."""

from __future__ import annotations

import logging
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from services.provisioning.domain.errors import DatabaseProblem

_SCRIPTS: Final = "services.provisioning.adapters:migrations"

_log = logging.getLogger(__name__)


def upgrade(connection: Connection) -> None:
    """Run the steps that this database has not seen. Raises DatabaseProblem if it saw others."""
    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current not in {None, *(script.revision for script in scripts.walk_revisions())}:
        raise DatabaseProblem(
            f"The database was written by a newer Tandem (schema {current}); "
            "run that version, or name another database in TANDEM_DATABASE_URL."
        )
    if current != scripts.get_current_head():
        _log.info("database schema %s → %s", current, scripts.get_current_head())
        command.upgrade(config, "head")
