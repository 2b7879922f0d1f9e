"""Where the header lines of a message are: found in its bytes, nothing copied, nothing decoded.

Used off the fast path (`fast.py`), for messages of any legal spelling: compact names, folded
lines, several values in a line (RFC 3261 §7.3.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from tandem.sip.limits import MAX_HEADERS, MAX_LINE
from tandem.sip.message import header_key

_NAME_RE: Final = re.compile(rb"\r\n([!-9;-~]+)[ \t]*:[ \t]*")
# Linear in any input: a quote or bracket without its end hides all the rest.
_COMMA_RE: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)|<[^>]*+(?:>|\Z)|(?P<comma>,)', re.DOTALL)

Edit = tuple[int, int, bytes]
"""Put these bytes in the place of [start, end)."""


class Line:
    """One header line: `start` at its name, `value` at its value, `end` before its CRLF."""

    __slots__ = ("end", "start", "value")

    def __init__(self, start: int, value: int, end: int) -> None:
        self.start = start
        self.value = value
        self.end = end


class Head:
    """The header lines of a message by key (lower case, long form), in their order."""

    __slots__ = ("data", "end", "first_line_end", "lines")

    def __init__(self, data: bytes, first_line_end: int, end: int) -> None:
        self.data = data
        self.first_line_end = first_line_end
        self.end = end
        self.lines: dict[str, list[Line]] = {}

    def value(self, key: str) -> bytes | None:
        """The stripped value of the first line of this header, folds still in it."""
        lines = self.lines.get(key)
        return self.data[lines[0].value : lines[0].end].strip() if lines else None

    def items(self, key: str) -> list[tuple[int, int, Line]]:
        """Start, end and line of each comma-separated item of all lines of this header."""
        return [
            (start, end, line)
            for line in self.lines.get(key, ())
            for start, end in split_items(self.data, line.value, line.end)
        ]


def scan(data: bytes, *, torn: bool = False) -> Head | None:
    """Find the header lines; None without an end of headers (unless it may be `torn`: then they
    end with the data), or with too many or too long."""
    first_line_end = data.find(b"\r\n")
    end = data.find(b"\r\n\r\n")
    if end < 0 and torn:
        end = len(data.rstrip(b"\r\n"))
    if end < 0 or first_line_end < 0:
        return None
    head = Head(data, first_line_end, end)
    previous: Line | None = None
    count = longest = 0
    for match in _NAME_RE.finditer(data, first_line_end, end):
        at = match.start()
        if previous is not None:
            previous.end = at
            longest = max(longest, at - previous.start)
        previous = Line(at + 2, min(match.end(), end), end)
        count += 1
        head.lines.setdefault(header_key(match[1].decode("ascii")), []).append(previous)
    if previous is not None:
        longest = max(longest, end - previous.start)
    return None if count > MAX_HEADERS or longest > MAX_LINE else head


def split_items(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """The spans between commas outside of quotes and angle brackets, blanks around cut off."""
    if data.find(b",", start, end) < 0:
        return [strip_span(data, start, end)]
    spans: list[tuple[int, int]] = []
    at = start
    for match in _COMMA_RE.finditer(data, start, end):
        if match["comma"]:
            spans.append(strip_span(data, at, match.start()))
            at = match.end()
    spans.append(strip_span(data, at, end))
    return spans


def strip_span(data: bytes, start: int, end: int) -> tuple[int, int]:
    """The span without the white space (and folds) at its ends."""
    text = data[start:end]
    return end - len(text.lstrip()), start + len(text.rstrip()) if text.strip() else end


def drop_items(head: Head, key: str, count: int) -> list[Edit]:
    """The edits that take the first `count` items of this header away, emptied lines wholly."""
    edits: list[Edit] = []
    items = head.items(key)
    for line in head.lines.get(key, ()):
        own = [item for item in items if item[2] is line]
        if count >= len(own):
            edits.append((line.start, line.end + 2, b""))
        elif count > 0:
            edits.append((line.value, own[count][0], b""))
        count -= len(own)
        if count <= 0:
            break
    return edits


def splice(data: bytes, edits: Iterable[Edit]) -> bytes:
    """`data` with the edits done; they must not overlap. Equal places keep their order."""
    parts: list[bytes] = []
    at = 0
    for start, end, text in sorted(edits, key=lambda edit: edit[0]):
        parts += (data[at:start], text)
        at = end
    parts.append(data[at:])
    return b"".join(parts)
