"""AGI rules: what an Asterisk machine that asks over FastAGI is told to do, by its customer.

    extension  caller  commands
    ---------  ------  ----------------------------------------------
    1*         *       ANSWER
                       GET DATA "enter-number" 5000 10
                       BLINDTRANSFER ${result}
                       STREAM FILE ${transfer} ""

The first rule that fits is the one. Its commands are AGI's own (Asterisk executes them and answers
each), but for two of ours: BLINDTRANSFER and SIGNAL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from services.provisioning.domain.rules import Rule, clean, line
from tandem.bus.hints import pattern_matches

MAX_RULES: Final = 50
"""Rules of one customer."""
MAX_COMMANDS: Final = 100
"""Lines of one rule."""
MAX_COMMAND: Final = 500
"""Characters of one line, before and after substitution: Asterisk takes 2,048 bytes."""
MAX_PATTERN: Final = 64

_WORD: Final = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))(?=\s|$)')
_VARIABLE: Final = re.compile(r"\$\{([a-z0-9_]*)\}")
_ESCAPE: Final = re.compile(r"\\(.)")
# What may stand in a value that came from outside. A caller chooses his own name: with quotes,
# commas or & in it he would add words to a command, or a leg to an application's dial string.
_UNSAFE: Final = re.compile(r"[^\w .+@:*#/-]")


class Own(StrEnum):
    """Commands that we execute ourselves."""

    BLIND_TRANSFER = "BLINDTRANSFER"
    """`BLINDTRANSFER destination [leg]`: the leg is `${calleridname}` unless given."""
    SIGNAL = "SIGNAL"
    """`SIGNAL key body`."""


_WORDS: Final = {Own.BLIND_TRANSFER: (1, 2), Own.SIGNAL: (2, 2)}
"""The fewest and the most words that follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgiRule:
    """One rule. The patterns are those of hints: `?` one character, `*` any number, "" anything."""

    owner: str
    extension: str = ""
    """What `agi_extension` looks like."""
    caller: str = ""
    """What `agi_callerid` looks like."""
    commands: tuple[str, ...] = ()

    def fits(self, values: Mapping[str, str]) -> bool:
        """Whether it is for a call with these `agi_` values (names without `agi_`)."""
        return pattern_matches(self.extension, values.get("extension", "")) and pattern_matches(
            self.caller, values.get("callerid", "")
        )


@dataclass(frozen=True, slots=True)
class Command:
    """One line, ready to be executed."""

    words: tuple[str, ...]
    quoted: tuple[bool, ...]
    """Which of them were written in quotes."""

    @property
    def own(self) -> Own | None:
        """Which of ours it is, None for one of AGI's."""
        name = self.words[0].upper()
        return Own(name) if name in tuple(Own) else None

    def __str__(self) -> str:
        return " ".join(map(_spelt, self.words, self.quoted))


def parse_command(text: str) -> Command:
    """A line's words, substitutions not yet made. Raises ValueError."""
    words, quoted, at = [], [], 0
    text = text.rstrip()
    while at < len(text):
        match = _WORD.match(text, at)
        if match is None:
            raise ValueError(f"a quote is not closed, or stands inside a word: {text[at:][:40]!r}")
        inside, plain = match.groups()
        words.append(_ESCAPE.sub(r"\1", inside) if inside is not None else plain)
        quoted.append(inside is not None)
        at = match.end()
    if not words:
        raise ValueError("there is no command")
    return Command(tuple(words), tuple(quoted))


def expand(command: Command, values: Mapping[str, str]) -> Command:
    """With `${name}` replaced, each within its word: a value never makes two words of one."""

    def value(match: re.Match[str]) -> str:
        return _UNSAFE.sub("", values.get(match[1], ""))

    words = tuple(_VARIABLE.sub(value, word)[:MAX_COMMAND] for word in command.words)
    return Command(words, command.quoted)


def is_comment(text: str) -> bool:
    """Whether a line says nothing: blank, or it begins with `;`."""
    return not text.strip() or text.lstrip().startswith(";")


def _spelt(word: str, quoted: bool) -> str:
    if word and not quoted and not re.search(r'[\s"\\]', word):
        return word
    return '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'


def _commands(value: Sequence[str]) -> tuple[str, ...]:
    if not 0 < len(value) <= MAX_COMMANDS:
        raise ValueError(f"1 to {MAX_COMMANDS} lines")
    checked = line(MAX_COMMAND)
    lines = tuple(str(checked(text)) for text in value)
    for number, text in enumerate(lines, 1):
        if not is_comment(text):
            _check(number, text)
    return lines


def _check(number: int, text: str) -> None:
    try:
        command = parse_command(text)
    except ValueError as fault:
        raise ValueError(f"line {number}: {fault}") from None
    if command.own is not None:
        least, most = _WORDS[command.own]
        if not least <= len(command.words) - 1 <= most:
            counts = f"{least}" if least == most else f"{least} or {most}"
            raise ValueError(f"line {number}: {command.own} takes {counts} words")


_RULES: Final[Mapping[str, Rule]] = {
    "extension": line(MAX_PATTERN),
    "caller": line(MAX_PATTERN),
    "commands": _commands,
}


def agi_rule(owner: str, values: Mapping[str, Any]) -> AgiRule:
    """A rule of these values. Raises Invalid."""
    return AgiRule(owner=owner, **clean(_RULES, values))
