"""Threads that wait for the processes of scripts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from tandem.dialplan.crew import Crew


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    made = Crew(2)
    yield made
    await made.stop()


async def test_what_a_thread_has_found_or_raised_is_the_answer(crew: Crew) -> None:
    def fail() -> None:
        raise ValueError("no")

    assert await crew.do(lambda: 1 + 1) == 2
    with pytest.raises(ValueError, match="no"):
        await crew.do(fail)


async def test_one_thread_serves_those_who_come_one_after_the_other(crew: Crew) -> None:
    threads = {await crew.do(threading.get_ident) for _ in range(20)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_a_thread_that_waits_keeps_nobody_waiting_until_all_do(crew: Crew) -> None:
    gates = [threading.Event(), threading.Event()]
    waiting = [crew.do(gate.wait) for gate in gates]
    third = crew.do(threading.get_ident)
    gates[1].set()
    assert await waiting[1] is True
    await third
    assert not waiting[0].done()
    gates[0].set()
    await waiting[0]


async def test_what_nobody_waits_for_any_more_is_done_all_the_same(crew: Crew) -> None:
    gate, done = threading.Event(), threading.Event()

    def work() -> None:
        gate.wait()
        done.set()

    future = crew.do(work)
    future.cancel()
    gate.set()
    assert await crew.do(done.wait) is True


async def test_a_thread_that_cannot_be_begun_is_begun_when_it_can(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="new thread"):
                crew.do(threading.get_ident)
    async with asyncio.timeout(5):
        assert await crew.do(threading.get_ident)


async def test_stopping_waits_for_what_was_given() -> None:
    crew = Crew(1)
    gate, done = threading.Event(), threading.Event()
    crew.do(gate.wait)
    crew.do(done.set)
    stopping = asyncio.create_task(crew.stop())
    gate.set()
    await stopping
    assert done.is_set()
