"""The event log and the call records."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

EXACT: Final[dict[str, Any]] = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}
"""MariaDB and MySQL would else take names that differ in case for the same."""


def upgrade() -> None:
    """Make both tables."""
    _events()
    _call_records()


def downgrade() -> None:
    """Remove both tables."""
    op.drop_table("call_records")
    op.drop_table("events")


def _events() -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "events",
        sa.Column("id", number, primary_key=True, autoincrement=True),
        sa.Column("envelope_id", sa.String(255), nullable=False, unique=True),
        sa.Column("time", sa.Float(53), nullable=False),
        sa.Column("node", sa.String(255), nullable=False),
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("type", sa.String(255), nullable=False),
        sa.Column("call_id", sa.String(255)),
        sa.Column("owners", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
        **EXACT,
    )
    op.create_index("events_by_call", "events", ["call_id"])
    op.create_index("events_by_time", "events", ["time"])


def _call_records() -> None:
    op.create_table(
        "call_records",
        sa.Column("call_id", sa.String(255), primary_key=True),
        sa.Column("node", sa.String(255), nullable=False),
        sa.Column("owners", sa.Text, nullable=False),
        sa.Column("direction", sa.Text, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("caller_name", sa.Text, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("sip_call_id", sa.Text, nullable=False),
        sa.Column("answered_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("progress_at", sa.Float(53)),
        sa.Column("progress_status", sa.Integer),
        sa.Column("answered_at", sa.Float(53)),
        sa.Column("ended_at", sa.Float(53), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("status_reason", sa.Text, nullable=False),
        sa.Column("end_reason", sa.Text, nullable=False),
        sa.Column("duration", sa.Float(53), nullable=False),
        sa.Column("ring_duration", sa.Float(53), nullable=False),
        sa.Column("legs", sa.Integer, nullable=False),
        **EXACT,
    )
    op.create_index("call_records_by_creation", "call_records", ["created_at"])
    op.create_index("call_records_by_end", "call_records", ["ended_at"])
