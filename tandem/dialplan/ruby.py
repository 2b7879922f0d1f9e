"""Runs Ruby dialplans, each in a fork of a sandboxed interpreter (`ruby_forks`, `ruby_vm`): here
is the conversation with it."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys as python
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final, TypeVar

from tandem.dialplan import ruby_module, ruby_names, ruby_request
from tandem.dialplan.ruby_names import NoSuchName
from tandem.dialplan.ruby_server import Connection, Overloaded, RubyServer
from tandem.dialplan.script import Dialplan, Limits, Problem, ScriptFault
from tandem.dialplan.sysapi import Sys
from tandem.dialplan.world import DialplanError

_T = TypeVar("_T")

CHECK_SECONDS: Final = 10.0
"""For one check, which takes a tenth of it."""
CHECK_MEMORY_BYTES: Final = 128 * 1024 * 1024
"""The parser's tree of a long dialplan is large."""
COMPILE_SECONDS: Final = 300.0
MAX_LINE_CHARS: Final = 2_000
"""Of a fault's text."""


class RubyRunner:
    """Runs Ruby dialplans (`script.Runner`), if `make ruby` has installed the interpreter."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or ruby_module.home()
        self._server: RubyServer | None = None
        self._preparing = asyncio.Lock()

    async def start(self) -> None:
        """Nothing is started before a Ruby dialplan runs: most switches have none."""

    async def stop(self) -> None:
        """End all runs and the process that they are forked from."""
        if self._server:
            await self._server.close()
            self._server = None

    async def run(self, dialplan: Dialplan, sys: Sys, limits: Limits) -> None:
        """Run it to its end (`script.Runner.run`)."""
        if len(dialplan.source) > limits.source_chars:
            raise ScriptFault(Problem(f"longer than {limits.source_chars} characters"))
        connection = await self._open()
        try:
            await _Run(connection, sys, limits).to_the_end(dialplan)
        finally:
            connection.close()

    async def check(self, source: str) -> list[Problem]:
        """What does not parse, and what `sys` does not have."""
        limits = Limits(memory_bytes=CHECK_MEMORY_BYTES)
        if len(source) > limits.source_chars:
            return [Problem(f"longer than {limits.source_chars} characters")]
        try:
            connection = await self._open()
        except ScriptFault as fault:
            return [fault.problem]
        try:
            connection.send(
                _encoded(_job(source, limits) | {"check": True, "names": ruby_names.NAMES})
            )
            async with asyncio.timeout(CHECK_SECONDS):
                kind, data = await connection.receive()
        except TimeoutError:
            kind, data = b"", b""
        finally:
            connection.close()
        return (
            _problems(data)
            if kind == b"p"
            else [Problem("it could not be checked: it is too involved")]
        )

    async def _open(self) -> Connection:
        try:
            return await (self._server or await self._prepare()).open()
        except ruby_module.NotInstalled as error:
            raise ScriptFault(Problem(str(error))) from None
        except Overloaded:
            raise ScriptFault(
                Problem("too many Ruby dialplans run at once on this server"), "runs"
            ) from None

    async def _prepare(self) -> RubyServer:
        async with self._preparing:
            if self._server is None:
                ruby_module.installed(self._folder)
                code = ruby_module.compiled(self._folder) or await self._compile()
                self._server = RubyServer(code)
            return self._server

    async def _compile(self) -> Path:
        """Only after an update of wasmtime; by a process of its own, since it takes so long."""
        process = await asyncio.create_subprocess_exec(
            python.executable, "-m", "tandem.dialplan.ruby_module", str(self._folder)
        )
        try:
            await asyncio.wait_for(process.wait(), COMPILE_SECONDS)
        except TimeoutError:
            process.kill()
        code = ruby_module.compiled(self._folder)
        if code is None:
            raise ruby_module.NotInstalled
        return code


class _Run:
    """One run, from the switch's side."""

    def __init__(self, connection: Connection, sys: Sys, limits: Limits) -> None:
        self._connection = connection
        self._sys = sys
        self._limits = limits
        self._seconds_left = limits.wall_seconds
        self._calls = 0
        self._line = 0
        """Where the script last asked for something."""

    async def to_the_end(self, dialplan: Dialplan) -> None:
        now = self._sys.local_now()
        offset = now.utcoffset()
        job = _job(dialplan.source, self._limits) | {
            "now": now.timestamp(),
            "utc_offset": int(offset.total_seconds()) if offset else 0,
            "seed": random.getrandbits(63),
            "req": ruby_request.tree(self._sys.req),
        }
        self._connection.send(_encoded(job))
        while True:
            kind, data = await self._timed(self._connection.receive())
            if kind == b"d":
                return
            if kind == b"f":
                raise _fault(data)
            if kind != b"c":
                raise await self._lost()
            self._connection.send(_encoded(await self._answer(data)))

    async def _answer(self, data: bytes) -> dict[str, object]:
        name, self._line, args, named = _question(data)
        self._calls += 1
        if self._calls > self._limits.calls:
            raise self._over(f"sys was used more than {self._limits.calls} times", "calls")
        answer: dict[str, object] = {}
        try:
            asked = ruby_names.call(self._sys, name, args, named)
            answer["value"] = await (asked if ruby_names.waits(name) else self._timed(asked))
        except DialplanError as error:
            answer["error"] = str(error)
        except NoSuchName as error:
            answer["missing"] = str(error)
        return answer | {"now": self._sys.world.now()}

    async def _timed(self, doing: Awaitable[_T]) -> _T:
        """Do it in what is left of the wall time."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(self._seconds_left) as limit:
                return await doing
        except TimeoutError:
            if limit.expired():
                raise self._over(
                    f"it took more than {self._limits.wall_seconds:g} s", "time"
                ) from None
            raise
        finally:
            self._seconds_left -= loop.time() - started

    async def _lost(self) -> ScriptFault:
        """Why the process ended without a word."""
        status = await self._connection.exit_status()
        if status == -signal.SIGPROF:
            seconds = self._limits.cpu_seconds
            return self._over(f"it computed for more than {seconds:g} s without using sys", "time")
        return self._over(
            "the interpreter came to an end", "memory" if status == -signal.SIGKILL else ""
        )

    def _over(self, text: str, limit: str) -> ScriptFault:
        where = f", after line {self._line}" if self._line else ""
        return ScriptFault(Problem(text + where, self._line), limit)


def _job(source: str, limits: Limits) -> dict[str, object]:
    return {
        "source": source,
        "now": 0.0,
        "memory_bytes": limits.memory_bytes,
        "cpu_seconds": limits.cpu_seconds,
        "calls": limits.calls,
    }


def _encoded(value: object) -> bytes:
    """JSON, in which half a character (a lone surrogate) is one that stands for none."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def _question(data: bytes) -> tuple[str, int, list[object], dict[str, object]]:
    """What a script asks; it may have written that itself, so nothing is believed."""
    match _decoded(data):
        case [str(name), int(line), list(args), dict(named)]:
            return name[:64], line, args, named
    raise ScriptFault(Problem("it asks for what makes no sense"))


def _fault(data: bytes) -> ScriptFault:
    match _decoded(data):
        case [int(line), str(text), str(limit)]:
            return ScriptFault(Problem(text[:MAX_LINE_CHARS], line), limit[:16])
    return ScriptFault(Problem("it failed"))


def _problems(data: bytes) -> list[Problem]:
    found = _decoded(data)
    rows = found if isinstance(found, list) else []
    return [
        Problem(text[:MAX_LINE_CHARS], line, column)
        for text, line, column in (row for row in rows if isinstance(row, list) and len(row) == 3)
        if isinstance(text, str) and isinstance(line, int) and isinstance(column, int)
    ]


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
