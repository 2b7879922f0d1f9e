"""Ruby dialplans in tests."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tandem.dialplan import ruby_module
from tandem.dialplan.ruby import RubyRunner
from tandem.dialplan.script import Language, ScriptFault
from tests.support.dialplans import NotingWorld, run
from tests.support.waiting import eventually


def require_ruby() -> None:
    """Skips the test where `make ruby` has not been run; under CI=true it fails."""
    try:
        ruby_module.installed(ruby_module.home())
    except ruby_module.NotInstalled as missing:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ruby() -> AsyncIterator[RubyRunner]:
    """A runner for all tests of a module: they have to be in the module's loop, too."""
    require_ruby()
    made = RubyRunner()
    await made.start()
    yield made
    await made.stop()


async def run_ruby(
    runner: RubyRunner, source: str, world: NotingWorld | None = None, **others: Any
) -> NotingWorld:
    """Run a Ruby text to its end."""
    return await run(runner, source, world, language=Language.RUBY, **others)


async def fault(runner: RubyRunner, source: str, **others: Any) -> ScriptFault:
    """How a Ruby text fails."""
    with pytest.raises(ScriptFault) as caught:
        await run_ruby(runner, source, **others)
    return caught.value


async def outcome(runner: RubyRunner, source: str, **others: Any) -> str:
    """Run it to its end or its fault; the limit that it exceeded."""
    try:
        await run_ruby(runner, source, **others)
    except ScriptFault as caught:
        return caught.limit
    return ""


async def no_runs(runner: RubyRunner) -> None:
    """Wait until no process of a run is left."""

    async def none() -> bool:
        return runner.running == 0

    await eventually(none, "the end of all runs")
