"""SIP messages, parsed as far as somebody asks: RFC 3261 §7.

A message is its start line, its header lines as they came, and its body. Nothing is parsed until
it is asked for, and what nobody changes leaves byte for byte: a line keeps its spelling, its
place and its folds. Text is UTF-8; bytes that are not survive as surrogates (PEP 383).

    parse_message(datagram) ──► Request | Response ──► .via, .cseq, .values("route"), ... (lazy)
                                                  └──► .set(), .add(), .remove() ──► to_bytes()
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from tandem.sip.address import Address
from tandem.sip.cseq import CSeq
from tandem.sip.errors import BadMessage, RemoteFault, TooLarge, UnsupportedVersion
from tandem.sip.grammar import TOKEN_RE, VERSION_RE, split_list
from tandem.sip.limits import MAX_HEADERS, MAX_LINE, MAX_MESSAGE, MAX_VIAS
from tandem.sip.uri import Uri
from tandem.sip.via import Via

# §7.3.3 and the registry's later compact forms
COMPACT_FORMS: Final = {
    "a": "accept-contact", "b": "referred-by", "c": "content-type", "d": "request-disposition",
    "e": "content-encoding", "f": "from", "i": "call-id", "j": "reject-contact",
    "k": "supported", "l": "content-length", "m": "contact", "n": "identity-info",
    "o": "event", "r": "refer-to", "s": "subject", "t": "to", "u": "allow-events",
    "v": "via", "x": "session-expires", "y": "identity",
}  # fmt: skip

_FOLD_RE: Final = re.compile(r"[ \t]*\r\n[ \t]+")
_LINE_END_RE: Final = re.compile(r"\r\n(?![ \t])")
_STATUS_LINE_RE: Final = re.compile(r"SIP/2\.0 ([1-6][0-9][0-9]) ?(.*)", re.IGNORECASE | re.DOTALL)

# "MUST contain exactly one": these may not be repeated (§20, §7.3.1)
_SINGLE: Final = ("from", "to", "call-id", "cseq", "max-forwards", "content-length")
_MANDATORY: Final = ("via", "from", "to", "call-id", "cseq")


def header_key(name: str) -> str:
    """The one spelling by which headers are looked up: lower case, compact forms expanded."""
    key = name.rstrip(" \t").lower()
    return COMPACT_FORMS.get(key, key)


# Names as nearly all messages spell them, so that most lines cost one look-up.
_KEYS: Final = {
    spelling: header_key(spelling)
    for name in (
        "Via From To Call-ID CSeq Contact Max-Forwards Content-Length Content-Type Route "
        "Record-Route Path Expires User-Agent Server Allow Supported Require Authorization "
        "Proxy-Authorization WWW-Authenticate Proxy-Authenticate Accept Event Subject Date "
        "Session-Expires Min-SE RSeq RAck Allow-Events Refer-To Referred-By Replaces Reason "
        "P-Asserted-Identity Privacy Warning Retry-After Min-Expires Subscription-State"
    ).split()
    for spelling in (name, name.lower())
} | {short: long for short, long in COMPACT_FORMS.items()}


class Message:
    """What requests and responses share. Header names in arguments are in lower case."""

    __slots__ = ("_cseq", "_from", "_index", "_to", "_via", "body", "lines", "start_line")

    start_line: str
    lines: list[str]
    body: bytes

    def __init__(self, start_line: str, lines: list[str], body: bytes = b"") -> None:
        self.start_line = start_line
        self.lines = lines
        self.body = body
        self._forget()

    def _forget(self) -> None:
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
        if index is None:
            index = {}
            for number, line in enumerate(self.lines):
                name, colon, _ = line.partition(":")
                key = _KEYS.get(name)
                if key is None:
                    key = header_key(name)
                    if not colon or TOKEN_RE.fullmatch(key) is None:
                        raise BadMessage("Malformed header line")
                found = index.get(key)
                if found is None:
                    index[key] = [number]
                else:
                    found.append(number)
            self._index = index
        return index

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
        line = f"{name}: {value}"
        if not numbers:
            self.lines.append(line)
        else:
            self.lines[numbers[0]] = line
            for number in reversed(numbers[1:]):
                del self.lines[number]
        self._forget()

    def add(self, name: str, value: str, *, top: bool = False) -> None:
        """Add a line at the end, or above all others."""
        self.lines.insert(0 if top else len(self.lines), f"{name}: {value}")
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
        numbers = self.index.get("content-length")
        length = str(len(self.body))
        if numbers is None:
            self.lines.append(f"Content-Length: {length}")
            self._index = None
        elif line_value(self.lines[numbers[0]]) != length:
            self.lines[numbers[0]] = f"Content-Length: {length}"
        head = "\r\n".join((self.start_line, *self.lines, "", ""))
        return head.encode("utf-8", "surrogateescape") + self.body

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
        if len(self.vias) > MAX_VIAS:
            raise TooLarge("Too many Via values")
        _ = self.from_, self.to, self.cseq, self.max_forwards, self.number("content-length")
        _ = self.call_id


class Request(Message):
    """A request; `uri` is the Request-URI as it came."""

    __slots__ = ("_request_uri", "method", "uri")

    def __init__(self, method: str, uri: str, lines: list[str], body: bytes = b"") -> None:
        super().__init__(f"{method} {uri} SIP/2.0", lines, body)
        self.method = method
        self.uri = uri
        self._request_uri: Uri | None = None

    @property
    def request_uri(self) -> Uri:
        """The Request-URI, parsed; raises BadMessage."""
        if self._request_uri is None:
            self._request_uri = Uri.parse(self.uri)
        return self._request_uri

    def with_uri(self, uri: str) -> Request:
        """A copy with another Request-URI; the lines are copied, the body is shared."""
        return Request(self.method, uri, self.lines.copy(), self.body)

    def check(self) -> None:
        """As for every message; and the Request-URI and CSeq's method (§8.2.1, §20.16)."""
        super().check()
        _ = self.request_uri
        if self.cseq.method != self.method:
            raise BadMessage("CSeq method differs from the request's")

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri}>"


