"""What a script hands over is looked at here before it becomes a header, a request or a mail: a
script may be anybody's. Each check returns the value, or raises DialplanError for the author."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from tandem.dialplan.headers import (
    HTTP_RESERVED,
    MAX_HEADERS,
    MAX_NAME,
    MAX_VALUE,
    RESERVED,
)
from tandem.dialplan.world import DialplanError
from tandem.sip.grammar import TOKEN_RE
from tandem.sip.names import header_key

ANSWER_HEADERS: Final = RESERVED - {"contact"}
"""What a redirection may not carry: it names its Contacts."""

WEB_HEADERS: Final = HTTP_RESERVED | {"content-type"}
"""What a script may not set of an HTTP request: the type of its body is told otherwise."""

# Control characters (C0, DEL, C1) and the line ends of Unicode. A tab is one, too.
_CONTROL_RE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LONE_SURROGATE_RE: Final = re.compile(r"[\ud800-\udfff]")

# user = 1*( unreserved / escaped / user-unreserved ) (RFC 3261 §25.1), and `#`, which phones send
_USER_RE: Final = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/#]|%[0-9A-Fa-f]{2}){1,128}")
_HOST_RE: Final = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]"
)
_MIME_RE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}")
_MAIL_RE: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")


def text(value: object, what: str, most: int, *, least: int = 0) -> str:
    """A text of `least` to `most` characters, line ends included."""
    if not isinstance(value, str):
        raise DialplanError(f"{what} must be text, not {_kind(value)}")
    if len(value) > most:
        raise DialplanError(f"{what} is too long: {len(value)} characters, {most} at most")
    if len(value) < least:
        raise DialplanError(f"{what} is missing" if not value else f"{what} is too short")
    if _LONE_SURROGATE_RE.search(value):
        raise DialplanError(f"{what} holds half of a character")
    return value


def line(value: object, what: str, most: int, *, least: int = 0) -> str:
    """A text of one line, fit for a header."""
    found = text(value, what, most, least=least)
    control = _CONTROL_RE.search(found)
    if control is not None:
        raise DialplanError(
            f"{what} may not hold line ends or other control characters"
            f" (U+{ord(control.group()):04X} at character {control.start() + 1})"
        )
    return found


def flag(value: object, what: str) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise DialplanError(f"{what} must be True or False, not {_kind(value)}")
    return value


def number(value: object, what: str, least: float, most: float) -> float:
    """A number between these bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DialplanError(f"{what} must be a number, not {_kind(value)}")
    try:
        found = float(value)
    except OverflowError:  # hundreds of digits
        raise DialplanError(f"{what} must be {least:g} to {most:g}") from None
    if not math.isfinite(found):
        raise DialplanError(f"{what} must be a number, not {_kind(value)}")
    if not least <= found <= most:
        raise DialplanError(f"{what} must be {least:g} to {most:g}, not {found:g}")
    return found


def whole(value: object, what: str, least: int, most: int) -> int:
    """A whole number between these bounds."""
    found = number(value, what, least, most)
    if found != int(found):
        raise DialplanError(f"{what} must be a whole number, not {found:g}")
    return int(found)


def header_name(value: object, barred: frozenset[str] = RESERVED) -> str:
    """The name of a header that a script may set."""
    name = line(value, "the header's name", MAX_NAME, least=1)
    if TOKEN_RE.fullmatch(name) is None:
        raise DialplanError(f"{name!r} is no name of a header")
    if header_key(name) in barred:
        raise DialplanError(f"the header {name} is the switch's own and can't be set")
    return name


def header(name: object, value: object, barred: frozenset[str] = RESERVED) -> tuple[str, str]:
    """A header that a script may set."""
    checked = header_name(name, barred)
    return checked, line(value, f"the header {checked}", MAX_VALUE).strip()


def headers(value: object, barred: frozenset[str] = RESERVED) -> tuple[tuple[str, str], ...]:
    """Headers by name, None for none; a list under a name repeats it."""
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise DialplanError(f"headers must be a dict, not {_kind(value)}")
    found: list[tuple[str, str]] = []
    for name, content in value.items():
        for one in content if isinstance(content, list | tuple) else (content,):
            found.append(header(name, one, barred))
            if len(found) > MAX_HEADERS:
                raise DialplanError(f"too many headers: {MAX_HEADERS} at most")
    return tuple(found)


def fields(value: object, what: str, most: int) -> tuple[tuple[str, str], ...]:
    """Form fields by name, None for none; all together bounded in size."""
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise DialplanError(f"{what} must be a dict, not {_kind(value)}")
    if len(value) > 100:
        raise DialplanError(f"{what} has too many fields: 100 at most")
    found = tuple((text(k, what, most, least=1), text(v, what, most)) for k, v in value.items())
    if sum(len(name) + len(content) for name, content in found) > most:
        raise DialplanError(f"{what} is too long: {most} characters at most")
    return found


def lines(value: object, what: str, most: int, chars: int) -> tuple[str, ...]:
    """A list of texts of one line each; a single text is a list of one, None of none."""
    if value is None:
        return ()
    items: Sequence[object] = (value,) if isinstance(value, str) else ()
    if isinstance(value, list | tuple):
        items = value
    elif not isinstance(value, str):
        raise DialplanError(f"{what} must be a list of texts, not {_kind(value)}")
    if len(items) > most:
        raise DialplanError(f"{what}: {most} at most")
    return tuple(line(item, what, chars, least=1) for item in items)


def sip_user(value: object, what: str = "the user") -> str:
    """The user part of a SIP URI."""
    user = line(value, what, 128, least=1)
    if _USER_RE.fullmatch(user) is None:
        raise DialplanError(f"{what} {user!r} is no user part of a SIP URI")
    return user


def host(value: object, what: str = "the host") -> str:
    """A host name or an IP address (IPv6 in brackets), without port."""
    name = line(value, what, 253, least=1)
    if _HOST_RE.fullmatch(name) is None:
        raise DialplanError(f"{what} {name!r} is no host name or address")
    return name.lower()


def mime_type(value: object) -> str:
    """`type/subtype`, without parameters."""
    found = line(value, "the content type", 129, least=1)
    if _MIME_RE.fullmatch(found) is None:
        raise DialplanError(f"{found!r} is no content type such as application/sdp")
    return found


def mail_addresses(value: object, most: int) -> tuple[str, ...]:
    """Addressees: a list, or a text with `;` between them."""
    parts = [p.strip() for p in value.split(";")] if isinstance(value, str) else value
    found = lines([p for p in parts if p] if isinstance(parts, list) else parts, "to", most, 320)
    for address in found:
        if _MAIL_RE.fullmatch(address) is None or "=?" in address:  # an encoded word (RFC 2047)
            raise DialplanError(f"{address!r} is no e-mail address")
    if not found:
        raise DialplanError("the mail has no addressee")
    return found


def pattern(value: object) -> str:
    """What a caller's user part looks like, with `*` and `?`; "" for any."""
    found = line(value, "the pattern", 64)
    if not found.isprintable():
        raise DialplanError("the pattern may hold printable characters only")
    return found


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
