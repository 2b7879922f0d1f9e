"""From start to a clean stop on SIGTERM or Ctrl-C.

async def main() -> None:
    async with stop_signal() as stop:
        await service.start()
        await stop.wait()
        await bounded(service.stop(), "the service")
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Final

logger = logging.getLogger(__name__)

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
STOP_SECONDS: Final = 10.0
"""How long a clean stop may take: Kubernetes kills after 30 s, people lose patience before."""
GC_THRESHOLDS: Final = (50_000, 20, 50)
"""Live objects made before a collection, and how many collections make an older one. Python's
700 is for programs with few objects: a switch holds millions that stay, and walked them at every
tenth call or so, a third of its CPU time. Cycles are rare here, so little waits for this."""


def settle() -> None:
    """Tell the garbage collector that what exists now stays. To be called once, after start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


@asynccontextmanager
async def stop_signal() -> AsyncIterator[asyncio.Event]:
    """Yield an event that the first SIGTERM or SIGINT sets; a second signal acts as it always
    does, so that a stop that hangs can be broken off."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal() -> None:
        stop.set()
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def stop_signals() -> AsyncIterator[tuple[asyncio.Event, asyncio.Event]]:
    """Yield two events, for what has something to finish first: the first SIGTERM or SIGINT sets
    one, the second sets the other too; a third acts as it always does."""
    loop = asyncio.get_running_loop()
    stop, at_once = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        if not stop.is_set():
            stop.set()
            return
        at_once.set()
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop, at_once
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


async def bounded(stopping: Awaitable[object], what: str, seconds: float = STOP_SECONDS) -> bool:
    """Await a stop. What fails or takes too long is logged and left, so that others stop too.
    Returns whether it was clean."""
    try:
        async with asyncio.timeout(seconds):
            await stopping
    except TimeoutError:
        logger.warning("%s did not stop within %g s", what, seconds)
        return False
    except Exception:
        logger.exception("%s failed while stopping", what)
        return False
    return True
