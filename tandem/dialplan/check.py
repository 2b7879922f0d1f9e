"""What is wrong with a Python dialplan before it is run: syntax, what the interpreter does not
know, names, types against `stub.pyi`, and arguments of `sys` that are certain to be refused."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any, Final

import pydantic_monty as monty

from tandem.dialplan import certain, faults, sysapi
from tandem.dialplan.script import Problem

SCRIPT_NAME: Final = "dialplan.py"
MAX_PROBLEMS: Final = 50
INPUTS: Final[dict[str, Any]] = {"only_checked_": True}

_GUARD: Final = "if only_checked_: raise ValueError\n"
"""The checker runs what it has found to be right: this line ends that at once."""


def stub() -> str:
    """The declarations, and the guard's."""
    return f"{sysapi.stub()}\nonly_checked_: bool\n"


def prepared(source: str) -> str:
    """The source as it is checked: one line further down."""
    return _GUARD + source


def too_long(most: int) -> Problem:
    """The source is over the limit."""
    return Problem(f"a dialplan has {most} characters at most")


def literals(source: str) -> list[Problem]:
    """Arguments of `sys` that are written out and certain to be refused."""
    return list(islice(certain.faults(source), MAX_PROBLEMS))


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
