"""What two instances need: turns at writing, and removed bindings that stay removed."""

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
    op.add_column("bindings", sa.Column("removed_at", sa.Double(), nullable=True))
    turn = op.create_table(
        "write_turn",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_write_turn")),
        **EXACT,
    )
    op.bulk_insert(turn, [{"id": 1}])