class Response(Message):
    """A response."""

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: str, lines: list[str], body: bytes = b"") -> None:
        super().__init__(f"SIP/2.0 {status} {reason}", lines, body)
        self.status = status
        self.reason = reason

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason}>"


def line_value(line: str) -> str:
    """The value of a header line, unfolded and stripped (§7.3.1)."""
    value = line.partition(":")[2].strip(" \t\r\n")
    return _FOLD_RE.sub(" ", value) if "\r\n" in value else value


class MalformedRequest(BadMessage):
    """A message whose start line is broken; `request` is as much of it as an answer needs."""

    def __init__(self, reason: str, request: Request, status: int = 400) -> None:
        super().__init__(reason)
        self.request = request
        self.status = status


def parse_message(data: bytes) -> Request | Response:
    """Parse one whole message, as a datagram or the stream parser gives it.

    Raises MalformedRequest where an answer is possible, another RemoteFault where there is none.
    """
    if len(data) > MAX_MESSAGE:
        raise TooLarge("Message too large")
    head, separator, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not separator:
        raise BadMessage("No end of headers")
    text = head.decode("utf-8", "surrogateescape")
    folded = "\r\n " in text or "\r\n\t" in text
    lines = _LINE_END_RE.split(text) if folded else text.split("\r\n")
    start_line = lines.pop(0)
    _limit(lines)
    message: Request | Response
    if start_line[:4].upper() == "SIP/":
        message = _response(start_line, lines, body)
    else:
        message = _request(start_line, lines, body)
    _cut_body(message)
    return message


def _limit(lines: Iterable[str]) -> None:
    count = 0
    for line in lines:
        count += 1
        if len(line) > MAX_LINE:
            raise TooLarge("Header line too long")
    if count > MAX_HEADERS:
        raise TooLarge("Too many header lines")


def _request(start_line: str, lines: list[str], body: bytes) -> Request:
    # Request-Line = Method SP Request-URI SP SIP-Version CRLF ; "no LWS other than single SP"
    method, _, rest = start_line.partition(" ")
    uri, _, version = rest.rpartition(" ")
    request = Request(method, uri, lines, body)
    if version != "SIP/2.0" and version.upper() != "SIP/2.0":
        if VERSION_RE.fullmatch(version):
            raise MalformedRequest("Version Not Supported", request, UnsupportedVersion.status)
        raise MalformedRequest("Malformed request line", request)
    if not uri or " " in uri or "\t" in uri or TOKEN_RE.fullmatch(method) is None:
        raise MalformedRequest("Malformed request line", request)
    return request


def _response(start_line: str, lines: list[str], body: bytes) -> Response:
    match = _STATUS_LINE_RE.fullmatch(start_line)
    if match is None:
        raise BadMessage("Malformed status line")
    response = Response(int(match[1]), match[2], lines, body)
    response.start_line = start_line
    return response


def _cut_body(message: Request | Response) -> None:
    """§18.3: over UDP what follows the announced body is thrown away, and a shorter one than
    announced is an error. The stream parser hands over bodies that fit already."""
    try:
        length = message.number("content-length")
    except RemoteFault as fault:
        raise _of(message, fault) from fault
    if length is None or length == len(message.body):
        return
    if length > len(message.body):
        raise _of(message, BadMessage("Content-Length beyond the end of the message"))
    message.body = message.body[:length]


def _of(message: Request | Response, fault: RemoteFault) -> RemoteFault:
    if isinstance(message, Request):
        return MalformedRequest(fault.reason, message, fault.status)
    return fault
