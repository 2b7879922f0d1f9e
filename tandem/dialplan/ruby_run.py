"""One run of a Ruby dialplan: the conversation with its fork."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from typing import Any, Final

from tandem.dialplan import ruby_actions, ruby_names, ruby_request
from tandem.dialplan.budget import Budget, Exceeded
from tandem.dialplan.ruby_frames import ANSWER, DONE, FAULT, JOB, QUESTION, TOO_MUCH
from tandem.dialplan.ruby_names import NoSuchName
from tandem.dialplan.ruby_server import Connection
from tandem.dialplan.script import Dialplan, Limits, Problem, ScriptFault
from tandem.dialplan.seats import Full, Seat, Seats
from tandem.dialplan.sysapi import Sys
from tandem.dialplan.world import DialplanError

HEAP_BYTES: Final = 16 * 1024 * 1024
"""Beside what a script may use: Ruby's heap grows in steps, and is cleaned up late."""
QUEUE_SECONDS: Final = 10.0
"""Longest wait for a turn: its caller hears nothing meanwhile."""
TURN_SECONDS: Final = 60.0
"""Longest time to the next use of `sys`, by the clock. The processor's time ends a script sooner,
unless it gets no processor."""
SHORT_SECONDS: Final = 0.1
"""By the clock; who computes longer leaves the processor to others."""
MAX_TEXT: Final = 2_000
"""Characters of a fault."""


class Run:
    """What `RubyRunner.run` does for one script."""

    def __init__(
        self, seats: Seats, connection: Connection, dialplan: Dialplan, sys: Sys, limits: Limits
    ) -> None:
        self._seats = seats
        self._seat = Seat(dialplan.owner, lambda: None)  # the fork stays as it is without one
        self._connection = connection
        self._source = dialplan.source
        self._sys = sys
        self._limits = limits
        self._budget = Budget(limits, sys.world.now)
        self._line = 0
        """Where the script last used `sys`."""

    async def to_end(self) -> None:
        """From the first line to the last, or to what ends it earlier."""
        try:
            await self._steps()
        except Exceeded as error:
            raise ScriptFault(self._problem(str(error)), error.limit) from None
        finally:
            self._seats.leave(self._seat)

    async def _steps(self) -> None:
        kind, data = await self._turn(JOB, self._first())
        while kind == QUESTION:
            self._seats.park(self._seat)
            kind, data = await self._turn(ANSWER, await self._answer(data))
        if kind == FAULT:
            raise fault(data)
        if kind == TOO_MUCH:
            raise Exceeded("it handed over more than 1 MB at once", "memory")
        if kind != DONE:
            raise await self._lost()

    def _first(self) -> dict[str, object]:
        offset = self._sys.local_now().utcoffset()
        return job(self._source, self._limits) | {
            "now": self._sys.world.now(),
            "utc_offset": int(offset.total_seconds()) if offset else 0,
            "seed": random.getrandbits(62),
            "req": ruby_request.tree(self._sys.req),
        }

    async def _turn(self, kind: bytes, message: dict[str, object]) -> tuple[bytes, bytes]:
        """Have the script compute until it wants something again."""
        began = self._sys.world.now()
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await self._seats.enter(self._seat)
        except (Full, TimeoutError):
            raise Exceeded("too many scripts wait for their turn", "queue") from None
        self._budget.free(self._sys.world.now() - began)
        self._connection.send(kind, encoded(message))
        standing_back = asyncio.get_running_loop().call_later(
            SHORT_SECONDS, self._connection.stand_back
        )
        try:
            async with asyncio.timeout(TURN_SECONDS):
                return await self._connection.receive()
        except TimeoutError:
            raise Exceeded(f"it computed for {TURN_SECONDS:g} s by the clock", "time") from None
        finally:
            standing_back.cancel()

    async def _answer(self, data: bytes) -> dict[str, object]:
        name, self._line, args, named = question(data)
        self._budget.call()
        answer: dict[str, object] = {}
        began = self._sys.world.now()
        try:
            if ruby_names.sleeps(name):
                self._budget.sleep(ruby_actions.seconds(args))
            answer["value"] = await ruby_names.call(self._sys, name, args, named)
        except DialplanError as error:
            answer["error"] = str(error)
        except NoSuchName as error:
            answer["missing"] = str(error)
        if ruby_names.waits(name):
            self._budget.free(self._sys.world.now() - began)
        return answer | {"now": self._sys.world.now()}

    async def _lost(self) -> ScriptFault:
        """Why the process ended without a word."""
        status = await self._connection.exit_status()
        if status == -signal.SIGPROF:
            seconds = self._limits.cpu_seconds
            text = f"it computed for more than {seconds:g} seconds without using sys"
            return ScriptFault(self._problem(text), "time")
        if status == -signal.SIGXCPU:
            seconds = self._limits.total_cpu_seconds
            text = f"it computed for more than {seconds:g} seconds in all"
            return ScriptFault(self._problem(text), "time")
        return ScriptFault(self._problem("its process died, and nobody else's call with it"))

    def _problem(self, text: str) -> Problem:
        """At the last known place."""
        return Problem(text, self._line)


def job(source: str, limits: Limits) -> dict[str, object]:
    """What a fork is told first."""
    return {
        "source": source,
        "now": 0.0,
        "memory_bytes": limits.memory_bytes + HEAP_BYTES,
        "cpu_seconds": limits.cpu_seconds,
        "total_cpu_seconds": limits.total_cpu_seconds,
    }


def encoded(value: object) -> bytes:
    """JSON. Half a character (a lone surrogate) becomes a question mark."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def question(data: bytes) -> tuple[str, int, list[object], dict[str, object]]:
    """What a script asks. It may have written that itself, so nothing is believed."""
    match _decoded(data):
        case [str(name), int(line), list(args), dict(named)]:
            return name[:64], line, args, named
    raise ScriptFault(Problem("it asks for what makes no sense"))


def fault(data: bytes) -> ScriptFault:
    """How a script says that it failed."""
    match _decoded(data):
        case [int(line), str(text), str(limit)]:
            return ScriptFault(Problem(text[:MAX_TEXT], line), limit[:16])
    return ScriptFault(Problem("it failed"))


def problems(data: bytes) -> list[Problem]:
    """What a check found."""
    found = _decoded(data)
    problems = []
    for row in found if isinstance(found, list) else ():
        match row:
            case [str(text), int(line), int(column)]:
                problems.append(Problem(text[:MAX_TEXT], line, column))
    return problems


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
