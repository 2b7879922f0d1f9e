"""Runs Python dialplans on pydantic-monty, a Python interpreter that has no files, no network and
no imports of its own, in worker processes.

Scripts say `sys.dial("…")` without await: the interpreter stops at each use of `sys`, the switch
does what was asked for, and the script goes on with the result. While it does, the script is
parked (`seats`), and its state stored when its process is needed: a few kilobytes.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import pydantic_monty as monty

from tandem.dialplan import check, montyrun
from tandem.dialplan.crew import Crew
from tandem.dialplan.script import Dialplan, Limits, Problem, ScriptFault
from tandem.dialplan.seats import Full, Seat, Seats
from tandem.dialplan.sysapi import Sys

logger = logging.getLogger(__name__)

PROCESSES: Final = 8
"""About 1 MB each beside what they share. More than there are cores: scripts that loop shall leave
some for others, and the kernel shares the cores among them."""
TURN_SECONDS: Final = 10.0
"""After which a worker that does not come back is killed, whatever it does: a check of types,
too. Scripts are stopped earlier, from inside."""
SESSIONS: Final = 1_000
"""Scripts that a worker runs before it is replaced, so that nothing it leaks adds up."""
NICENESS: Final = 10
"""By which workers stand back behind the process that signals, so that loops don't slow it."""
SETTLE_SECONDS: Final = 0.1
"""What the pool's threads need to end: if the interpreter ended first, they would abort it."""


class MontyRunner:
    """`script.Runner` for Python. `processes`: how many workers at most."""

    def __init__(self, processes: int = PROCESSES) -> None:
        self.seats = Seats(processes)
        # One for each who computes or waits for a process, and as many who give theirs away.
        self.crew = Crew(2 * processes)
        self._pool = monty.Monty(
            min_processes=1,
            max_processes=processes,
            request_timeout=TURN_SECONDS,
            checkout_timeout=TURN_SECONDS,
            max_checkouts_per_worker=SESSIONS,
        )
        self._started = False
        self.workers: set[int] = set()
        """Process ids of workers that were seen; some may have ended."""
        self._beside: set[asyncio.Future[None]] = set()

    async def start(self) -> None:
        """Start the pool with one worker; others come when they are needed."""
        await self.crew.do(self._pool.__enter__)
        self._started = True

    async def stop(self) -> None:
        """End all workers. Runs are cancelled before."""
        if self._started:
            self._started = False
            await asyncio.gather(*self._beside, return_exceptions=True)
            await self.crew.do(lambda: self._pool.__exit__(None, None, None))
            await self.crew.stop()
            await asyncio.sleep(SETTLE_SECONDS)

    async def run(self, dialplan: Dialplan, sys: Sys, limits: Limits) -> None:
        """See `script.Runner`."""
        if len(dialplan.source) > limits.source_chars:
            raise ScriptFault(check.too_long(limits.source_chars))
        await montyrun.Run(self, dialplan, sys, limits).to_end()

    async def check(self, source: str) -> list[Problem]:
        """See `script.Runner`."""
        limits = Limits()
        if len(source) > limits.source_chars:
            return [check.too_long(limits.source_chars)]
        seat = Seat("", lambda: None)
        try:
            await self.seats.enter(seat)
        except Full as full:
            return [Problem(str(full))]
        checking = self.crew.do(lambda: self._check(source) or check.literals(source))
        # and not when the check is cancelled: its worker is busy until then
        checking.add_done_callback(lambda _: self.seats.leave(seat))
        return await asyncio.shield(checking)

    def _check(self, source: str) -> list[Problem]:
        session = self._pool.checkout(
            script_name=check.SCRIPT_NAME,
            limits=resource_limits(Limits()),
            type_check=True,
            type_check_stubs=check.stub(),
            type_check_format="json",
        )
        with session as opened:
            self.stand_back(opened.worker_pid)
            try:
                step = opened.feed_start(check.prepared(source), inputs=check.INPUTS)
                while isinstance(step, monty.FunctionSnapshot) and step.is_os_function:
                    step = step.resume_not_handled()  # stubs of modules that there are not
            except monty.MontyError as error:
                return check.problems(error)
        return []

    # -- for runs ------------------------------------------------------------------------------

    def open(self, limits: Limits, timezone: str) -> monty.MontySession:
        """A worker's session, for the crew. The seat that the run holds assures that there is a
        worker."""
        policy = monty.OSPolicy(datetime="call_host", sleep="call_host", timezone=timezone)
        session = self._pool.checkout(limits=resource_limits(limits), os_policy=policy)
        opened = session.__enter__()
        self.stand_back(opened.worker_pid)
        return opened

    def have_done(self, work: Callable[[], None]) -> asyncio.Future[None]:
        """Have something done by the crew beside the run, whatever becomes of that."""
        done = self.crew.do(work)
        self._beside.add(done)
        done.add_done_callback(self._beside.discard)
        return done

    def stand_back(self, pid: int | None) -> None:
        """Let a worker, with all its threads, have the processor after the signalling."""
        if pid is None or pid in self.workers:
            return
        if len(self.workers) > 1_000:  # pids of workers long gone
            self.workers.clear()
        self.workers.add(pid)
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.setpriority(os.PRIO_PROCESS, int(thread), NICENESS)


def resource_limits(limits: Limits) -> monty.ResourceLimits:
    """Our limits in Monty's terms."""
    return monty.ResourceLimits(
        max_turn_duration_secs=limits.cpu_seconds,
        max_feed_duration_secs=limits.total_cpu_seconds,
        max_memory=limits.memory_bytes,
        max_recursion_depth=limits.recursion,
        max_suspensions=limits.calls + 100,  # ours is counted before
    )
