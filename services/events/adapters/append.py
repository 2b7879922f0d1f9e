"""The transaction that gives events their place in the order.

Each writer locks the one row of `event_order` first and holds it until the commit. So ids become
visible in their order, whoever writes: a reader that has seen one never finds a smaller one later.
SQLite knows no such lock and needs none: two writers of one file would give the same id, and the
second is refused and tries again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from services.events.adapters.present import present
from services.events.adapters.records import insert_records, record_key, recorded_calls
from services.events.adapters.schema import event_order, events, pack_owners
from services.events.domain.event import CALL_RECORD, Draft, StoredEvent
from services.events.ports import Appended


def append(drafts: Sequence[Draft], connection: Connection, *, unrecorded: bool) -> Appended:
    """Store what is new of `drafts`; `unrecorded`: only events of calls without a record."""
    last = connection.execute(select(event_order.c.last).with_for_update()).scalar_one()
    new = _unrecorded(connection, _unknown(connection, drafts), every=unrecorded)
    if not new:
        return Appended(last, [])
    stored = [_stored(number, draft) for number, draft in enumerate(new, last + 1)]
    rows = [_row(event.id, draft) for event, draft in zip(stored, new, strict=True)]
    connection.execute(insert(events), rows)
    insert_records(connection, new)
    connection.execute(update(event_order).values(last=stored[-1].id))
    return Appended(last, stored)


def bounds(connection: Connection) -> tuple[int, int]:
    """The first id that is kept and the last that was given."""
    first, last = connection.execute(select(event_order.c.first, event_order.c.last)).one()
    return first, last


def _unknown(connection: Connection, drafts: Sequence[Draft]) -> list[Draft]:
    """`drafts` without those whose envelope was stored before or comes twice."""
    unique = {draft.envelope_id: draft for draft in reversed(drafts)}
    for envelope_id in present(connection, events.c.envelope_id, unique):
        del unique[envelope_id]
    return list(reversed(unique.values()))


def _unrecorded(connection: Connection, drafts: list[Draft], *, every: bool) -> list[Draft]:
    """`drafts` without second records of a call, or without anything of a call with a record."""
    asked = {record_key(draft) for draft in drafts if every or draft.type == CALL_RECORD}
    known = recorded_calls(connection, asked)
    kept = []
    for draft in drafts:
        key = record_key(draft)
        if (every or draft.type == CALL_RECORD) and key in known:
            continue
        kept.append(draft)
        if draft.type == CALL_RECORD and not every:
            known.add(key)
    return kept


def _row(number: int, draft: Draft) -> dict[str, Any]:
    return {
        "id": number,
        "envelope_id": draft.envelope_id,
        "time": draft.time,
        "node": draft.node,
        "service": draft.service,
        "type": draft.type,
        "call_id": draft.call_id,
        "owners": pack_owners(draft.owners),
        "message": draft.message,
        "data": draft.data,
    }


def _stored(number: int, draft: Draft) -> StoredEvent:
    return StoredEvent(
        number, draft.time, draft.node, draft.service, draft.type, draft.owners, draft.call_id,
        draft.message, draft.data,
    )  # fmt: skip
