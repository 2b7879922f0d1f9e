"""What Alembic runs. Only from `adapters.database`, which gives the connection; the transaction is
the caller's, so a step that fails leaves nothing behind where the database can undo DDL."""

from __future__ import annotations

from alembic import context

from services.provisioning.adapters.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
