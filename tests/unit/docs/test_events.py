"""docs/events.md is kept by hand; no type of event and no field may be missing from it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from tandem.bus import events

PAGE = Path(__file__).parents[3] / "docs" / "events.md"
ENVELOPE = {"owners", "call_id"}
KINDS = [
    kind
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, events.Event) and kind.type
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.type))
def test_every_type_of_event_is_in_the_table_with_its_data(kind: type[events.Event]) -> None:
    rows = [row for row in PAGE.read_text().splitlines() if row.startswith(f"| `{kind.type}` |")]
    names = [field.name for field in fields(kind) if field.name not in ENVELOPE]
    assert [row.rpartition(" | ")[2] for row in rows] == [f"`{' '.join(names)}` |"]
