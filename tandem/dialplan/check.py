"""What is wrong with a Python dialplan before it is run: syntax, what the interpreter does not
know, names, types against `stub.pyi`, and dial strings that stand in it as they are."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pydantic_monty as monty

from tandem.dialplan import faults, sysapi
from tandem.dialplan.dialstring import DialStringError, parse
from tandem.dialplan.script import Problem

SCRIPT_NAME: Final = "dialplan.py"
MAX_PROBLEMS: Final = 50
INPUTS: Final[dict[str, Any]] = {"only_checked_": True}

_GUARD: Final = "if only_checked_: raise ValueError\n"
"""The checker runs what it has found to be right: this line ends that at once."""

# A text without escapes or line ends, of one line, that is the first argument. Not read as Python,
# for it is anybody's: what is no dial string is looked at when it is dialled.
_DIAL_RE: Final = re.compile(
    r"""^[^#\n]*?\bsys\.dial\(\s*(?P<quote>["'])(?P<text>[^"'\\\n]+)(?P=quote)\s*[,)]""",
    re.MULTILINE,
)


def stub() -> str:
    """The declarations, and the guard's."""
    return f"{sysapi.stub()}\nonly_checked_: bool\n"


def prepared(source: str) -> str:
    """The source as it is checked: one line further down."""
    return _GUARD + source


def too_long(most: int) -> Problem:
    """The source is over the limit."""
    return Problem(f"a dialplan has {most} characters at most")


def dial_strings(source: str) -> list[Problem]:
    """Faults of dial strings that are written out, each at its character."""
    found = []
    for match in _DIAL_RE.finditer(source):
        try:
            parse(match["text"])
        except DialStringError as error:
            start = match.start("text")
            column = start - (source.rfind("\n", 0, start) + 1) + error.position + 1
            line = source.count("\n", 0, start) + 1
            found.append(Problem(f"in the dial string: {error.message}", line, column))
    return found[:MAX_PROBLEMS]


def problems(error: monty.MontyError) -> list[Problem]:
    """The faults in the source as it was before `prepared`; none if only the guard ended it."""
    if isinstance(error, monty.MontyTypingError):
        return _typing(error.display())
    if isinstance(error, monty.MontyRuntimeError | monty.MontySyntaxError):
        found = faults.located(error)
        if found.line == 1 and isinstance(error, monty.MontyRuntimeError):
            return []
        return [Problem(found.message, max(1, found.line - 1) if found.line else 0, found.column)]
    return [Problem("it is too much to check: make it simpler")]


def _typing(text: str) -> list[Problem]:
    found: list[dict[str, Any]] = json.loads(text)
    errors = [d for d in found if d["severity"] in ("error", "fatal")]
    return [_problem(d) for d in errors[:MAX_PROBLEMS]]


def _problem(diagnostic: dict[str, Any]) -> Problem:
    start = diagnostic["location"]
    return Problem(diagnostic["message"], max(1, start["row"] - 1), start["column"])
