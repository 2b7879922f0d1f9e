"""Dialplans checked by who would run them: implements `ports.Checker`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from tandem.dialplan.linerunner import LineRunner
from tandem.dialplan.monty import MontyRunner
from tandem.dialplan.ruby import RubyRunner
from tandem.dialplan.script import Language, Problem, Runner

PROCESSES: Final = 2
"""Python dialplans that are checked or run dry at once."""


def runners() -> dict[Language, Runner]:
    """Those of this program. None is started."""
    return {
        Language.PYTHON: MontyRunner(PROCESSES),
        Language.LINES: LineRunner(),
        Language.RUBY: RubyRunner(),
    }


class RunnerChecks:
    """Starts a runner when something is first checked by it: most instances never check in most
    languages, and workers cost memory. What has no runner here is taken as it is."""

    def __init__(self, known: Mapping[Language, Runner]) -> None:
        self._runners = known
        self._started: list[Runner] = []
        self._turn = asyncio.Lock()

    async def __call__(self, language: Language, source: str) -> Sequence[Problem]:
        """What is wrong with a source."""
        runner = await self.runner(language)
        return [] if runner is None else await runner.check(source)

    async def runner(self, language: Language) -> Runner | None:
        """The runner of a language, ready; None if there is none."""
        found = self._runners.get(language)
        if found is not None and found not in self._started:
            async with self._turn:
                if found not in self._started:
                    await found.start()
                    self._started.append(found)
        return found

    async def stop(self) -> None:
        """End those that were started."""
        while self._started:
            await self._started.pop().stop()
