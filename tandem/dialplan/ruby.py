"""Runs Ruby dialplans, each in a fork of a sandboxed interpreter.

`ruby_vm` is the interpreter, `ruby_forks` the process that forks it, `ruby_server` that process as
seen from here, `ruby_frames` what is said between them, `ruby_run` the conversation with one fork,
`ruby_names` what scripts call, `ruby_module` where the interpreter is kept, `ruby_install` how it
comes there.
"""

from __future__ import annotations

import asyncio
import sys as python
from pathlib import Path
from typing import Final

from tandem.dialplan import ruby_module, ruby_names, ruby_run
from tandem.dialplan.ruby_frames import JOB, LOST, PROBLEMS
from tandem.dialplan.ruby_server import Connection, Overloaded, RubyServer
from tandem.dialplan.script import Dialplan, Limits, Problem, ScriptFault
from tandem.dialplan.seats import Seats
from tandem.dialplan.sysapi import Sys

COMPUTING: Final = 8
"""Scripts that compute at once. More than there are cores: scripts that loop shall leave some for
others, and the kernel shares the cores among them."""
CHECK_SECONDS: Final = 10.0
"""For one check, which takes a tenth of one."""
CHECK_MEMORY_BYTES: Final = 128 * 1024 * 1024
"""The parser's tree of a long dialplan is large."""
COMPILE_SECONDS: Final = 300.0


class RubyRunner:
    """`script.Runner` for Ruby, where `make ruby` has installed it. `folder`: where that was."""

    def __init__(self, folder: Path | None = None) -> None:
        self.seats = Seats(COMPUTING)
        self._folder = folder or ruby_module.home()
        self._server: RubyServer | None = None
        self._preparing = asyncio.Lock()

    @property
    def process_id(self) -> int:
        """Of the process that runs are forked from; 0 while there is none."""
        return self._server.process_id if self._server else 0

    @property
    def running(self) -> int:
        """How many forks there are."""
        return self._server.running if self._server else 0

    async def start(self) -> None:
        """Nothing is started before a Ruby dialplan runs: most switches have none."""

    async def stop(self) -> None:
        """End all runs, and the process that they are forked from."""
        server, self._server = self._server, None
        if server:
            await server.close()

    async def run(self, dialplan: Dialplan, sys: Sys, limits: Limits) -> None:
        """See `script.Runner`."""
        if len(dialplan.source) > limits.source_chars:
            raise ScriptFault(_too_long(limits))
        connection = await self._open()
        try:
            await ruby_run.Run(self.seats, connection, dialplan, sys, limits).to_end()
        finally:
            connection.close()

    async def check(self, source: str) -> list[Problem]:
        """What does not parse, and what `sys` does not have."""
        limits = Limits(memory_bytes=CHECK_MEMORY_BYTES)
        if len(source) > limits.source_chars:
            return [_too_long(limits)]
        try:
            connection = await self._open()
        except ScriptFault as fault:
            return [fault.problem]
        job = ruby_run.job(source, limits) | {"check": True, "names": ruby_names.NAMES}
        try:
            connection.send(JOB, ruby_run.encoded(job))
            async with asyncio.timeout(CHECK_SECONDS):
                kind, data = await connection.receive()
        except TimeoutError:
            kind, data = LOST, b""
        finally:
            connection.close()
        if kind != PROBLEMS:
            return [Problem("it could not be checked: it is too involved")]
        return ruby_run.problems(data)

    async def _open(self) -> Connection:
        try:
            return await (self._server or await self._prepare()).open()
        except ruby_module.NotInstalled as error:
            raise ScriptFault(Problem(str(error))) from None
        except Overloaded as error:
            raise ScriptFault(Problem(str(error)), "queue") from None

    async def _prepare(self) -> RubyServer:
        async with self._preparing:
            if self._server is None:
                ruby_module.installed(self._folder)
                code = ruby_module.compiled(self._folder) or await self._compile()
                self._server = RubyServer(code)
            return self._server

    async def _compile(self) -> Path:
        """Only after an update of wasmtime; in a process of its own, since it takes so long."""
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


def _too_long(limits: Limits) -> Problem:
    return Problem(f"a dialplan has {limits.source_chars} characters at most")
