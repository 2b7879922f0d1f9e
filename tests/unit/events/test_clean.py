from __future__ import annotations

import json
import math

import pytest

from services.events.domain.clean import (
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_TEXT,
    clean,
    clean_object,
    clean_text,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("Käse → 🧀", "Käse → 🧀"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf\ufffd"),
        ("\ud800x\udfff", "\ufffdx\ufffd"),
        ("a\0b", "a\ufffdb"),
    ],
)
def test_text_is_fit_for_json_and_a_database(text: str, expected: str) -> None:
    assert clean_text(text) == expected
    clean_text(text).encode()


def test_a_long_text_is_cut() -> None:
    assert len(clean_text("x" * (MAX_TEXT + 5))) == MAX_TEXT
    assert clean_text("x" * MAX_TEXT) == "x" * MAX_TEXT


def test_values_become_json_types() -> None:
    value = {
        "n": 1, "f": 1.5, "nan": math.nan, "inf": math.inf, "t": ("a", "\udc80"), "b": b"\xff\0",
        "s": frozenset({1}), "none": None, "yes": True, "\udcff": object,
    }  # fmt: skip
    cleaned = clean(value)
    assert cleaned["nan"] is None
    assert cleaned["inf"] is None
    assert cleaned["t"] == ["a", "\ufffd"]
    assert cleaned["b"] == "\ufffd\ufffd"
    assert cleaned["\ufffd"] == "<class 'object'>"
    json.dumps(cleaned, allow_nan=False).encode()


def test_what_is_wide_or_deep_is_bounded() -> None:
    assert len(clean(list(range(MAX_ITEMS + 9)))) == MAX_ITEMS
    assert len(clean({str(n): n for n in range(MAX_ITEMS + 9)})) == MAX_ITEMS
    nested: object = "bottom"
    for _ in range(MAX_DEPTH + 50):
        nested = [nested]
    assert "bottom" not in json.dumps(clean(nested))


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"s": "plain", "n": 1, "f": 1.5, "none": None, "yes": True},
        {"s": "Käse"},
        {"s": "\udcff"},
        {"s": "a\0b", "n": 1},
        {"s": "two\nlines"},
        {"s": "x" * (MAX_TEXT + 1)},
        {"f": math.nan},
        {"f": math.inf},
        {"t": ("a", "\udc80")},
        {"b": b"\xff"},
        {str(n): n for n in range(MAX_ITEMS + 1)},
    ],
)
def test_the_short_way_of_flat_objects_is_the_long_way(value: dict[str, object]) -> None:
    assert clean_object(value) == clean(value)
