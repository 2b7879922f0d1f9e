"""One run of a Python dialplan: step by step from one use of `sys` to the next."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pydantic_monty as monty

from tandem.dialplan import faults, values
from tandem.dialplan.budget import Budget, Exceeded
from tandem.dialplan.script import Dialplan, Limits, ScriptFault
from tandem.dialplan.seats import Full, Place, Seat
from tandem.dialplan.sysapi import WAITING, Sys

if TYPE_CHECKING:
    from tandem.dialplan.monty import MontyRunner

Step = (
    monty.FunctionSnapshot | monty.NameLookupSnapshot | monty.FutureSnapshot | monty.MontyComplete
)

MAX_STORED: Final = 262_144
"""Bytes of a script that waits without a process. As a rule it is four thousand."""
MAX_PRINTED: Final = 65_536
"""Bytes that a script prints."""
QUEUE_SECONDS: Final = 10.0
"""Longest wait for the first process: its caller hears nothing meanwhile."""


class Run:
    """What `MontyRunner.run` does for one script."""

    def __init__(self, runner: MontyRunner, dialplan: Dialplan, sys: Sys, limits: Limits) -> None:
        self._runner = runner
        self._source = dialplan.source
        self._sys = sys
        self._limits = limits
        self._budget = Budget(limits, sys.world.now)
        self._seat = Seat(dialplan.owner, self._take_away)
        self._session: monty.MontySession | None = None
        self._step: Step | None = None
        self._stored: bytes | None = None
        self._too_big = False
        self._one_at_a_time = threading.Lock()
        self._computing = self._ended = False
        """The former while its worker does, and so while that is certain to be its own."""
        self._worker: int | None = None
        self._printed = monty.CollectString(max_bytes=MAX_PRINTED)
        self._shown = 0
        self._place = faults.Place(self._source)

    async def to_end(self) -> None:
        """From the first line to the last, or to what ends it earlier."""
        try:
            await self._steps()
        except monty.MontyError as error:
            await self._show_prints()
            raise faults.fault(error, self._place) from error
        except Exceeded as error:
            raise ScriptFault(self._place.problem(str(error)), error.limit) from error
        finally:
            self._ended = True
            # beside: a second cancellation must not keep a worker from being given back; and by the
            # crew, though the worker is idle: it answers only when the machine lets it
            await asyncio.shield(self._close())

    async def _steps(self) -> None:
        step = await self._turn(None)
        while not isinstance(step, monty.MontyComplete):
            self._place.at(step)
            self._runner.seats.park(self._seat)
            await self._show_prints()
            answer = await self._answer(step)
            step = await self._turn(answer)
        await self._show_prints()

    # -- turns ---------------------------------------------------------------------------------

    async def _turn(self, answer: dict[str, Any] | None) -> Step:
        """Have the script compute until it wants something again."""
        if not self._runner.seats.enter_now(self._seat):
            await self._take_seat()
        step, seconds = await self._runner.crew.do(partial(self._compute, answer))
        self._budget.executed(seconds)
        return step

    async def _take_seat(self) -> None:
        began = self._sys.world.now()
        try:
            async with asyncio.timeout(None if self._seat.begun else QUEUE_SECONDS):
                await self._runner.seats.enter(self._seat)
        except (Full, TimeoutError):
            raise Exceeded("too many scripts wait for their turn", "queue") from None
        self._budget.free(self._sys.world.now() - began)

    # -- what the crew does: one thing at a time, and nothing after the end ---------------------

    def _compute(self, answer: dict[str, Any] | None) -> tuple[Step, float]:
        """On the worker that it has, or on another where it was. What it wants next, and how long
        it computed."""
        with self._one_at_a_time:
            self._check_wanted()  # a worker that it took now would never be given back
            if self._session is None:
                self._load()
            self._computing = True
            try:
                self._check_wanted()
                began = time.perf_counter()
                step = self._step = self._go_on(answer)
                return step, time.perf_counter() - began
            finally:
                self._computing = False

    def _check_wanted(self) -> None:
        """It may be cancelled before a thread or a process is free."""
        if self._ended:
            raise Exceeded("it has ended", "")

    def _load(self) -> None:
        if self._too_big:
            raise Exceeded("it keeps too much in its variables while it waits", "memory")
        zone = str(self._sys.local_now().tzinfo)
        try:
            self._session = self._runner.open(self._limits, zone)
            self._worker = self._session.worker_pid
        except TimeoutError:
            raise Exceeded("there is no process to run it", "queue") from None
        if self._stored is not None:
            self._step = self._session.load_snapshot(self._stored, print_callback=self._printed)
            self._stored = None

    def _go_on(self, answer: dict[str, Any] | None) -> Step:
        step = self._step
        if step is None or answer is None:
            assert self._session is not None
            return self._session.feed_start(
                self._source, inputs=values.inputs(self._sys), print_callback=self._printed
            )
        if isinstance(step, monty.NameLookupSnapshot):
            return step.resume(**answer)
        assert isinstance(step, monty.FunctionSnapshot)
        if not answer:
            return step.resume_not_handled()
        result: Any = answer
        return step.resume(result)

    def _give_away(self) -> None:
        """Leave the worker to somebody else, unless the script is going on already."""
        with self._one_at_a_time:
            step, session = self._step, self._session
            if self._seat.seated:  # it has another process's place by now, and keeps its own
                return
            if session is None or step is None or isinstance(step, monty.MontyComplete):
                return
            try:
                stored = step.dump()
                self._too_big = len(stored) > MAX_STORED
                self._stored = None if self._too_big else stored
            except monty.MontyError:
                self._too_big = True
            finally:
                self._session = None
                session.__exit__(None, None, None)

    def _end(self) -> None:
        """Leave the worker to others."""
        with self._one_at_a_time:
            session, self._session = self._session, None
            if session is not None:
                session.__exit__(None, None, None)

    # -- what it wants -------------------------------------------------------------------------

    async def _answer(self, step: Step) -> dict[str, Any]:
        """What the step is resumed with; {} for "no such thing"."""
        self._budget.call()
        if isinstance(step, monty.NameLookupSnapshot):
            return values.looked_up(self._sys, step)
        if not isinstance(step, monty.FunctionSnapshot):
            raise Exceeded("dialplans run one thing at a time: nothing to await", "")
        self._budget.carried(values.weight(*step.args, *step.kwargs.values()))
        if step.is_os_function:
            self._budget.sleep(values.sleep_seconds(step))
            return dict(await values.asked_of_system(self._sys, step) or {})
        began = self._sys.world.now()
        result = await values.called(self._sys, step)
        if step.function_name in WAITING:
            self._budget.free(self._sys.world.now() - began)
        return dict(result)

    async def _show_prints(self) -> None:
        """Lines that it printed go where `sys.log` goes."""
        output = self._printed.output
        lines, _, rest = output[self._shown :].rpartition("\n")
        self._shown = len(output) - len(rest)
        for line in lines.split("\n"):
            if line:
                await self._sys.log(line)

    # -- coming and going ----------------------------------------------------------------------

    def _take_away(self) -> None:
        self._runner.have_done(self._give_away)

    def _close(self) -> asyncio.Future[None]:
        """Leave worker and seat to others once that is free. One that computes for a run that was
        cancelled is killed: it might do so for seconds. The pool starts another."""
        if self._computing and self._session is not None and self._worker is not None:
            with suppress(ProcessLookupError):
                os.kill(self._worker, signal.SIGKILL)
        closing = self._runner.have_done(self._end)
        closing.add_done_callback(lambda _: self._leave())
        return closing

    def _leave(self) -> None:
        if self._seat.place is not Place.AWAY or self._seat.seated:
            self._runner.seats.leave(self._seat)
