"""The dial string: whom to ring, at once and one after the other.

    dial-string = attempt *( "|" [ "{" failover "}" ] attempt )
    attempt     = leg *( "&" leg )
    leg         = ( place / "<" place ">" ) [ options ]          ; blanks around each

`place` is in places.py, `options` in options.py, `failover` in failover.py. A line dialplan may
write one leg in the form of Asterisk in place of all that:

    asterisk    = username "," password "," place [ "," [ from ] [ "," [ "," trace ] ] ]
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from tandem.dialplan import substitute
from tandem.dialplan.failover import Policy, read_policy
from tandem.dialplan.options import PLAIN, Options, read_options
from tandem.dialplan.places import read_place, refuse_char
from tandem.dialplan.scan import DialStringError as DialStringError
from tandem.dialplan.scan import Scanner
from tandem.dialplan.substitute import Values, expand, in_uri
from tandem.sip.uri import Uri, unescape

MAX_LENGTH: Final = 4096
"""Characters of a dial string."""
MAX_LEGS: Final = 20
"""Legs of a dial string (ORIGINAL §2)."""
MAX_KNOWN: Final = 512
"""Dial strings that are remembered as they were read, a kilobyte or two each as a rule."""


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials and From of a leg in the form of Asterisk."""

    username: str
    password: str = field(repr=False)
    from_text: str = ""
    """The From header, with substitutions; "" for `sip:username@host`."""


@dataclass(frozen=True, slots=True)
class Leg:
    """Whom one leg rings. The URI's user, parameters and headers may hold substitutions."""

    uri: Uri
    """`sip:` stands in it where no scheme was written; `tel:` URIs have it all in `opaque`."""
    options: Options = PLAIN
    written: bool = False
    """Whether a scheme was written: then a host without user is no bare provider."""
    enclosed: bool = False
    """Whether it stood in `<>`."""
    login: Login | None = None
    position: int = field(default=0, compare=False)
    """Where it begins in the dial string."""

    @property
    def name(self) -> str:
        """The leg as written, options left out."""
        text = str(self.uri) if self.written else str(self.uri)[len("sip:") :]
        return f"<{text}>" if self.enclosed else text

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Names and values of the URI's headers, without escapes."""
        pairs = [each.partition("=") for each in self.uri.headers[1:].split("&") if each]
        return tuple((name, unescape(value)) for name, _, value in pairs)

    def filled(self, values: Values) -> Leg:
        """With the substitutions filled in."""
        uri = self.uri
        return replace(
            self,
            uri=replace(
                uri,
                user=None if uri.user is None else expand(uri.user, values, in_uri),
                password=None if uri.password is None else expand(uri.password, values, in_uri),
                params=tuple(
                    (name, text and expand(text, values, in_uri)) for name, text in uri.params
                ),
                headers=expand(uri.headers, values, in_uri),
                opaque=expand(uri.opaque, values, in_uri),
            ),
            options=self.options.filled(values),
        )

    def __str__(self) -> str:
        if self.login is None:
            return f"{self.name}{self.options}"
        text = f"{self.login.username},***,{self.name}"
        return f"{text},{self.login.from_text}" if self.login.from_text else text


@dataclass(frozen=True, slots=True)
class Attempt:
    """Legs that ring at once."""

    legs: tuple[Leg, ...]
    failover: Policy | None = None
    """Which failures of the attempt before it let it be tried; None: as for the whole dial."""

    def __str__(self) -> str:
        return " & ".join(str(leg) for leg in self.legs)


@dataclass(frozen=True, slots=True)
class DialString:
    """What to ring, attempt by attempt."""

    attempts: tuple[Attempt, ...]
    fixed: bool = field(default=False, compare=False)
    """Whether there is certainly nothing to fill in."""

    @property
    def legs(self) -> tuple[Leg, ...]:
        """All legs of all attempts."""
        return tuple(leg for attempt in self.attempts for leg in attempt.legs)

    def filled(self, values: Values) -> DialString:
        """With the substitutions filled in. Raises DialStringError where nothing is left of a user
        part: `${exten:5}` of a shorter number."""
        if self.fixed:
            return self
        return DialString(
            tuple(
                replace(each, legs=tuple(_filled(self, leg, values) for leg in each.legs))
                for each in self.attempts
            )
        )

    def __str__(self) -> str:
        text = str(self.attempts[0])
        for attempt in self.attempts[1:]:
            policy = "" if attempt.failover is None else f"{{{attempt.failover}}}"
            text += f" |{policy} {attempt}"
        return text


