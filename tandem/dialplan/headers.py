"""Header lines that customers add to what leaves: which names they may use, and with what."""

from __future__ import annotations

from typing import Final

from tandem.sip.grammar import TOKEN_RE
from tandem.sip.names import header_key

RESERVED: Final = frozenset({
    # what makes the transaction, the dialog and the way
    "via", "to", "from", "contact", "cseq", "call-id", "max-forwards", "max-breadth", "route",
    "record-route", "path", "service-route", "rack", "rseq", "timestamp", "proxy-require",
    # what frames or describes the body
    "content-length", "content-type", "content-encoding", "content-disposition", "mime-version",
    # what the switch negotiates, proves or takes over calls with
    "supported", "require", "session-expires", "min-se", "authorization", "proxy-authorization",
    "www-authenticate", "proxy-authenticate", "authentication-info", "proxy-authentication-info",
    "replaces", "target-dialog", "join", "refer-to",
    # what belongs to the first hop, and to registrations
    "flow-timer", "security-client", "security-server", "security-verify", "expires",
    "min-expires",
})  # fmt: skip
"""Keys of the headers that are not for customers: neither scripts' nor providers'."""

HTTP_RESERVED: Final = frozenset({
    "host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer",
    "expect", "keep-alive", "proxy-connection",
})  # fmt: skip
"""Headers that say how an HTTP request is sent: not for customers either."""

MAX_HEADERS: Final = 20
"""Lines that one leg may add."""
MAX_NAME: Final = 64
MAX_VALUE: Final = 1024
"""Characters; a longer one makes a message that no longer fits into a datagram."""


class HeaderError(ValueError):
    """A header can't be added; the text says why."""


def header_line(name: str, value: str) -> str:
    """`Name: value`, checked. Raises HeaderError."""
    name, value = name.strip(" "), value.strip(" ")
    if len(name) > MAX_NAME or TOKEN_RE.fullmatch(name) is None:
        raise HeaderError(f"{name[:MAX_NAME]!r} is no name of a header")
    key = header_key(name)
    if key in RESERVED:
        named = name if key == name.lower() else f"{name} ({key})"
        raise HeaderError(f"header {named} is set by the switch alone")
    if len(value) > MAX_VALUE:
        raise HeaderError(f"the value of header {name} is longer than {MAX_VALUE} characters")
    if not value.isprintable():
        raise HeaderError(f"the value of header {name} has a line break or control character")
    return f"{name}: {value}"


def header_text(line: str) -> str:
    """As `header_line`, for text that is a whole line already."""
    name, colon, value = line.partition(":")
    if not colon:
        raise HeaderError(f"{line[:MAX_NAME]!r} is no header: Name: value is expected")
    return header_line(name, value)
