"""Line dialplans: each line says for which destinations it is, and what becomes of them.

    plan      = *( line LF )
    line      = [ extension ] [ ";" comment ]           ; in an extension a comment follows its )
    extension = "exten" ( "=>" / "=" ) pattern "," priority "," app
              / "exten" "=~" ( regex / "/" regex "/" [ "i" ] ) "," priority "," app
    pattern   = "_" 1*( "X" / "Z" / "N" / "[" set "]" / any ) [ "." ]
                                                        ; 0-9, 1-9, 2-9, one of the set, itself;
              / 1*any                                   ; . at the end: one or more of any
    priority  = 1*DIGIT / "n"                           ; read, and of no account: order counts
    app       = ( "Dial" / "Switch" ) "(" dial-string ")"
              / "SIPReply(" status [ "," reason ] ")"

The first line in the order of the file whose pattern matches the user part of the request's URI is
run, and no other.

Regular expressions come from customers and run in the appserver's own process, so they are RE2's:
it takes linear time for whatever they are, where Python's `re` (and `regex`, whose time-out would
hold everybody's calls up until then) can take for ever. The price is that RE2 knows no look-around
and no back references; `check` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import re2

from tandem.dialplan.dialstring import DialStringError, parse
from tandem.dialplan.script import Problem
from tandem.dialplan.substitute import plain
from tandem.sip.build import reason_phrase
from tandem.sip.uri import unescape

MAX_LINES: Final = 1_000
"""Extensions of one dialplan: a run looks at each until one matches."""
MAX_LINE: Final = 8_192
"""Characters of a line: a dial string has half of them at most."""
MAX_REGEXES: Final = 100
"""Lines with a regular expression, for what they take of memory and time."""
MAX_PATTERN: Final = 256
"""Characters of a pattern."""
MAX_REGEX_MEMORY: Final = 32_768
"""Bytes of a compiled regular expression (RE2 refuses what needs more): under 1 ms for the worst
of them on the longest number."""
MAX_NUMBER: Final = 128
"""Characters of a user part that patterns are tried on; no longer one matches."""
MAX_PROBLEMS: Final = 50
"""Faults that are told at once."""
MAX_REASON: Final = 128
KEPT: Final = 64
"""Dialplans that are kept ready: those in use, of some hundred kB each."""


@dataclass(frozen=True, slots=True)
class DialApp:
    """Dial this."""

    text: str


@dataclass(frozen=True, slots=True)
class ReplyApp:
    """Answer with this final status."""

    status: int
    reason: str


App = DialApp | ReplyApp


@dataclass(frozen=True, slots=True)
class Line:
    """One extension."""

    number: int
    """Its line, from 1."""
    pattern: str
    """As written."""
    matches: Callable[[str], bool]
    """Whether a number is its own."""
    app: App
    regex: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """A dialplan that was read."""

    lines: tuple[Line, ...]
    problems: tuple[Problem, ...]


def number_of(user: str) -> str:
    """What patterns are tried on: the user part without escapes and parameters."""
    return plain(unescape(user.partition(";")[0]))


@lru_cache(maxsize=KEPT)
def read(source: str) -> Program:
    """Read a dialplan, every fault of it included. Never raises; results are kept and shared."""
    lines: list[Line] = []
    problems: list[Problem] = []
    for number, text in enumerate(source.split("\n"), start=1):
        try:
            line = _Reader(text.rstrip("\r"), number).line()
            if line is not None:
                lines.append(line)
        except _Fault as fault:
            problems.append(Problem(str(fault), number, fault.at + 1))
        too_many = _too_many(lines)
        if too_many:
            problems.append(Problem(too_many, number, 1))
        if too_many or len(problems) >= MAX_PROBLEMS:
            break
    if not lines and not problems:
        problems.append(Problem("there is no line that begins with exten", 1, 1))
    return Program(tuple(lines), tuple(problems))


def _too_many(lines: list[Line]) -> str:
    """Which limit is exceeded, "" for none."""
    if len(lines) > MAX_LINES:
        return f"a dialplan has {MAX_LINES} lines at most"
    if lines and lines[-1].regex and sum(line.regex for line in lines) > MAX_REGEXES:
        return f"a dialplan has {MAX_REGEXES} regular expressions at most"
    return ""


# -- lines -------------------------------------------------------------------------------------


class _Fault(Exception):
    """What is wrong with a line; `at` counts from 0."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


