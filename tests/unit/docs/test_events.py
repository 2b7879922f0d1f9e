"""docs/events.md is kept by hand; no type of event and no field may be missing from it."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

import tandem.bus
from tandem.bus.event import Event
from tandem.bus.events import EVENT_TYPES

PAGE = Path(__file__).parents[3] / "docs" / "events.md"
FOLDER = Path(tandem.bus.__file__).parent
ENVELOPE = {"owners", "call_id"}


@pytest.mark.parametrize("kind", EVENT_TYPES.values(), ids=lambda kind: str(kind.type))
def test_every_type_of_event_is_in_the_table_with_its_data(kind: type[Event]) -> None:
    rows = [row for row in PAGE.read_text().splitlines() if row.startswith(f"| `{kind.type}` |")]
    names = [field.name for field in fields(kind) if field.name not in ENVELOPE]
    assert [row.rpartition(" | ")[2] for row in rows] == [f"`{' '.join(names)}` |"]


def test_every_class_of_an_event_is_a_type_that_can_be_read() -> None:
    modules = [import_module(f"tandem.bus.{path.stem}") for path in FOLDER.glob("*_events.py")]
    made = {
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Event) and kind.type
    }
    assert made == set(EVENT_TYPES.values())
    assert sum(len(module.ALL) for module in modules) == len(EVENT_TYPES)
