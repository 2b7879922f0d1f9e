"""Responses and requests built by the rules of RFC 3261 §8.1.1 and §8.2.6."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from tandem.sip.errors import RemoteFault
from tandem.sip.grammar import clean
from tandem.sip.message import Message, Request, Response, header_key

__all__ = ["REASONS", "clean", "reason_phrase", "record_routes", "response_to"]

REASONS: Final = {
    100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued",
    183: "Session Progress", 199: "Early Dialog Terminated", 200: "OK", 202: "Accepted",
    204: "No Notification", 300: "Multiple Choices", 301: "Moved Permanently",
    302: "Moved Temporarily", 305: "Use Proxy", 380: "Alternative Service", 400: "Bad Request",
    401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required",
    408: "Request Timeout", 410: "Gone", 413: "Request Entity Too Large",
    414: "Request-URI Too Long", 415: "Unsupported Media Type", 416: "Unsupported URI Scheme",
    420: "Bad Extension", 421: "Extension Required", 422: "Session Interval Too Small",
    423: "Interval Too Brief", 430: "Flow Failed", 439: "First Hop Lacks Outbound Support",
    440: "Max-Breadth Exceeded", 480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops",
    484: "Address Incomplete", 485: "Ambiguous", 486: "Busy Here", 487: "Request Terminated",
    488: "Not Acceptable Here", 489: "Bad Event", 491: "Request Pending", 493: "Undecipherable",
    500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway",
    503: "Service Unavailable", 504: "Server Time-out", 505: "Version Not Supported",
    513: "Message Too Large", 600: "Busy Everywhere", 603: "Decline",
    604: "Does Not Exist Anywhere", 606: "Not Acceptable",
}  # fmt: skip


def reason_phrase(status: int) -> str:
    """The usual reason phrase, or one for the class."""
    return REASONS.get(status) or REASONS.get(status // 100 * 100) or "Unknown"


def response_to(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    tag: str | None = None,
    headers: Iterable[str] = (),
    body: bytes = b"",
) -> Response:
    """A response to `request`: its Via, From, To, Call-ID and CSeq lines as they came (§8.2.6.2).

    `tag` is added to To where it has none. `headers` are whole lines, already clean. Works on
    requests whose headers are malformed, too: of those, lines that are none are left out.
    """
    lines = _copied_lines(request)
    if tag is not None:
        _tag(lines, tag)
    if status == 100:
        lines += [line for line in request.lines if line[:10].lower() == "timestamp:"]
    lines.extend(headers)
    response = Response(status, clean(reason) if reason else reason_phrase(status), lines, body)
    response.unsized = not headers
    return response


def _copied_lines(request: Request) -> list[str]:
    lines, index = request.lines, request._index
    if index is not None:
        return [lines[number] for key in _COPIED for number in index.get(key, ())]
    # not looked at yet, perhaps since there is no sense in it: line by line
    with suppress(RemoteFault):
        assert request.index is not None  # an index puts folded lines together
    named = [(line, line.partition(":")) for line in request.lines]
    return [line for line, (name, colon, _) in named if colon and header_key(name) in _COPIED]


def _tag(lines: list[str], tag: str) -> None:
    for number, line in enumerate(lines):
        name = line[:3]
        if name == "To:" or (name != "Via" and header_key(line.partition(":")[0]) == "to"):
            # nearly all that have none end with their URI
            if line[-1:] == ">" or not _TAG_RE.search(line, line.rfind(">") + 1):
                lines[number] = f"{line.rstrip()};tag={tag}"
            return


_COPIED: Final = ("via", "to", "from", "call-id", "cseq")
# A URI may have a `tag` too, so the search begins behind it.
_TAG_RE: Final = re.compile(r";\s*+tag\s*+=", re.IGNORECASE)


def record_routes(message: Message) -> list[str]:
    """The Record-Route lines, which a response that makes a dialog copies (§12.1.1)."""
    return message.raw_lines("record-route")
