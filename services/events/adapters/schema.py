"""The tables of the event service, as the newest migration leaves them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

from services.events.domain.event import SIP_TRACE

metadata = MetaData()

ONLY_TRACES: Final = f"type = '{SIP_TRACE}'"
EVENT_ID: Final = BigInteger().with_variant(Integer, "sqlite")

events = Table(
    "events",
    metadata,
    Column("id", EVENT_ID, primary_key=True, autoincrement=True),
    Column("envelope_id", String(255), nullable=False, unique=True),
    Column("time", Float(53), nullable=False),
    Column("node", String(255), nullable=False),
    Column("service", String(64), nullable=False),
    Column("type", String(255), nullable=False),
    Column("call_id", String(255)),
    Column("owners", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", JSON, nullable=False),
    Index("events_by_call", "call_id"),
    Index("events_by_time", "time"),
    # Traces are removed long before the rest; MariaDB has no index of a part of the rows.
    Index(
        "events_traces",
        "type",
        "id",
        sqlite_where=text(ONLY_TRACES),
        postgresql_where=text(ONLY_TRACES),
    ),
    # An id is never given twice, not even after its event was removed.
    sqlite_autoincrement=True,
)

event_order = Table(
    "event_order",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
)
"""One row. Who appends locks it until the commit, so that ids become visible in their order; no
event with an id below `first` is promised to anybody."""

call_records = Table(
    "call_records",
    metadata,
    Column("call_id", String(255), primary_key=True),
    Column("node", String(255), nullable=False),
    Column("owners", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("caller_name", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("sip_call_id", Text, nullable=False),
    Column("answered_by", Text, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("progress_at", Float(53)),
    Column("progress_status", Integer),
    Column("answered_at", Float(53)),
    Column("ended_at", Float(53), nullable=False),
    Column("status", Integer, nullable=False),
    Column("status_reason", Text, nullable=False),
    Column("end_reason", Text, nullable=False),
    Column("duration", Float(53), nullable=False),
    Column("ring_duration", Float(53), nullable=False),
    Column("legs", Integer, nullable=False),
    Index("call_records_by_creation", "created_at"),
    Index("call_records_by_end", "ended_at"),
)


def pack_owners(owners: tuple[str, ...]) -> str:
    """Each owner between line feeds, so that LIKE finds whole names."""
    return "".join(f"\n{owner}" for owner in owners) + "\n" if owners else ""


def unpack_owners(text: str) -> tuple[str, ...]:
    """The inverse of `pack_owners`."""
    return tuple(text[1:-1].split("\n")) if text else ()
