"""Ten thousand scripts that wait at the same time, on eight processes."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tandem.dialplan.monty import PROCESSES, MontyRunner
from tests.support.dialplans import NotingWorld, run

SCRIPTS = 10_000
CUSTOMERS = 500
AT_A_TIME = 400
"""Beginning: more would be turned away."""


@pytest.fixture
async def runner() -> AsyncIterator[MontyRunner]:
    made = MontyRunner()
    await made.start()
    yield made
    await made.stop()


def _resident() -> int:
    """Kilobytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


async def test_ten_thousand_scripts_wait_and_go_on_where_they_were(runner: MontyRunner) -> None:
    gate = asyncio.Event()
    room = asyncio.Semaphore(AT_A_TIME)
    worlds = [NotingWorld() for _ in range(SCRIPTS)]

    async def begin(number: int) -> asyncio.Task[NotingWorld]:
        world = worlds[number]
        world.gate = gate
        source = f"x = [{number}, req.user]\nr = sys.dial('bob')\nprint(x, r, sys.last_status)"
        async with room:
            task = asyncio.create_task(run(runner, source, world, owner=f"c{number % CUSTOMERS}"))
            await world.dialled.wait()
        return task

    gc.collect()
    before = _resident()
    tasks = await asyncio.gather(*(begin(number) for number in range(SCRIPTS)))
    each = (_resident() - before) / SCRIPTS
    sys.stdout.write(f"\n{SCRIPTS} scripts wait, {each:.1f} kB each\n")
    assert runner.seats.running == 0
    assert len(runner.workers) >= PROCESSES

    other = asyncio.create_task(run(runner, "print('meanwhile')", owner="somebody else"))
    assert (await other).logs == ["meanwhile"]
    for task in tasks[:100]:  # callers who give up
        task.cancel()
    gate.set()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(end, asyncio.CancelledError) for end in ends) == 100
    for number, world in enumerate(worlds[100:], start=100):
        assert world.logs == [f"[{number}, '2127'] failed 486"]
    assert (runner.seats.running, runner.seats.waiting) == (0, 0)
