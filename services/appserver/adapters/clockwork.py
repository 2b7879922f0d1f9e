"""The loop's side of time and work: one timer for all deadlines, and the tasks of look-ups."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any

from tandem.sip.deadlines import Deadlines

logger = logging.getLogger(__name__)


class Clockwork:
    """Meets deadlines and keeps tasks. `failed` is told of each one that failed; `clock` is
    steady, in seconds."""

    def __init__(self, clock: Callable[[], float], failed: Callable[[], None]) -> None:
        self.deadlines = Deadlines()
        self._clock = clock
        self._failed = failed
        self._timer: asyncio.TimerHandle | None = None
        self._armed_at = math.inf
        self._tasks: set[asyncio.Task[None]] = set()

    def arm(self) -> None:
        """Move the loop's one timer when something is due before it; if what it was set for is
        cancelled it fires in vain."""
        due = self.deadlines.next()
        if due is None or due >= self._armed_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_at = due
        delay = max(0.0, due - self._clock())
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._armed_at = math.inf
        self.run(self._clock())
        self.arm()

    def run(self, now: float) -> None:
        """Do what is due. One that fails costs itself only: it is counted, the rest go on."""
        while True:
            try:
                self.deadlines.run(now)
                return
            except Exception:
                self._failed()
                logger.exception("a deadline could not be met")

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin a look-up; the deadlines that it makes are met, too."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed()
            logger.error("a look-up failed", exc_info=error)
        if self._armed_at < math.inf:
            self.arm()

    async def stop(self) -> None:
        """Meet no more deadlines, and end the look-ups."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
