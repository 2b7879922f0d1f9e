"""A dialplan as it is stored, and who runs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tandem.dialplan.sysapi import Sys


class Language(StrEnum):
    """What a dialplan is written in."""

    PYTHON = "python"
    LINES = "lines"
    """`exten => pattern,priority,App(data)`."""
    RUBY = "ruby"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialplan:
    """A dialplan as an appserver needs it."""

    id: str
    owner: str
    name: str
    language: Language
    source: str = field(repr=False)
    version: int = 1
    timezone: str = "UTC"
    """The customer's time zone, an IANA name."""
    max_executions: int = 5
    """Runs at once of the customer's dialplans, over all of them and per appserver."""
    may_email: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use."""

    wall_seconds: float = 300.0
    """From start to end, waiting for answers included, but not while something rings or a callback
    is waited for."""
    longest_seconds: float = 3_600.0
    """From start to end, whatever it waits for."""
    cpu_seconds: float = 2.0
    """Between two calls of `sys`."""
    total_cpu_seconds: float = 10.0
    """From start to end."""
    memory_bytes: int = 8 * 1024 * 1024
    """A script's values may have to be carried to the switch: more would hold up others."""
    recursion: int = 100
    calls: int = 1_000
    """Uses of `sys`."""
    carried_chars: int = 1_000_000
    """Handed over to `sys` in all: carrying costs the switch time, not the script."""
    source_chars: int = 65_536


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of a script and its place; line and column count from 1, 0: unknown."""

    message: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"line {self.line}, column {self.column}: " if self.line else ""
        return place + self.message


class ScriptFault(Exception):
    """The script is wrong, or used more than it may."""

    def __init__(self, problem: Problem, limit: str = "") -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.limit = limit
        """Which limit it exceeded: `time`, `memory`, `depth`, `calls`, `queue` (too many scripts
        wait for their turn), "" for none."""


class Runner(Protocol):
    """Runs dialplans of one language."""

    async def start(self) -> None:
        """Make ready: workers, compiled code."""

    async def run(self, dialplan: Dialplan, sys: Sys, limits: Limits) -> None:
        """Run it to its end. Raises `world.Ended` when nothing is left to do, ScriptFault when it
        is wrong or exceeds a limit. May be cancelled at any time: then the worker is given back
        or ended."""

    async def check(self, source: str) -> list[Problem]:
        """What is wrong with it, before it is ever run."""

    async def stop(self) -> None:
        """End all workers."""