@lru_cache(maxsize=MAX_KNOWN)
def parse(text: str, asterisk_form: bool = False) -> DialString:
    """Read a dial string; with `asterisk_form` also `username,password,destination`. Names of
    substitutions are checked; they are filled in later (`filled`). Raises DialStringError."""
    scanner = Scanner(text)
    if len(text) > MAX_LENGTH:
        scanner.fail(f"a dial string has {MAX_LENGTH} characters at most", MAX_LENGTH)
    scanner.refuse_controls()
    fields = _asterisk_fields(text) if asterisk_form else []
    if fields:
        return DialString((Attempt((_asterisk(text, fields),)),))
    attempts = [Attempt(_legs(scanner, 0))]
    while scanner.skip("|"):
        policy = _policy(scanner)
        before = sum(len(attempt.legs) for attempt in attempts)
        attempts.append(Attempt(_legs(scanner, before), policy))
    if scanner.char:
        refuse_char(scanner)
    # options lose blanks when they are filled in, substitutions or not
    return DialString(tuple(attempts), fixed="${" not in text and "[" not in text)


def one_leg(uri: str) -> str:
    """A URI that somebody outside wrote, as a dial string that rings it and nobody else: in `<>`
    if it needs them, for outside of these `&` ends a leg and another follows. "" if none does."""
    for text in (uri, f"<{uri}>"):
        try:
            legs = parse(text).legs
        except DialStringError:
            continue
        if len(legs) == 1 and legs[0].options == PLAIN:
            return text
    return ""


def _policy(scanner: Scanner) -> Policy | None:
    scanner.blanks()
    start = scanner.at
    if not scanner.skip("{"):
        return None
    policy = read_policy(scanner)
    if not scanner.char:
        scanner.fail("this { is not closed", start)
    if not scanner.skip("}"):
        scanner.fail("here a comma or } is expected")
    return policy


def _legs(scanner: Scanner, before: int) -> tuple[Leg, ...]:
    legs: list[Leg] = []
    while True:
        scanner.blanks()
        if before + len(legs) >= MAX_LEGS:
            scanner.fail(f"a dial string has {MAX_LEGS} legs at most")
        legs.append(_leg(scanner))
        scanner.blanks()
        if not scanner.skip("&"):
            return tuple(legs)


def _leg(scanner: Scanner) -> Leg:
    start = scanner.at
    enclosed = scanner.skip("<")
    uri, written = read_place(scanner, enclosed)
    if enclosed and not scanner.skip(">"):
        if not scanner.char:
            scanner.fail("this < is not closed", start)
        refuse_char(scanner)
    scanner.blanks()
    return Leg(uri, read_options(scanner), written, enclosed, position=start)


def _filled(dial: DialString, leg: Leg, values: Values) -> Leg:
    made = leg.filled(values)
    uri, user = made.uri, made.options.from_user
    number = uri.opaque.partition(";")[0]
    if uri.user == "" or user == "" or (uri.scheme == "tel" and not number):
        text = str(leg)
        raise DialStringError(text, max(0, text.find("${")), "nothing is left of this substitution")
    return made


# -- the form of Asterisk ----------------------------------------------------------------------

_FIELD_RE: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|<[^<>]*+>|[^,"<])*+(?=,|\Z)')
_MAX_FIELDS: Final = 6


def _asterisk_fields(text: str) -> list[tuple[int, int]]:
    """Where the fields of such a leg begin and end; none if it is not one."""
    fields: list[tuple[int, int]] = []
    at = 0
    while at <= len(text) and (match := _FIELD_RE.match(text, at)):
        fields.append(match.span())
        at = match.end() + 1
    if at <= len(text) or not 3 <= len(fields) <= _MAX_FIELDS:
        return []
    plain = re.fullmatch(r"[^@:<\"\[|]+", text[: fields[0][1]])
    return fields if plain and "|" not in text else []


def _asterisk(text: str, fields: list[tuple[int, int]]) -> Leg:
    username, password = (text[slice(*span)].strip() for span in fields[:2])
    start, end = fields[2]
    scanner = Scanner(text[:end], start)
    before, after = fields[1]
    scanner.shown = text[:before] + "*" * (after - before) + text[after:]
    if not username or not password:
        scanner.fail("user name and password are expected", 0)
    scanner.blanks()
    uri, written = read_place(scanner, enclosed=False)
    scanner.blanks()
    if scanner.char == "[":
        scanner.fail("a leg with credentials has no options")
    if scanner.char:
        refuse_char(scanner)
    if len(fields) > 4 and text[slice(*fields[4])].strip():
        scanner.fail("a socket to send from can't be chosen", fields[4][0])
    from_text = text[slice(*fields[3])].strip() if len(fields) > 3 else ""
    if from_text:
        _check_from(scanner, from_text, fields[3][0])
    return Leg(uri, PLAIN, written, login=Login(username, password, from_text), position=start)


def _check_from(scanner: Scanner, text: str, at: int) -> None:
    try:
        substitute.address(text, Values("0", "0", "0", "0", "0"))
    except DialStringError as error:
        scanner.fail(error.message, at + error.position)
