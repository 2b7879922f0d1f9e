"""The services look at a database's revision before they load Alembic."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from services.events.adapters import database as events
from services.provisioning.adapters import database as provisioning

SERVICES = Path(events.__file__).parents[2]


@pytest.mark.parametrize(
    ("service", "newest"),
    [("events", events.NEWEST_SCHEMA), ("provisioning", provisioning.NEWEST_SCHEMA)],
)
def test_the_newest_schema_is_the_last_migration(service: str, newest: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(SERVICES / service / "adapters" / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == newest
