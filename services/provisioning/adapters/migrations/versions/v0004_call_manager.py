"""The call manager: methods that are open to listed addresses, and AGI rules.

MariaDB can't undo changes of tables, so each step looks whether it was done already by an upgrade
that was broken off.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.provisioning.adapters.columns import EXACT, TEXT, chars

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables."""
    found = sa.inspect(op.get_bind())
    if not found.has_table("call_manager_access"):
        _make(
            "call_manager_access",
            sa.Column("method", chars(32), nullable=False),
            sa.Column("networks", TEXT, nullable=False),
            sa.Column("destinations", TEXT, nullable=False),
        )
    if not found.has_table("agi_rules"):
        _make(
            "agi_rules",
            sa.Column("extension", chars(64), nullable=False),
            sa.Column("caller", chars(64), nullable=False),
            sa.Column("commands", TEXT, nullable=False),
        )


def _make(name: str, *columns: sa.Column[str]) -> None:
    op.create_table(
        name,
        sa.Column("owner", chars(32), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False, autoincrement=False),
        *columns,
        sa.ForeignKeyConstraint(
            ["owner"], ["customers.username"], name=op.f(f"fk_{name}_owner"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("owner", "place", name=op.f(f"pk_{name}")),
        **EXACT,
    )
