"""What two instances need: turns at writing, and removed bindings that stay removed.

MariaDB can't undo changes of tables, so each step looks whether it was done already by an upgrade
that was broken off.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.provisioning.adapters.columns import EXACT

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the table with its one row."""
    connection = op.get_bind()
    found = sa.inspect(connection)
    if "removed_at" not in {column["name"] for column in found.get_columns("bindings")}:
        op.add_column("bindings", sa.Column("removed_at", sa.Double(), nullable=True))
    if not found.has_table("write_turn"):
        op.create_table(
            "write_turn",
            sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
            sa.PrimaryKeyConstraint("id", name=op.f("pk_write_turn")),
            **EXACT,
        )
    turn = sa.table("write_turn", sa.column("id", sa.Integer))
    if connection.scalar(sa.select(turn.c.id)) is None:
        connection.execute(sa.insert(turn).values(id=1))
