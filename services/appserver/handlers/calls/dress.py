"""How the INVITE of one leg differs from the caller's, by the options of its leg."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from services.appserver.domain.headers import OF_THE_BODY, own_lines
from services.appserver.domain.plan import Target
from tandem.sip.build import clean
from tandem.sip.names import header_key

if TYPE_CHECKING:
    from services.appserver.handlers.calls.side import Side


REPLACES: Final = "Supported: replaces"
"""Phones offer attended transfers only to who says this (RFC 3891 §3)."""


@dataclass(frozen=True, slots=True)
class Dress:
    """What an INVITE has besides what names its dialog and its way."""

    from_value: str
    to_value: str
    """Empty: the target itself."""
    lines: list[str]
    body: bytes


def dressed(side: Side, target: Target, breadth: int = 0) -> Dress:
    """The caller's, but for what the leg's options say. A header that they set takes the place of
    the caller's of that name. `breadth` is its Max-Breadth, 0 for that of its fork."""
    options = target.options
    own = own_lines(options.headers)
    replaced = {_key(line) for line in own}
    if breadth:
        own.append(f"Max-Breadth: {breadth}")
        replaced.add("max-breadth")
    body = side.body
    if options.body is not None:
        body = options.body
        replaced |= OF_THE_BODY
        if options.content_type:
            own.append(f"Content-Type: {clean(options.content_type)}")
    lines = side.lines
    if replaced:
        lines = [line for line in lines if _key(line) not in replaced]
    if options.transfer.ours:
        own.append(REPLACES)
    # providers route by To as often as by the Request-URI, and don't know our domain
    to_value = "" if options.provider else side.to_value
    return Dress(options.from_value or side.from_value, to_value, [*lines, *own], body)


def _key(line: str) -> str:
    return header_key(line.partition(":")[0])
