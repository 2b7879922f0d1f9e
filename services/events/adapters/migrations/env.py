"""Alembic loads this; the connection comes from `database.migrate`."""

from __future__ import annotations

from alembic import context

from services.events.adapters.database import VERSION_TABLE
from services.events.adapters.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
