"""A message's header lines, read as far as somebody asks and changed line by line: RFC 3261 §7.3.

The lines stay as they came; an index tells where each header's are. Values that were parsed are
kept until a line changes.
"""

from __future__ import annotations

import re
from typing import Final

from tandem.sip.address import Address
from tandem.sip.cseq import CSeq
from tandem.sip.errors import BadMessage, TooLarge
from tandem.sip.grammar import TOKEN_RE, clean, split_list
from tandem.sip.limits import MAX_HEADERS, MAX_LINE, MAX_VIAS
from tandem.sip.names import KEYS, header_key
from tandem.sip.via import Via

_BLANK: Final = (" ", "\t")
_LINE_END_RE: Final = re.compile(r"\r\n(?![ \t])")

# "MUST contain exactly one": these may not be repeated (§20, §7.3.1)
_SINGLE: Final = ("from", "to", "call-id", "cseq", "max-forwards", "content-length")
_MANDATORY: Final = ("via", "from", "to", "call-id", "cseq")


# The index's entries for headers of one line: shared, never changed.
_PLACES: Final = [[number] for number in range(4 * MAX_HEADERS)]


class Message:
    """What requests and responses share. Header names in arguments are in lower case."""

    __slots__ = (
        "_cseq",
        "_from",
        "_index",
        "_to",
        "_via",
        "body",
        "lines",
        "start_line",
        "unsized",
    )

    start_line: str
    lines: list[str]
    body: bytes
    unsized: bool
    """Set by who built the lines and knows that no Content-Length is among them: `to_bytes` then
    adds it without a look."""

    def __init__(self, start_line: str, lines: list[str], body: bytes = b"") -> None:
        self.start_line = start_line
        self.lines = lines
        self.body = body
        self.unsized = False
        self._forget()

    def _forget(self) -> None:
        """To be called after `lines` was changed by hand."""
        self._index: dict[str, list[int]] | None = None
        self._via: Via | None = None
        self._from: Address | None = None
        self._to: Address | None = None
        self._cseq: CSeq | None = None

    # -- reading -------------------------------------------------------------------------------

    @property
    def index(self) -> dict[str, list[int]]:
        """Header key to the numbers of its lines; raises BadMessage for a line that is none."""
        index = self._index
        return self._make_index() if index is None else index

    def _make_index(self) -> dict[str, list[int]]:
        # The price of most messages, so: one look-up a line, and all else on the slow way.
        index: dict[str, list[int]] = {}
        try:
            for line, place in zip(self.lines, _PLACES, strict=False):
                name, colon, _ = line.partition(":")
                key = KEYS[name]
                index[key] = index[key] + place if key in index else place
                if not colon:
                    raise BadMessage("Malformed header line")
        except KeyError:
            index = self._slow_index()
        assert len(self.lines) <= len(_PLACES)
        self._index = index
        return index

    def _slow_index(self) -> dict[str, list[int]]:
        """For unusual, folded and malformed lines."""
        index: dict[str, list[int]] = {}
        for line, place in zip(self.lines, _PLACES, strict=False):
            name, colon, _ = line.partition(":")
            if index and line[:1] in _BLANK:
                self._unfold()
                return self._slow_index()
            key = header_key(name)
            if not colon or TOKEN_RE.fullmatch(key) is None:
                raise BadMessage("Malformed header line")
            index[key] = index[key] + place if key in index else place
        return index

    def _unfold(self) -> None:
        self.lines = _LINE_END_RE.split("\r\n".join(self.lines))
        if max(map(len, self.lines)) > MAX_LINE:
            raise TooLarge("Header line too long")

    def values(self, key: str) -> list[str]:
        """The value of each line of this header, unfolded and stripped."""
        numbers = self.index.get(key)
        return [line_value(self.lines[n]) for n in numbers] if numbers else []

    def items(self, key: str) -> list[str]:
        """The comma-separated items of all lines of this header."""
        numbers = self.index.get(key)
        if not numbers:
            return []
        return [item for n in numbers for item in split_list(line_value(self.lines[n]))]

    def first(self, key: str) -> str | None:
        """The value of the first line of this header, None when there is none."""
        numbers = self.index.get(key)
        return line_value(self.lines[numbers[0]]) if numbers else None

    def tokens(self, key: str) -> set[str]:
        """The items of a token list (Supported, Require, Allow …) in lower case."""
        return {item.lower() for item in self.items(key) if item}

    def number(self, key: str) -> int | None:
        """The value as delta-seconds or a count; raises BadMessage when it is no number."""
        text = self.first(key)
        if text is None:
            return None
        digits = text
        if not text.isdecimal():
            digits = text.partition(";")[0].partition("(")[0].strip()
        if not digits.isascii() or not digits.isdecimal() or len(digits) > 12:
            raise BadMessage(f"Malformed {key}")
        return int(digits)

    def raw_lines(self, *keys: str) -> list[str]:
        """The untouched lines of these headers in the order of the message."""
        index = self.index
        numbers = [n for key in keys for n in index.get(key, ())]
        return [self.lines[n] for n in (sorted(numbers) if len(keys) > 1 else numbers)]

    def _required(self, key: str) -> str:
        value = self.first(key)
        if not value:
            raise BadMessage(f"Missing {key}")
        return value

    @property
    def via(self) -> Via:
        """The topmost Via; raises BadMessage when it is missing or malformed."""
        if self._via is None:
            self._via = Via.parse(split_list(self._required("via"))[0])
        return self._via

    @property
    def vias(self) -> list[Via]:
        """All Via values, topmost first."""
        return [Via.parse(item) for item in self.items("via")]

    @property
    def from_(self) -> Address:
        """From."""
        if self._from is None:
            self._from = Address.parse(self._required("from"))
        return self._from

    @property
    def to(self) -> Address:
        """To."""
        if self._to is None:
            self._to = Address.parse(self._required("to"))
        return self._to

    @property
    def cseq(self) -> CSeq:
        """CSeq."""
        if self._cseq is None:
            self._cseq = CSeq.parse(self._required("cseq"))
        return self._cseq

    @property
    def call_id(self) -> str:
        """Call-ID, compared byte by byte (§8.1.1.4)."""
        return self._required("call-id")

    @property
    def contacts(self) -> list[Address]:
        """Contact addresses; a `*` is in `values` only and raises BadMessage here."""
        return Address.parse_list(self.values("contact"))

    @property
    def max_forwards(self) -> int | None:
        """Max-Forwards; raises BadMessage outside 0 to 255 (§20.22)."""
        hops = self.number("max-forwards")
        if hops is not None and hops > 255:
            raise BadMessage("Max-Forwards out of range")
        return hops

    # -- changing ------------------------------------------------------------------------------

    def set(self, name: str, value: str) -> None:
        """Put this header in place of its first line (or at the end) and drop its other lines."""
        numbers = self.index.get(header_key(name))
        line = f"{name}: {clean(value)}"
        if not numbers:
            self.lines.append(line)
        else:
            self.lines[numbers[0]] = line
            for number in reversed(numbers[1:]):
                del self.lines[number]
        self._forget()

    def add(self, name: str, value: str, *, top: bool = False) -> None:
        """Add a line at the end, or above all others."""
        self.lines.insert(0 if top else len(self.lines), f"{name}: {clean(value)}")
        self._forget()

    def remove(self, *keys: str) -> None:
        """Drop all lines of these headers."""
        index = self.index
        gone = {n for key in keys for n in index.get(key, ())}
        if gone:
            self.lines = [line for n, line in enumerate(self.lines) if n not in gone]
            self._forget()

    def pop_item(self, key: str) -> str | None:
        """Take the first item of a list header (Via, Route) away and return it."""
        numbers = self.index.get(key)
        if not numbers:
            return None
        number = numbers[0]
        line = self.lines[number]
        items = split_list(line_value(line))
        if len(items) == 1:
            del self.lines[number]
        else:
            self.lines[number] = f"{line.partition(':')[0]}: {', '.join(items[1:])}"
        self._forget()
        return items[0]

    def to_bytes(self) -> bytes:
        """The message for the wire. Content-Length is put right if the body calls for it."""
        numbers = None if self.unsized else self.index.get("content-length")
        length = str(len(self.body))
        if numbers is None:
            self.lines.append(f"Content-Length: {length}")
            self.unsized = False
            self._index = None
        elif self._declared(numbers[0]) != length:
            self.lines[numbers[0]] = f"Content-Length: {length}"
        head = "\r\n".join((self.start_line, *self.lines, "", ""))
        return head.encode("utf-8", "surrogateescape") + self.body

    def _declared(self, number: int) -> str:
        value = line_value(self.lines[number])
        return value.lstrip("0") or "0" if value[:1] == "0" else value

    # -- checking ------------------------------------------------------------------------------

    def check(self) -> None:
        """Check what every element must be able to rely on (§8.2, §16.3): the headers that each
        message needs are there, once, and well formed. Raises RemoteFault."""
        index = self.index
        for key in _MANDATORY:
            if key not in index:
                raise BadMessage(f"Missing {key}")
        for key in _SINGLE:
            if len(index.get(key, ())) > 1:
                raise BadMessage(f"Repeated {key}")
        vias = self.items("via")
        if len(vias) > MAX_VIAS:
            raise TooLarge("Too many Via values")
        for item in vias:
            Via.parse(item)
        _ = self.from_, self.to, self.cseq, self.max_forwards, self.number("content-length")
        _ = self.call_id


def line_value(line: str) -> str:
    """The value of a header line, unfolded and stripped (§7.3.1)."""
    value = line.partition(":")[2].strip(" \t\r\n")
    if "\n" not in value:
        return value
    return " ".join([part.strip(" \t") for part in value.split("\r\n")])
