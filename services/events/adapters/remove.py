"""What retention does to the tables of events."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, delete, literal_column, or_, select, update

from services.events.adapters.schema import ONLY_TRACES, event_order, events


def raise_first(first: int, connection: Connection) -> None:
    """Promise no event below `first` any more."""
    higher = event_order.c.first < first
    connection.execute(update(event_order).where(higher).values(first=first))


def delete_events(through: int, connection: Connection) -> None:
    """Delete the events up to an id."""
    connection.execute(delete(events).where(events.c.id <= through))


def old_traces(before: float, keep: int, limit: int, connection: Connection) -> list[int]:
    """The ids of SIP traces older than a time, or of more than the newest `keep`."""
    # As a literal: a parameter would hide from the database that its index of traces will do.
    traces: ColumnElement[bool] = literal_column(f"({ONLY_TRACES})")
    newest = select(events.c.id).where(traces).order_by(events.c.id.desc())
    surplus = connection.scalar(newest.offset(keep).limit(1))
    too_many = () if surplus is None else (events.c.id <= surplus,)
    old = or_(events.c.time < before, *too_many)
    found = select(events.c.id).where(traces, old).order_by(events.c.id)
    return list(connection.scalars(found.limit(limit)))


def delete_traces(ids: Sequence[int], connection: Connection) -> None:
    """Delete these."""
    connection.execute(delete(events).where(events.c.id.in_(ids)))
