"""Call records in SQL: one row per call, whatever comes twice or in whatever order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, or_, select

from services.events.adapters.present import present
from services.events.adapters.schema import call_records, pack_owners, unpack_owners
from services.events.domain.clean import clean_text
from services.events.domain.event import CALL_RECORD, Draft
from services.events.ports import CallRecords, RecordQuery

_FIELDS: Final = tuple(
    column.name for column in call_records.c if column.name not in {"call_id", "node", "owners"}
)


def insert_records(connection: Connection, drafts: Sequence[Draft]) -> None:
    """Store the call records among `drafts`, all of calls that have none."""
    rows = [_row(draft) for draft in drafts if draft.type == CALL_RECORD]
    if rows:
        connection.execute(insert(call_records), rows)


def record_key(draft: Draft) -> str:
    """The key of the record of a draft's call."""
    return draft.call_id or draft.envelope_id


def recorded_calls(connection: Connection, keys: Collection[str]) -> set[str]:
    """Those of `keys` that have a record."""
    return present(connection, call_records.c.call_id, keys)


def select_records(
    connection: Connection, query: RecordQuery, offset: int, count: int
) -> CallRecords:
    """A page, newest first."""
    conditions = _conditions(query)
    total = connection.scalar(select(func.count()).select_from(call_records).where(*conditions))
    page = (
        select(call_records)
        .where(*conditions)
        .order_by(call_records.c.created_at.desc(), call_records.c.call_id)
        .offset(offset)
        .limit(count)
    )
    rows = connection.execute(page)
    return CallRecords([_record(row) for row in rows], total or 0)


def select_record(connection: Connection, call_id: str) -> dict[str, Any] | None:
    """One record."""
    wanted: Select[Any] = select(call_records).where(call_records.c.call_id == call_id)
    row = (connection.execute(wanted)).first()
    return None if row is None else _record(row)


def delete_records(connection: Connection, before: float) -> None:
    """Those that ended before a time."""
    connection.execute(delete(call_records).where(call_records.c.ended_at < before))


def _row(draft: Draft) -> dict[str, Any]:
    return {
        "call_id": record_key(draft),
        "node": draft.node,
        "owners": pack_owners(draft.owners),
        **{name: draft.data[name] for name in _FIELDS},
    }


def _record(row: Row[Any]) -> dict[str, Any]:
    record = dict(row._mapping)
    return {"id": record.pop("call_id"), **record, "owners": unpack_owners(record["owners"])}


def _conditions(query: RecordQuery) -> list[ColumnElement[bool]]:
    c = call_records.c
    found: list[ColumnElement[bool]] = []
    if query.owner is not None:
        found.append(c.owners.contains(f"\n{query.owner}\n", autoescape=True))
    if query.since is not None:
        found.append(c.created_at >= query.since)
    if query.until is not None:
        found.append(c.created_at < query.until)
    if query.status is not None:
        found.append(c.status == query.status)
    if query.account:
        part = clean_text(query.account).lower()  # for SQLite a pattern would end at a NUL
        addresses = (c.caller, c.destination, c.answered_by)
        found.append(or_(*(func.lower(a).contains(part, autoescape=True) for a in addresses)))
    return found