_HEAD_RE: Final = re.compile(r"\s*exten\s*(?P<kind>=>|=~|=)\s*", re.IGNORECASE)
_SLASHED_RE: Final = re.compile(r"/(?P<text>(?:[^/\\]|\\.)*+)/(?P<flags>[a-z]*)\s*,")
_PRIORITY_RE: Final = re.compile(r",\s*(?:[0-9]{1,9}|n)\s*,\s*", re.IGNORECASE)
_APP_RE: Final = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_]*)\s*\(")
_END_RE: Final = re.compile(r"\s*(?:;.*)?")


class _Reader:
    """Reads one line."""

    def __init__(self, text: str, number: int) -> None:
        self._text = text
        self._number = number

    def line(self) -> Line | None:
        """The extension, None for a blank line or a comment. Raises _Fault."""
        text = self._text
        if len(text) > MAX_LINE:
            raise _Fault(f"a line has {MAX_LINE} characters at most", MAX_LINE)
        for at, char in enumerate(text):
            if char != "\t" and not char.isprintable():
                raise _Fault(f"character U+{ord(char):04X} can't stand in a dialplan", at)
        if _END_RE.fullmatch(text):
            return None
        head = _HEAD_RE.match(text)
        if head is None:
            at = len(text) - len(text.lstrip())
            raise _Fault("a line begins with exten =>, exten =~, or ; for a comment", at)
        regex = head["kind"] == "=~"
        matches, pattern, at = self._regex(head.end()) if regex else self._pattern(head.end())
        return Line(self._number, pattern, matches, self._app(at), regex)

    # the pattern ------------------------------------------------------------------------------

    def _regex(self, at: int) -> tuple[Callable[[str], bool], str, int]:
        slashed = _SLASHED_RE.match(self._text, at)
        if slashed is not None:
            text, start, end = slashed["text"], slashed.start("text"), slashed.end() - 1
            flags = slashed["flags"]
            if flags not in ("", "i"):
                raise _Fault("i is the only flag", slashed.start("flags"))
            priority = _PRIORITY_RE.match(self._text, end)
        else:
            priority = _PRIORITY_RE.search(self._text, at)
            end = priority.start() if priority else len(self._text)
            text, start, flags = self._text[at:end].rstrip(), at, ""
        if priority is None:
            raise _Fault("a pattern, a priority and an application are expected", end)
        text = text.replace("\\/", "/") if slashed is not None else text
        return _compiled(text, start, flags), text, priority.end()

    def _pattern(self, at: int) -> tuple[Callable[[str], bool], str, int]:
        priority = _PRIORITY_RE.search(self._text, at)
        if priority is None:
            raise _Fault("a pattern, a priority and an application are expected", at)
        text = self._text[at : priority.start()].strip()
        if not text:
            raise _Fault("a pattern is expected", at)
        matches = _pattern(text, at) if text.startswith("_") else _literal(text)
        return matches, text, priority.end()

    # the application --------------------------------------------------------------------------

    def _app(self, at: int) -> App:
        match = _APP_RE.match(self._text, at)
        if match is None:
            raise _Fault("an application is expected, as Dial(…)", at)
        end = self._closing(match.end())
        rest = _END_RE.fullmatch(self._text, end + 1)
        if rest is None:
            raise _Fault("nothing but a comment may follow", end + 1)
        data, name = self._text[match.end() : end], match["name"].lower()
        if name in ("dial", "switch"):
            return _dial(data, match.end())
        if name == "sipreply":
            return _reply(data, match.end())
        raise _Fault(f"there is no application {match['name']}; Dial, Switch, SIPReply", at)

    def _closing(self, start: int) -> int:
        """Where the bracket that was opened before `start` is closed."""
        depth, quoted = 1, False
        for at in range(start, len(self._text)):
            char = self._text[at]
            if char == '"':
                quoted = not quoted
            elif not quoted and char in "()":
                depth += 1 if char == "(" else -1
                if not depth:
                    return at
        raise _Fault("this bracket is not closed", start - 1)


def _dial(data: str, at: int) -> DialApp:
    try:
        parse(data, asterisk_form=True)
    except DialStringError as error:
        raise _Fault(error.message, at + error.position) from None
    return DialApp(data)


def _reply(data: str, at: int) -> ReplyApp:
    status, _, reason = (part.strip() for part in data.partition(","))
    if not re.fullmatch(r"[3-6][0-9][0-9]", status):
        raise _Fault("a final status from 300 to 699 is expected", at)
    reason = reason.strip('"') or reason_phrase(int(status))
    if len(reason) > MAX_REASON or not reason.isprintable():
        raise _Fault(f"a reason is one line of {MAX_REASON} characters at most", at)
    return ReplyApp(int(status), reason)


# -- patterns ----------------------------------------------------------------------------------

_SETS: Final = {"X": "[0-9]", "Z": "[1-9]", "N": "[2-9]"}


def _literal(text: str) -> Callable[[str], bool]:
    wanted = text.lower()
    return lambda number: number.lower() == wanted


def _pattern(pattern: str, at: int) -> Callable[[str], bool]:
    """A pattern that begins with _. Each of its pieces is one character but the last, so that
    Python's own `re` has nothing to go back for."""
    if len(pattern) > MAX_PATTERN:
        raise _Fault(f"a pattern has {MAX_PATTERN} characters at most", at)
    text, place, end = "", 1, len(pattern)
    while place < end:
        char = pattern[place]
        if char == ".":
            if place + 1 < end:
                raise _Fault(". stands at the end of a pattern; else use exten =~", at + place)
            text += ".+"
        elif char == "[":
            close = pattern.find("]", place)
            text += _set(pattern[place + 1 : max(close, 0)], at + place)
            place = close
        else:
            text += _SETS.get(char.upper(), re.escape(char))
        place += 1
    if not text:
        raise _Fault("a pattern is expected", at)
    match = re.compile(text, re.IGNORECASE).fullmatch
    return lambda number: len(number) <= MAX_NUMBER and match(number) is not None


def _set(inside: str, at: int) -> str:
    """A set: characters and ranges, nothing that means more to a regular expression."""
    escaped = "".join(char if char.isalnum() or char == "-" else f"\\{char}" for char in inside)
    try:
        re.compile(f"[{escaped}]")
    except re.error:
        raise _Fault("a set is [...] with characters and ranges in it, as [1-46]", at) from None
    return f"[{escaped}]"


def _compiled(text: str, at: int, flags: str) -> Callable[[str], bool]:
    if len(text) > MAX_PATTERN:
        raise _Fault(f"a pattern has {MAX_PATTERN} characters at most", at)
    options = re2.Options()
    options.max_mem = MAX_REGEX_MEMORY
    options.log_errors = False
    options.case_sensitive = "i" not in flags
    try:
        search = re2.compile(text, options).search
    except re2.error as error:
        raise _Fault(_words(error), at) from None
    return lambda number: len(number) <= MAX_NUMBER and search(number) is not None


def _words(error: Exception) -> str:
    """What RE2 says of an expression."""
    raw = error.args[0] if error.args else ""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
    if "(?" in text or "escape sequence" in text:
        text += " (look-around and back references are not offered)"
    return f"this regular expression can't be used: {text}"
