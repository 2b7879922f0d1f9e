"""Options of one leg of a dial string, in brackets behind it: `[dt=5,fu=5551212,tr=n]`.

options = "[" [ option *( "," option ) ] "]"
option  = key "=" value                             ; keys in any case, blanks around both
value   = quoted-string / IPv6reference / *( any but "," "[" "]" DQUOTE )
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from tandem.dialplan import substitute
from tandem.dialplan.scan import Scanner
from tandem.dialplan.substitute import SUBSTITUTION, Values, expand, in_uri, plain
from tandem.sip.grammar import QUOTED, quote, unquote
from tandem.sip.uri import HOST

# user = 1*( unreserved / escaped / user-unreserved / substitution )              RFC 3261 §25.1
# `#` must be escaped (%23) and is written as it is by everybody: it is escaped for them.
USER_CHAR: Final = r"A-Za-z0-9\-_.!~*'()=+$,;?/#"
ESCAPED: Final = r"%[0-9A-Fa-f]{2}"
USER_RE: Final = re.compile(rf"(?:{SUBSTITUTION}|(?!\$\{{)[{USER_CHAR}&]|{ESCAPED})++")
HOST_RE: Final = re.compile(HOST)

MAX_DELAY: Final = 120
"""Seconds (ORIGINAL §2)."""
MAX_RING: Final = 180
"""Seconds: nothing rings longer here."""
MAX_DURATION: Final = 604_800
"""Seconds of a call: a week."""
MAX_DISPLAY: Final = 128
"""Characters of a From display name."""

_KEY_RE: Final = re.compile(r"[^=,\[\]\s\"]*")
_VALUE_RE: Final = re.compile(rf"{QUOTED}|\[[0-9A-Fa-f:.]*\]|[^,\[\]\"]*")


@dataclass(frozen=True, slots=True)
class Options:
    """How one leg differs from a plain one. The text of `from_name` and `from_user` may hold
    substitutions."""

    delay: int = 0
    """`dt`: seconds after the start of its attempt."""
    ring_seconds: int = 0
    """`rt`: longest ring of this leg; 0: as long as its attempt."""
    max_seconds: int = 0
    """`cd`: longest duration of the answered call; 0: no limit of its own."""
    redirect: str = ""
    """`rm`: `a` rings the contacts of a 3xx, `m` leaves them to the dialplan, as "" does."""
    mangle: bool | None = None
    """`ma`: whether private addresses in SDP are replaced; None: as the switch does otherwise."""
    from_name: str | None = None
    """`fd`, unquoted; "" takes the name away, None leaves it."""
    from_user: str | None = None
    """`fu`, escaped as in a URI."""
    from_host: str | None = None
    """`fh`."""
    transfer: str = ""
    """`tr`: what becomes of a REFER, `n p o c d b a`; "" as `p`."""

    def filled(self, values: Values) -> Options:
        """With the substitutions filled in."""
        name, user = self.from_name, self.from_user
        return replace(
            self,
            from_name=None if name is None else expand(name, values, plain).strip()[:MAX_DISPLAY],
            from_user=None if user is None else expand(user, values, in_uri),
        )

    def __str__(self) -> str:
        pairs = [f"{key}={text}" for key, option in OPTIONS.items() if (text := option.show(self))]
        return f"[{','.join(pairs)}]" if pairs else ""


PLAIN: Final = Options()


# -- values ------------------------------------------------------------------------------------

Reader = Callable[[Scanner, str, int], Any]
"""Takes the value and its place; answers the field's value or fails there."""


def _number(least: int, most: int) -> Reader:
    def read(scanner: Scanner, value: str, at: int) -> int:
        number = int(value) if re.fullmatch(r"[0-9]{1,9}", value) else -1
        if not least <= number <= most:
            scanner.fail(f"a whole number of seconds from {least} to {most} is expected", at)
        return number

    return read


def _redirect(scanner: Scanner, value: str, at: int) -> str:
    letter = value.lower()
    if letter in ("r", "n"):
        scanner.fail(
            f"rm={letter} is not offered: a rings the new contacts, and with m the dialplan sees "
            "them and may dial them itself",
            at,
        )
    if letter not in ("a", "m"):
        scanner.fail("a or m is expected", at)
    return letter


def _mangle(scanner: Scanner, value: str, at: int) -> bool:
    if value.lower() not in ("true", "false"):
        scanner.fail("true or false is expected", at)
    return value.lower() == "true"


