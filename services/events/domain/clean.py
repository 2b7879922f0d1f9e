"""What came off the wire, made fit for JSON and for a database.

SIP text is kept as Python text with lone surrogates for bytes that are not UTF-8 (PEP 383). JSON
encoders and databases refuse those, PostgreSQL refuses NUL, and JSON has no NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

MAX_TEXT: Final = 8192
"""Characters of one text: a SIP message of full size is cut, all else fits."""
MAX_ITEMS: Final = 256
"""Members of one list or object."""
MAX_DEPTH: Final = 8
"""Levels of nesting."""
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def clean_text(text: str, limit: int = MAX_TEXT) -> str:
    """`text` without lone surrogates and NUL, at most `limit` characters."""
    if text.isprintable() and text.isascii() and len(text) <= limit:
        return text
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if not text.isascii():
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", REPLACEMENT) if "\0" in text else text


def clean_object(value: dict[str, Any]) -> dict[str, Any]:
    """As `clean`, for the payload of an event, which is nearly always flat and clean: then it comes
    back as it is."""
    for item in value.values():
        kind = type(item)
        if kind is str:
            if not (item.isprintable() and item.isascii()) or len(item) > MAX_TEXT:
                break
        elif kind is float:
            if not math.isfinite(item):
                break
        elif kind is not int and item is not None:
            break
    else:
        if len(value) <= MAX_ITEMS:
            return value
    cleaned: dict[str, Any] = clean(value)
    return cleaned


def clean(value: Any, depth: int = 0) -> Any:
    """`value` with JSON types only; what has no JSON type becomes its text."""
    if isinstance(value, str):
        return clean_text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _clean_nested(value, depth + 1)


def _clean_nested(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        items = list(value.items())[:MAX_ITEMS]
        return {clean_text(str(key)): clean(item, depth) for key, item in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(item, depth) for item in list(value)[:MAX_ITEMS]]
    if isinstance(value, bytes | bytearray):
        return clean_text(bytes(value[:MAX_TEXT]).decode("utf-8", "replace"))
    return clean_text(str(value))
