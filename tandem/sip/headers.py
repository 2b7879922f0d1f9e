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
from tandem.sip.lines import (
    PLAIN_VIA_RE,
    address_of,
    cseq_of,
    line_value,
    number_of,
    required_value,
    tag_of,
)
from tandem.sip.names import KEYS, header_key
from tandem.sip.via import Via

__all__ = ["Message", "line_value"]

_BLANK: Final = (" ", "\t")
_LINE_END_RE: Final = re.compile(r"\r\n(?![ \t])")

# "MUST contain exactly one": these may not be repeated (§20, §7.3.1)
_SINGLE: Final = ("from", "to", "call-id", "cseq", "max-forwards", "content-length")
_MANDATORY: Final = ("via", "from", "to", "call-id", "cseq")
_NOWHERE: Final[list[int]] = []

MAX_FORWARDS: Final = 255
"""§20.22: "an integer in the range 0-255"."""


# The index's entries for headers of one line: shared, never changed.
_PLACES: Final = [[number] for number in range(4 * MAX_HEADERS)]


class Message:
    """What requests and responses share. Header names in arguments are in lower case."""

    __slots__ = (
        "_call_id",
        "_index",
        "_second_transport",
        "_top",
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
        self._call_id: str | None = None
        self._top: tuple[str, str] | None = None
        self._second_transport: str | None = None

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
        index = self._index
        if index is None:
            index = self._make_index()
        numbers = index.get(key)
        return [line_value(self.lines[n]) for n in numbers] if numbers else []

    def items(self, key: str) -> list[str]:
        """The comma-separated items of all lines of this header."""
        index = self._index
        if index is None:
            index = self._make_index()
        numbers = index.get(key)
        if not numbers:
            return []
        return [item for n in numbers for item in split_list(line_value(self.lines[n]))]

    def first(self, key: str) -> str | None:
        """The value of the first line of this header, None when there is none."""
        index = self._index
        if index is None:
            index = self._make_index()
        numbers = index.get(key)
        return line_value(self.lines[numbers[0]]) if numbers else None

    def tokens(self, key: str) -> set[str]:
        """The items of a token list (Supported, Require, Allow …) in lower case."""
        return {item.lower() for item in self.items(key) if item}

    def number(self, key: str) -> int | None:
        """The value as delta-seconds or a count; raises BadMessage when it is no number."""
        index = self._index
        if index is None:
            index = self._make_index()
        numbers = index.get(key)
        return number_of(key, self.lines[numbers[0]]) if numbers else None

    def raw_lines(self, *keys: str) -> list[str]:
        """The untouched lines of these headers in the order of the message."""
        index, lines = self.index, self.lines
        if len(keys) == 1:
            return [lines[n] for n in index.get(keys[0], ())]
        return [lines[n] for n in sorted([n for key in keys for n in index.get(key, ())])]

    def _line(self, key: str) -> str:
        """The first line of a header that must be there."""
        index = self._index
        if index is None:
            index = self._make_index()
        numbers = index.get(key)
        if not numbers:
            raise BadMessage(f"Missing {key}")
        return self.lines[numbers[0]]

    @property
    def via(self) -> Via:
        """The topmost Via; raises BadMessage when it is missing or malformed."""
        return Via.parse(split_list(required_value(self._line("via")))[0])

    @property
    def vias(self) -> list[Via]:
        """All Via values, topmost first."""
        return [Via.parse(item) for item in self.items("via")]

    @property
    def top(self) -> tuple[str, str]:
        """Branch and sent-by of the topmost Via, as transactions are matched by them."""
        if self._top is None:
            via = self.via
            self._top = (via.branch, via.sent_by)
        return self._top

    @property
    def second_transport(self) -> str:
        """The transport of the Via below the topmost one, or of that where there is no other."""
        if self._second_transport is None:
            vias = self.vias
            self._second_transport = vias[1 if len(vias) > 1 else 0].transport
        return self._second_transport

    @property
    def from_(self) -> Address:
        """From."""
        return address_of(self._line("from"))

    @property
    def to(self) -> Address:
        """To."""
        return address_of(self._line("to"))

    @property
    def from_tag(self) -> str | None:
        """The tag of From, without parsing the rest."""
        return tag_of(self._line("from"))

    @property
    def to_tag(self) -> str | None:
        """The tag of To, without parsing the rest."""
        return tag_of(self._line("to"))

    @property
    def cseq(self) -> CSeq:
        """CSeq."""
        return cseq_of(self._line("cseq"))

    @property
    def call_id(self) -> str:
        """Call-ID, compared byte by byte (§8.1.1.4)."""
        if self._call_id is None:
            self._call_id = required_value(self._line("call-id"))
        return self._call_id

    @property
    def contacts(self) -> list[Address]:
        """Contact addresses; a `*` is in `values` only and raises BadMessage here."""
        return Address.parse_list(self.values("contact"))

    @property
    def max_forwards(self) -> int | None:
        """Max-Forwards; raises BadMessage outside 0 to 255 (§20.22)."""
        hops = self.number("max-forwards")
        if hops is not None and hops > MAX_FORWARDS:
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

    def add_via(self, line: str) -> None:
        """Add a Via line above all others; what is known of the others stays."""
        call_id = self._call_id
        self.lines.insert(0, line)
        self._forget()
        self._call_id = call_id

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
        index, lines = self.index, self.lines
        try:
            vias, from_, to = index["via"], index["from"], index["to"]
            call_id, cseq = index["call-id"], index["cseq"]
        except KeyError:
            missing = next(key for key in _MANDATORY if key not in index)
            raise BadMessage(f"Missing {missing}") from None
        hops = index.get("max-forwards", _NOWHERE)
        length = index.get("content-length", _NOWHERE)
        if len(from_) + len(to) + len(call_id) + len(cseq) > 4 or len(hops) > 1 or len(length) > 1:
            repeated = next(key for key in _SINGLE if len(index.get(key, ())) > 1)
            raise BadMessage(f"Repeated {repeated}")
        self._check_vias(vias)
        tag_of(lines[from_[0]])
        tag_of(lines[to[0]])
        cseq_of(lines[cseq[0]])
        if hops and number_of("max-forwards", lines[hops[0]]) > MAX_FORWARDS:
            raise BadMessage("Max-Forwards out of range")
        if length:
            number_of("content-length", lines[length[0]])
        self._call_id = required_value(lines[call_id[0]])

    def _check_vias(self, numbers: list[int]) -> None:
        """Each is read only as far as most are alike; others are parsed."""
        lines = self.lines
        if len(numbers) > MAX_VIAS:
            raise TooLarge("Too many Via values")
        plain = PLAIN_VIA_RE.fullmatch
        top = plain(lines[numbers[0]])
        second = top
        for number in numbers[1:]:
            match = plain(lines[number])
            if match is None:
                top = None
                break
            if second is top:
                second = match
        if top is None or second is None:
            self._parse_vias()
        else:
            self._top = (top[3] or "", top[2].lower())
            self._second_transport = second[1]

    def _parse_vias(self) -> None:
        vias = self.items("via")
        if len(vias) > MAX_VIAS:
            raise TooLarge("Too many Via values")
        for item in vias:
            Via.parse(item)
