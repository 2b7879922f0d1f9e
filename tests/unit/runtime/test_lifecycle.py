from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tandem.runtime.lifecycle import bounded, stop_signal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_sets_the_stop_event(number: int) -> None:
    async with stop_signal() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        async with asyncio.timeout(5):
            await stop.wait()


async def test_a_second_signal_acts_as_it_always_does() -> None:
    before = signal.getsignal(signal.SIGINT)
    async with stop_signal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        await stop.wait()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


async def test_a_clean_stop_is_told_from_one_that_fails_or_hangs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        raise RuntimeError("no")

    assert await bounded(asyncio.sleep(0), "a")
    assert not await bounded(fail(), "the failing one")
    assert not await bounded(asyncio.Event().wait(), "the hanging one", seconds=0.01)
    assert "the failing one failed" in caplog.text
    assert "the hanging one did not stop" in caplog.text
