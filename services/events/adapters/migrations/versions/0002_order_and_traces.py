"""One counter for the order of events, which several writers share; an index of SIP traces."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ONLY_TRACES = sa.text("type = 'sip.trace'")


def upgrade() -> None:
    """Make both; the counter goes on where the log stands. MariaDB can't undo changes of tables, so
    each step looks whether an upgrade that was broken off has done it."""
    connection = op.get_bind()
    found = sa.inspect(connection)
    if not found.has_table("event_order"):
        op.create_table(
            "event_order",
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("first", sa.BigInteger, nullable=False),
            sa.Column("last", sa.BigInteger, nullable=False),
        )
    columns = (sa.column("id", sa.Integer), sa.column("first", sa.BigInteger))
    order = sa.table("event_order", *columns, sa.column("last", sa.BigInteger))
    if connection.scalar(sa.select(order.c.id)) is None:
        events = sa.table("events", sa.column("id", sa.BigInteger))
        bounds = sa.select(
            sa.literal(1),
            sa.func.coalesce(sa.func.min(events.c.id), 1),
            sa.func.coalesce(sa.func.max(events.c.id), 0),
        )
        op.execute(sa.insert(order).from_select(["id", "first", "last"], bounds))
    if "events_traces" not in {index["name"] for index in found.get_indexes("events")}:
        op.create_index(
            "events_traces",
            "events",
            ["type", "id"],
            sqlite_where=ONLY_TRACES,
            postgresql_where=ONLY_TRACES,
        )


def downgrade() -> None:
    """Remove both."""
    op.drop_index("events_traces", "events")
    op.drop_table("event_order")
