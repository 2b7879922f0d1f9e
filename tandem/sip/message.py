"""SIP messages, parsed as far as somebody asks: RFC 3261 §7.

A message is its start line, its header lines as they came, and its body. Nothing is parsed until
it is asked for, and what nobody changes leaves byte for byte: a line keeps its spelling, its
place and its folds. Text is UTF-8; bytes that are not survive as surrogates (PEP 383).

    parse_message(datagram) ──► Request | Response ──► .via, .cseq, .values("route"), ... (lazy)
                                                  └──► .set(), .add(), .remove() ──► to_bytes()
"""

from __future__ import annotations

import re
from typing import Final

from tandem.sip.errors import BadMessage, RemoteFault, TooLarge, UnsupportedVersion
from tandem.sip.grammar import TOKEN_RE, VERSION_RE
from tandem.sip.headers import Message, line_value
from tandem.sip.limits import MAX_HEADERS, MAX_LINE, MAX_MESSAGE
from tandem.sip.names import COMPACT_FORMS, header_key
from tandem.sip.uri import Uri

__all__ = [
    "COMPACT_FORMS",
    "MalformedRequest",
    "Message",
    "Request",
    "Response",
    "header_key",
    "line_value",
    "parse_message",
]

_STATUS_LINE_RE: Final = re.compile(
    r"SIP/2\.0 ([1-6][0-9][0-9])(?: (.*))?", re.IGNORECASE | re.DOTALL
)


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
        if self.request_uri.headers:
            # "headers" are "not allowed in a Request-URI" (§19.1.1, table 1)
            raise BadMessage("Request-URI with headers")
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


class MalformedRequest(BadMessage):
    """A message whose start line is broken; `request` is as much of it as an answer needs."""

    def __init__(self, reason: str, request: Request, status: int = 400) -> None:
        super().__init__(reason, status)
        self.request = request


def parse_message(data: bytes) -> Request | Response:
    """Parse one whole message, as a datagram or the stream parser gives it.

    Raises MalformedRequest where an answer is possible, another RemoteFault where there is none.
    """
    if len(data) > MAX_MESSAGE:
        raise TooLarge("Message too large")
    if data[:1] in _CRLF:
        data = data.lstrip(_CRLF)
    head, end, body = data.partition(b"\r\n\r\n")
    lines = _lines(head if end else head.rstrip(_CRLF))
    start_line = lines.pop(0)
    message: Request | Response
    if start_line[:4].upper() == "SIP/":
        message = _response(start_line, lines, body)
    else:
        message = _request(start_line, lines, body)
    if not end:
        raise _of(message, BadMessage("No end of headers"))
    _cut_body(message)
    return message


_CRLF: Final = b"\r\n"


def _lines(head: bytes) -> list[str]:
    text = head.decode("utf-8", "surrogateescape")
    lines = text.split("\r\n")
    # A lone CR or LF would be the end of a line to others: a header that we did not see.
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
        raise BadMessage("Bare CR or LF")
    if len(lines) > MAX_HEADERS + 1:
        raise TooLarge("Too many header lines")
    if len(head) > MAX_LINE and max(map(len, lines)) > MAX_LINE:
        raise TooLarge("Header line too long")
    return lines


# The methods that need no look at their characters.
_METHODS: Final = frozenset(
    "INVITE ACK BYE CANCEL REGISTER OPTIONS PRACK UPDATE INFO MESSAGE NOTIFY SUBSCRIBE REFER "
    "PUBLISH".split()
)


def _request(start_line: str, lines: list[str], body: bytes) -> Request:
    # Request-Line = Method SP Request-URI SP SIP-Version CRLF ; "no LWS other than single SP"
    method, _, rest = start_line.partition(" ")
    uri, _, version = rest.rpartition(" ")
    request = Request(method, uri, lines, body)
    if version != "SIP/2.0" and version.upper() != "SIP/2.0":
        if VERSION_RE.fullmatch(version):
            raise MalformedRequest(
                "Version Not Supported", request, UnsupportedVersion.usual_status
            )
        raise MalformedRequest("Malformed request line", request)
    if (
        not uri
        or " " in uri
        or "\t" in uri
        or (method not in _METHODS and TOKEN_RE.fullmatch(method) is None)
    ):
        raise MalformedRequest("Malformed request line", request)
    return request


def _response(start_line: str, lines: list[str], body: bytes) -> Response:
    match = _STATUS_LINE_RE.fullmatch(start_line)
    if match is None:
        raise BadMessage("Malformed status line")
    response = Response(int(match[1]), match[2] or "", lines, body)
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
