"""Runners are started for what is checked, and no more."""

from __future__ import annotations

import asyncio

from services.provisioning.adapters.checks import RunnerChecks
from tandem.dialplan.script import Dialplan, Language, Limits, Problem, Runner
from tandem.dialplan.sysapi import Sys


class FakeRunner(Runner):
    """Finds fault with everything."""

    def __init__(self) -> None:
        self.started = self.stopped = 0

    async def start(self) -> None:
        await asyncio.sleep(0)
        self.started += 1

    async def run(self, dialplan: Dialplan, sys: Sys, limits: Limits) -> None:
        raise AssertionError("nothing is run here")

    async def check(self, source: str) -> list[Problem]:
        assert self.started == 1
        return [Problem(source)]

    async def stop(self) -> None:
        self.stopped += 1


async def test_a_runner_is_started_once_and_when_it_is_needed() -> None:
    python, ruby = FakeRunner(), FakeRunner()
    checks = RunnerChecks({Language.PYTHON: python, Language.RUBY: ruby})
    found = await asyncio.gather(*(checks(Language.PYTHON, str(n)) for n in range(3)))
    assert [problems[0].message for problems in found] == ["0", "1", "2"]
    assert await checks(Language.LINES, "taken as it is") == []
    await checks.stop()
    await checks.stop()
    assert (python.started, python.stopped) == (1, 1)
    assert (ruby.started, ruby.stopped) == (0, 0)
