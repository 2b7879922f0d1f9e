"""One run of a Python dialplan: step by step from one use of `sys` to the next."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
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
        self._moving = asyncio.Lock()
        self._one_at_a_time = threading.Lock()
        self._computing = self._closed = False
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
            # beside: a second cancellation must not keep a worker from being given back
            await asyncio.shield(self._runner.spawn(self._close()))

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
        async with self._moving:
            if self._too_big:
                raise Exceeded("it keeps too much in its variables while it waits", "memory")
            if self._session is None:
                work = self._loading(answer)
            else:
                work = self._going_on(self._step, answer)
            self._computing = True
            step, seconds = await self._runner.crew.do(partial(self._timed, work))
            self._computing = False
            self._step = step
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

    def _timed(self, work: Callable[[], Step]) -> tuple[Step, float]:
        """For the crew."""
        with self._one_at_a_time:
            if self._closed:  # cancelled before a thread was free
                raise Exceeded("it has ended", "")
            began = time.perf_counter()
            step = work()
            return step, time.perf_counter() - began

    def _loading(self, answer: dict[str, Any] | None) -> Callable[[], Step]:
        """On a worker: from the start, or where it was."""
        zone = str(self._sys.local_now().tzinfo)
        if self._stored is not None:
            return partial(self._load, zone, self._stored, answer)
        return partial(self._start, zone, values.inputs(self._sys))

    def _start(self, zone: str, inputs: dict[str, Any]) -> Step:
        """For the crew."""
        session = self._open(zone)
        return session.feed_start(self._source, inputs=inputs, print_callback=self._printed)

    def _load(self, zone: str, stored: bytes, answer: dict[str, Any] | None) -> Step:
        """For the crew."""
        step = self._open(zone).load_snapshot(stored, print_callback=self._printed)
        self._stored = None
        return self._going_on(step, answer)()

    def _open(self, zone: str) -> monty.MontySession:
        try:
            self._session = self._runner.open(self._limits, zone)
        except TimeoutError:
            raise Exceeded("there is no process to run it", "queue") from None
        return self._session

    def _going_on(self, step: Step | None, answer: dict[str, Any] | None) -> Callable[[], Step]:
        """For the crew: answer what it wanted."""
        assert answer is not None
        if isinstance(step, monty.NameLookupSnapshot):
            return partial(step.resume, **answer)
        assert isinstance(step, monty.FunctionSnapshot)
        if not answer:
            return step.resume_not_handled
        result: Any = answer
        return partial(step.resume, result)

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
        self._runner.spawn(self._store())

    async def _store(self) -> None:
        """Give the worker to somebody else, unless the script is going on already."""
        async with self._moving:
            step, session = self._step, self._session
            if self._seat.seated:  # it has another process's place by now, and keeps its own
                return
            if session is None or step is None or isinstance(step, monty.MontyComplete):
                return
            try:
                stored = await self._runner.crew.do(partial(_stored, step, session))
                self._too_big = len(stored) > MAX_STORED
                self._stored = None if self._too_big else stored
            except monty.MontyError:
                self._too_big = True
            finally:
                self._session = None

    async def _close(self) -> None:
        """Leave the worker to others. Cancelled runs come here too, perhaps while theirs computes:
        it does so until its next use of `sys`, or its time is over."""
        async with self._moving:
            try:
                if self._session is not None or self._computing:
                    await self._runner.crew.do(self._end_session)
            finally:
                if self._seat.place is not Place.AWAY or self._seat.seated:
                    self._runner.seats.leave(self._seat)

    def _end_session(self) -> None:
        """For the crew."""
        with self._one_at_a_time:
            self._closed = True
            session, self._session = self._session, None
            if session is not None:
                session.__exit__(None, None, None)


def _stored(
    step: monty.FunctionSnapshot | monty.NameLookupSnapshot | monty.FutureSnapshot,
    session: monty.MontySession,
) -> bytes:
    """For the crew: a script's state, and its worker is free."""
    try:
        return step.dump()
    finally:
        session.__exit__(None, None, None)
