"""Where one leg of a dial string leads: `dest@provider`, a bare provider, `user@domain`, any SIP,
SIPS or TEL URI.

    place    = [ scheme ] [ userinfo "@" ] host [ ":" port ] *( ";" parameter ) [ headers ]
             / "tel:" number *( ";" parameter )
    scheme   = "sip:" / "sips:"                                  ; in any case
    userinfo = user [ ":" password ]                             ; RFC 3261 §25.1, substitutions
    host     = provider / hostname / IPv4address / IPv6reference
    headers  = "?" name "=" value *( "&" name "=" value )        ; substitutions in values

Outside of `<>` a user part holds no `&`, parameters and headers hold neither `&` nor brackets, and
`&` goes on with headers only where `name=` follows. So each character has one meaning, whoever
dials.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tandem.dialplan import substitute
from tandem.dialplan.headers import MAX_HEADERS, HeaderError, header_line
from tandem.dialplan.options import ESCAPED, HOST_RE, USER_CHAR
from tandem.dialplan.scan import Scanner
from tandem.dialplan.substitute import SUBSTITUTION
from tandem.sip.uri import Params, Uri, unescape

_UNRESERVED: Final = r"A-Za-z0-9\-_.!~*'()"
_SCHEME_RE: Final = re.compile(r"(sips?|tel):", re.IGNORECASE)
_PORT_RE: Final = re.compile(r":([0-9]{1,5})(?![0-9])")
# telephone-subscriber: digits with visual separators (RFC 3966 §3)
_NUMBER_RE: Final = re.compile(rf"(?:{SUBSTITUTION}|[0-9A-Fa-f*#+.()\-]|{ESCAPED})++")


def _chars(allowed: str) -> str:
    return rf"(?:{SUBSTITUTION}|(?!\$\{{)[{allowed}]|{ESCAPED})"


@dataclass(frozen=True, slots=True)
class _Grammar:
    """What may stand where: more in `<>` than outside."""

    userinfo: re.Pattern[str]
    param: re.Pattern[str]
    header: re.Pattern[str]

    @classmethod
    def of(cls, ampersand: str, brackets: str) -> _Grammar:
        user = _chars(USER_CHAR + ampersand)
        # password = *( unreserved / escaped / "&" / "=" / "+" / "$" / "," )
        password = _chars(f"{_UNRESERVED}=+$,{ampersand}")
        # paramchar = "[" / "]" / "/" / ":" / "&" / "+" / "$" / unreserved / escaped
        value = _chars(f"{_UNRESERVED}/:+${ampersand}{brackets}")
        # hvalue = *( "[" / "]" / "/" / "?" / ":" / "+" / "$" / unreserved / escaped )
        header = _chars(f"{_UNRESERVED}/?:+${brackets}")
        return cls(
            re.compile(rf"(?P<user>{user}++)(?::(?P<password>{password}*+))?@"),
            re.compile(rf";(?P<name>(?:[{_UNRESERVED}/:+]|{ESCAPED})++)(?:=(?P<value>{value}++))?"),
            re.compile(rf"[?&](?P<name>[A-Za-z0-9\-_.!~*'+]++)=(?P<value>{header}*+)"),
        )


_OPEN: Final = _Grammar.of("", "")
_ENCLOSED: Final = _Grammar.of("&", r"\[\]")


def read_place(scanner: Scanner, enclosed: bool) -> tuple[Uri, bool]:
    """A URI (`sip:` where no scheme is written), and whether its scheme is. Raises
    DialStringError."""
    start, grammar = scanner.at, _ENCLOSED if enclosed else _OPEN
    match = scanner.take(_SCHEME_RE)
    scheme = match[1].lower() if match else "sip"
    made = _tel(scanner, grammar) if scheme == "tel" else _sip(scanner, scheme, grammar)
    fault = substitute.problem(scanner.text[start : scanner.at])
    if fault is not None:
        scanner.fail(fault[1], start + fault[0])
    return made, match is not None


def _tel(scanner: Scanner, grammar: _Grammar) -> Uri:
    number = scanner.take(_NUMBER_RE)
    if number is None:
        scanner.fail("a telephone number is expected behind tel:")
    params = _params(scanner, grammar)
    rest = "".join(f";{name}" if value is None else f";{name}={value}" for name, value in params)
    return Uri("tel", opaque=number[0] + rest)


def _sip(scanner: Scanner, scheme: str, grammar: _Grammar) -> Uri:
    userinfo = scanner.take(grammar.userinfo)
    host = scanner.take(HOST_RE)
    if host is None:
        if scanner.char and scanner.char not in "|&>[":
            refuse_char(scanner)
        what = "a host or provider is expected behind @" if userinfo else "a leg is expected"
        scanner.fail(what)
    return Uri(
        scheme,
        userinfo["user"].replace("#", "%23") if userinfo else None,
        userinfo["password"] if userinfo else None,
        host[0],
        _port(scanner),
        _params(scanner, grammar),
        _headers(scanner, grammar),
    )


def _port(scanner: Scanner) -> int | None:
    at = scanner.at
    match = scanner.take(_PORT_RE)
    if match is None:
        return None
    if not 0 < int(match[1]) <= 65535:
        scanner.fail("a port is a number from 1 to 65535", at + 1)
    return int(match[1])


def _params(scanner: Scanner, grammar: _Grammar) -> Params:
    params = []
    at = scanner.at
    while match := scanner.take(grammar.param):
        if unescape(match["name"]).lower() == "method":
            scanner.fail("a call is always an INVITE", at + 1)  # RFC 3261 §19.1.1
        params.append((match["name"], match["value"]))
        at = scanner.at
    return tuple(params)


def _headers(scanner: Scanner, grammar: _Grammar) -> str:
    start = scanner.at
    count = 0
    while scanner.char == ("&" if count else "?"):
        at = scanner.at
        match = scanner.take(grammar.header)
        if match is None:
            break
        count += 1
        if count > MAX_HEADERS:
            scanner.fail(f"a leg has {MAX_HEADERS} headers at most", at + 1)
        _check_header(scanner, match, at)
    return scanner.text[start : scanner.at]


def _check_header(scanner: Scanner, match: re.Match[str], at: int) -> None:
    if match["name"].lower() == "body":
        scanner.fail("a body can't be given in a URI", at + 1)
    try:
        header_line(match["name"], unescape(match["value"]))
    except HeaderError as error:
        scanner.fail(str(error), at + 1)


_HINTS: Final = {
    "$": "; ${...} may stand in a user part, in the value of a parameter or header, in fd and fu",
    ",": "; a comma separates options in brackets only",
    '"': "; a name for From is given by the option fd",
    "&": "; in a user part write %26",
    ":": "; a scheme is sip:, sips: or tel:",
    "?": "; headers are ?Name=value&Name=value, and @ in a value is %40",
    "@": "; in a user part write %40",
    "[": "; a leg has one pair of brackets, with all of its options",
}


def refuse_char(scanner: Scanner) -> None:
    """Fail because the character here has no meaning here."""
    char = scanner.char
    scanner.fail(f"{char!r} can't stand here{_HINTS.get(char, '')}")