def _display(scanner: Scanner, value: str, at: int) -> str:
    if len(value) > MAX_DISPLAY:
        scanner.fail(f"a name has {MAX_DISPLAY} characters at most", at + MAX_DISPLAY)
    _refuse_unknown(scanner, value, at)
    return value


def _user(scanner: Scanner, value: str, at: int) -> str:
    match = USER_RE.match(value)
    if match is None or match.end() < len(value):
        end = match.end() if match else 0
        scanner.fail(_no_user(value[end : end + 1]), at + end)
    _refuse_unknown(scanner, value, at)
    return value.replace("#", "%23")


def _no_user(char: str) -> str:
    if not char:
        return "a user part is expected"
    if char == "@":
        return "fu is the user part alone; fh is the host"
    escaped = "".join(f"%{byte:02X}" for byte in char.encode())
    return f"{char!r} can't stand in the user part of a URI; write {escaped}"


def _host(scanner: Scanner, value: str, at: int) -> str:
    if HOST_RE.fullmatch(value) is None:
        scanner.fail("a host name or address is expected", at)
    return value


def _transfer(scanner: Scanner, value: str, at: int) -> str:
    if value.lower() not in ("n", "p", "o", "c", "d", "b", "a"):
        scanner.fail(
            "n (refused), p (passed on), c or b (done by the switch), a (for callers from outside, "
            "too), o (for the caller alone) or d (for the callee alone) is expected",
            at,
        )
    return value.lower()


def _refuse_unknown(scanner: Scanner, value: str, at: int) -> None:
    fault = substitute.problem(value)
    if fault is not None:
        scanner.fail(fault[1], at + fault[0])


# -- the table ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Option:
    """A key: the field it sets, and how its value is read and written."""

    field: str
    read: Reader
    write: Callable[[Any], str] = str

    def show(self, options: Options) -> str:
        """The value's text, "" where it is not set."""
        value = getattr(options, self.field)
        return "" if value == getattr(PLAIN, self.field) else self.write(value)


OPTIONS: Final = {
    "dt": Option("delay", _number(0, MAX_DELAY)),
    "rt": Option("ring_seconds", _number(1, MAX_RING)),
    "cd": Option("max_seconds", _number(1, MAX_DURATION)),
    "rm": Option("redirect", _redirect),
    "ma": Option("mangle", _mangle, lambda value: str(value).lower()),
    "fd": Option("from_name", _display, quote),
    "fu": Option("from_user", _user, lambda value: f'"{value}"' if "," in value else value),
    "fh": Option("from_host", _host),
    "tr": Option("transfer", _transfer),
}
"""All options there are."""


def read_options(scanner: Scanner) -> Options:
    """Read options, if there are any here. Raises DialStringError."""
    start = scanner.at
    if not scanner.skip("["):
        return Options()
    found: dict[str, Any] = {}
    scanner.blanks()
    while not scanner.skip("]"):
        option, value = _option(scanner, found)
        found[option.field] = value
        scanner.blanks()
        if scanner.char == "":
            scanner.fail("this bracket is not closed", start)
        if scanner.char != "]" and not scanner.skip(","):
            scanner.fail("here a comma or ] is expected")
        scanner.blanks()
    return Options(**found)


def _option(scanner: Scanner, found: dict[str, Any]) -> tuple[Option, Any]:
    at = scanner.at
    match = scanner.take(_KEY_RE)
    assert match is not None  # it matches nothing, too
    key = match[0].lower()
    option = OPTIONS.get(key)
    if option is None:
        named = f"there is no option {match[0]!r}" if key else "an option is expected"
        scanner.fail(f"{named}; options are {', '.join(OPTIONS)}", at)
    if option.field in found:
        scanner.fail(f"{key} was given before", at)
    scanner.blanks()
    if not scanner.skip("="):
        scanner.fail(f"= is expected behind {key}")
    scanner.blanks()
    value, at = _value(scanner)
    return option, option.read(scanner, value, at)


def _value(scanner: Scanner) -> tuple[str, int]:
    """The value here and its place, for faults."""
    at = scanner.at
    if scanner.char == '"':
        match = scanner.take(_VALUE_RE)
        if match is None or not match[0]:
            scanner.fail("this quote is not closed", at)
        return unquote(match[0]), at + 1
    match = scanner.take(_VALUE_RE)
    value = match[0].strip(" ") if match else ""
    if not value:
        scanner.fail("a value is expected", at)
    return value, at
