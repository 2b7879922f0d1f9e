"""Who gives up waiting for a script's process, or for what it computes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from tandem.dialplan.monty import MontyRunner
from tests.support.dialplans import run


@pytest.fixture
async def runner() -> AsyncIterator[MontyRunner]:
    made = MontyRunner(2)
    await made.start()
    yield made
    await made.stop()


async def test_a_run_that_ends_before_a_thread_is_free_takes_no_worker(
    runner: MontyRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    monkeypatch.setattr(runner, "open", lambda *_: opened.append(1))
    gate = threading.Event()
    busy = [runner.crew.do(gate.wait) for _ in range(4)]
    task = asyncio.create_task(run(runner, "print(1)"))
    async with asyncio.timeout(5):
        while not runner.seats.running:  # noqa: ASYNC110  (nothing to wait on)
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.gather(*busy)
    await runner.stop()  # what was given to the crew is done then
    assert opened == []


async def test_a_check_that_nobody_waits_for_keeps_its_place_while_it_computes(
    runner: MontyRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(runner, "_check", lambda _: [gate.wait()])
    checking = asyncio.create_task(runner.check("x = 1"))
    async with asyncio.timeout(5):
        while not runner.seats.running:  # noqa: ASYNC110  (nothing to wait on)
            await asyncio.sleep(0)
        checking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await checking
        assert runner.seats.running == 1
        gate.set()
        while runner.seats.running:  # noqa: ASYNC110  (nor here)
            await asyncio.sleep(0.01)
