"""From what the interpreter says to what the author reads: text, line, column, limit."""

from __future__ import annotations

from typing import Any, Final

import pydantic_monty as monty

from tandem.dialplan.script import Problem, ScriptFault

LIMITS: Final[dict[str, str]] = {"TimeoutError": "time", "MemoryError": "memory"}
"""Exceptions of the interpreter's own limits."""

_UNSUPPORTED: Final = "The monty syntax parser does not yet support "


class Place:
    """Where a script is, as far as is known."""

    def __init__(self, source: str) -> None:
        self._source = source.encode("utf-8", "replace")
        self._line = self._column = 0

    def at(self, step: Any) -> None:
        """It stopped here."""
        start = min(step.position.start, len(self._source))
        before = self._source[:start]
        self._line = before.count(b"\n") + 1
        head = before[before.rfind(b"\n") + 1 :]
        self._column = len(head.decode("utf-8", "replace")) + 1

    def problem(self, text: str) -> Problem:
        """A fault at the last place."""
        return Problem(text, self._line, self._column)


def fault(error: monty.MontyError, place: Place) -> ScriptFault:
    """What ended a script. A loop that calls nothing has no line of its own: then it is that of
    the last use of `sys`."""
    if isinstance(error, monty.MontyCrashedError):
        if error.timed_out:
            return ScriptFault(place.problem("it computed for too long"), "time")
        return ScriptFault(place.problem("its process died, and nobody else's call with it"))
    if not isinstance(error, monty.MontyRuntimeError | monty.MontySyntaxError):
        return ScriptFault(place.problem(str(error)))
    problem = located(error)
    return ScriptFault(problem if problem.line else place.problem(problem.message), _limit(error))


def located(error: monty.MontyRuntimeError | monty.MontySyntaxError) -> Problem:
    """The innermost line of the script that the error comes from."""
    text = str(error)
    if _UNSUPPORTED in text:
        text = f"dialplans can't have {text.partition(_UNSUPPORTED)[2]}"
    frames = error.traceback()
    last = frames[-1] if frames else None
    return Problem(text, last.line, last.column) if last else Problem(text)


def _limit(error: monty.MontyError) -> str:
    raised = error.exception()
    if isinstance(raised, RecursionError):
        return "depth"
    return LIMITS.get(type(raised).__name__, "") if "limit" in str(raised) else ""
