"""`${dst}` and the like: what a dial string takes from the call that it is used for.

A text is read first and filled then. So what a caller puts into his From or the number that he
dials stays inside the user part, parameter, header value or name where the substitution stands:
it can't add a leg, an option or a header line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote as percent

from tandem.dialplan.scan import DialStringError
from tandem.dialplan.world import Incoming
from tandem.sip.address import Address
from tandem.sip.errors import BadMessage
from tandem.sip.grammar import QUOTED, unquote
from tandem.sip.uri import Uri, unescape

# substitution = "${" name [ ":" 1*3DIGIT ] "}"            ; names in any case
# name         = "dst" / "exten" / "fromname" / "fromuriuser" / "fromaor" / "username"
SUBSTITUTION: Final = r'\$\{[^{}"<>|&\[\]\s]*+\}'
SUBSTITUTION_RE: Final = re.compile(SUBSTITUTION)
_INSIDE_RE: Final = re.compile(r"([a-z]+)(?::([0-9]{1,3}))?", re.IGNORECASE)

_UNRESERVED_RE: Final = re.compile(r"[A-Za-z0-9\-_.!~*'()+]*")

NAMES: Final = ("dst", "exten", "exten:N", "fromname", "fromuriuser", "fromaor", "username")
MAX_VALUE: Final = 256
"""Characters that one substitution puts in; a name or number has fewer."""

Escape = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Values:
    """What substitutions stand for: text without escapes, as a caller sent it."""

    dst: str = ""
    """The user part of the Request-URI without its parameters; `exten` is the same."""
    from_name: str = ""
    from_user: str = ""
    from_host: str = ""
    username: str = ""
    """The customer whose dialplan runs."""

    @classmethod
    def of(cls, req: Incoming) -> Values:
        """Those of a request."""
        dst = unescape(req.user.partition(";")[0])
        return cls(dst, req.from_name, unescape(req.from_user), req.from_host, req.customer)

    def get(self, name: str, drop: int = 0) -> str:
        """The value of a name in lower case, these many characters at its beginning dropped.
        Raises KeyError for a name that there is not."""
        aor = f"{self.from_user}@{self.from_host}" if self.from_user else self.from_host
        value = {
            "dst": self.dst, "exten": self.dst, "fromname": self.from_name,
            "fromuriuser": self.from_user, "fromaor": aor, "username": self.username,
        }[name]  # fmt: skip
        return plain(value)[drop : drop + MAX_VALUE]


def plain(value: str) -> str:
    """For a place where any text may stand: a blank in place of what can't be shown."""
    if value.isprintable():
        return value
    return "".join([char if char.isprintable() else " " for char in value])


def in_uri(value: str) -> str:
    """For a part of a URI: all is escaped but what never means anything there (RFC 3261 §25.1,
    `unreserved`, and the `+` of numbers)."""
    if _UNRESERVED_RE.fullmatch(value):
        return value
    return percent(plain(value), safe="-_.!~*'()+")


def problem(text: str) -> tuple[int, str] | None:
    """The place of the first substitution of this text that there is not, and what is wrong."""
    for match in SUBSTITUTION_RE.finditer(text):
        inside = _INSIDE_RE.fullmatch(match[0], 2, len(match[0]) - 1)
        name = inside[1].lower() if inside else ""
        known = name in ("dst", "exten", "fromname", "fromuriuser", "fromaor", "username")
        if inside is None or not known or (inside[2] and name != "exten"):
            offered = ", ".join(f"${{{each}}}" for each in NAMES)
            return match.start(), f"there is no {match[0]}, only {offered}"
    return None


def expand(text: str, values: Values, escape: Escape) -> str:
    """The text with its substitutions filled in, each value passed through `escape`. The text must
    have no `problem`."""

    def value(match: re.Match[str]) -> str:
        inside = _INSIDE_RE.fullmatch(match[0], 2, len(match[0]) - 1)
        assert inside is not None  # `problem` has looked
        return escape(values.get(inside[1].lower(), int(inside[2] or 0)))

    return SUBSTITUTION_RE.sub(value, text) if "${" in text else text


# From of a provider:  [ display-name ] "<" URI ">"  /  URI  /  user "@" host
_FROM_RE: Final = re.compile(
    rf"\s*(?:(?P<display>{QUOTED}\s*+|[^<>\"]*+)<(?P<uri>[^<>\s\"]++)>|(?P<bare>[^<>\s\",]++))\s*"
)


def address(text: str, values: Values) -> Address:
    """An address (the From of a provider) with its substitutions filled in, without parameters.
    Raises DialStringError if it is none."""
    fault = problem(text)
    match = _FROM_RE.fullmatch(text)
    if fault is not None:
        raise DialStringError(text, *fault)
    if match is None or not text.isprintable():
        raise DialStringError(text, 0, 'an address is expected, like "Name" <sip:user@host>')
    uri = match["uri"] or match["bare"]
    at = match.start("uri") if match["uri"] else match.start("bare")
    if not uri[:5].lower().startswith(("sip:", "sips:", "tel:")):
        uri = f"sip:{uri}"
    try:
        made = Uri.parse(expand(uri, values, in_uri))
    except BadMessage as error:
        raise DialStringError(text, at, error.reason) from None
    display = expand(unquote((match["display"] or "").strip()), values, plain)
    return Address(made.bare() if made.is_sip else made, display.strip())
