"""Tables for people, JSON for programs.

Phones and providers choose what many fields hold, so nothing reaches a terminal that could move its
cursor or change its colours.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct


def show_table(titles: Sequence[str], rows: Iterable[Sequence[object]], nothing: str) -> None:
    """Print columns, or the sentence `nothing` when there are no rows."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    if not cells:
        write(nothing)
        return
    lines = [[title.upper() for title in titles], *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        write("  ".join(padded).rstrip())


def show_json(document: object) -> None:
    """Print one JSON document on as many lines as it takes."""
    write(json.dumps(document, indent=2, ensure_ascii=False))


def show_json_line(document: object) -> None:
    """Print JSON on one line."""
    write(json.dumps(document, ensure_ascii=False))


def write(line: str) -> None:
    """A line on standard output, at once: it may be read by a program that waits for it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def warn(line: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"tandemctl: {printable(line)}\n")
    sys.stderr.flush()


def printable(text: str) -> str:
    """The text without control characters."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def plain(message: Message) -> dict[str, Any]:
    """A message as JSON, all fields there, numbers as numbers."""
    found = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    whole = {f.name for f in message.DESCRIPTOR.fields if f.cpp_type in _WIDE_TYPES}
    return {
        key: int(value) if key in whole and isinstance(value, str) else value
        for key, value in found.items()
    }


_WIDE_TYPES = (2, 4)
"""FieldDescriptor.CPPTYPE_INT64 and CPPTYPE_UINT64: strings in protobuf's JSON."""


def plain_struct(struct: Struct) -> dict[str, Any]:
    """A Struct as JSON; its numbers are doubles, whole ones are given without a point."""
    found = _whole(MessageToDict(struct))
    assert isinstance(found, dict)
    return found


def _whole(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def clock(unix: object) -> str:
    """Local time of day of Unix seconds; empty for none."""
    if not isinstance(unix, int | float) or not unix:
        return ""
    return time.strftime("%H:%M:%S", time.localtime(unix))


def seconds(value: float) -> str:
    """`12 s`, `3 min`, `2 h`."""
    if value < 120:
        return f"{max(value, 0):.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.0f} h"
