"""Which header lines go through from one leg of a call to the other, and how.

A line that is not bound to a hop or a dialog passes byte for byte. What names a dialog, a hop, or
a secret between two neighbours stays on its own leg.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from tandem.sip.address import Address
from tandem.sip.build import clean
from tandem.sip.grammar import TOKEN_RE
from tandem.sip.message import Message, Response
from tandem.sip.names import header_key

BOUND: Final = frozenset({
    # the transaction and the dialog
    "via", "from", "to", "call-id", "cseq", "contact", "max-forwards", "content-length", "rack",
    "route", "record-route", "timestamp", "max-breadth",
    # credentials and challenges are for the neighbour alone
    "authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate",
    "authentication-info", "proxy-authentication-info",
    # registration and first-hop business
    "path", "service-route", "proxy-require", "flow-timer", "security-client", "security-server",
    "security-verify",
})  # fmt: skip
"""Keys of the lines that never pass. Everything else does: Supported, Require, Allow, P-*, X-* …"""

OF_THE_BODY: Final = frozenset({
    "content-type", "content-encoding", "content-disposition", "content-language", "content-id",
    "mime-version",
})  # fmt: skip
"""What says something about a body, for where lines pass without it."""

NONE: Final[frozenset[str]] = frozenset()

_TAG_RE: Final = re.compile(r"\s*;\s*tag\s*=\s*[^;,\s]*", re.IGNORECASE)


def passed(message: Message, *, without: Iterable[str] = ()) -> list[str]:
    """The lines that pass, in order within each header."""
    all_lines = message.lines
    lines: list[str] = []
    for key, numbers in message.index.items():
        if key not in BOUND and key not in without:
            for number in numbers:
                lines.append(all_lines[number])
    return lines


def own_lines(lines: Iterable[str], *, also: frozenset[str] = NONE) -> list[str]:
    """The lines that a dialplan may add to a message, fit to be sent. Left out is what is no header
    line, and what belongs to a hop or a dialog, but for the keys in `also`."""
    kept = []
    for line in lines:
        name, colon, _ = line.partition(":")
        key = header_key(name)
        if colon and TOKEN_RE.fullmatch(name.rstrip()) and (key not in BOUND or key in also):
            kept.append(clean(line))
    return kept


def retagged(value: str, tag: str) -> str:
    """A From or To value with this tag ("" for none) in place of its own. Raises BadMessage."""
    head, bracket, params = value.rpartition(">")
    if not bracket or '"' in params:
        address = Address.parse(value)
        head, params = f"<{address.uri}", _param_text(address)
    rest = _TAG_RE.sub("", params)
    text = f"{head}>{rest};tag={tag}" if tag else f"{head}>{rest}"
    return clean(text)


def _param_text(address: Address) -> str:
    return "".join(f";{n}" if v is None else f";{n}={v}" for n, v in address.params)


def response_headers(
    response: Response, *, contact: str | None, record_route: list[str], strip: Iterable[str] = ()
) -> list[str]:
    """The lines of an answer that passes: ours where it makes or moves a dialog, else theirs.

    A redirection keeps its Contacts: they are what it says (RFC 3261 §21.3).
    """
    lines = [*record_route]
    if 300 <= response.status < 400:
        lines += response.raw_lines("contact")
    elif contact is not None:
        lines.append(contact)
    lines += passed(response, without=strip)
    return lines


def has_offer(message: Message) -> bool:
    """Whether the body is a session description: then the 2xx holds the answer, and the ACK
    nothing (RFC 3264)."""
    if not message.body:
        return False
    kind = message.first("content-type") or ""
    return kind[:15].lower() == "application/sdp"
