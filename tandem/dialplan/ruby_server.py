"""The parent's side of `ruby_forks`: its process, and a connection for each run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections import deque
from pathlib import Path
from typing import Final

from tandem.dialplan.ruby_frames import (
    ENDED,
    FORK,
    FRAME,
    KILL,
    LOST,
    MAX_FRAME_BYTES,
    ORDER,
    SLOW,
    TOO_MUCH,
)

MAX_RUNS: Final = 250
"""At once. A run that waits holds about 3 MB and one process."""
SPARES: Final = 4
"""Forks made beforehand: a new process gets its first turn late on a busy machine."""
START_SECONDS: Final = 60.0
"""Until the process must be ready; it takes a third of a second on an idle machine."""
END_SECONDS: Final = 5.0
"""Until we must have heard how a run ended whose connection is closed."""


def _environment() -> dict[str, str]:
    """What Python needs, and none of the secrets that a service is told this way."""
    needed = {"LD_LIBRARY_PATH", "PYTHONHOME"} & os.environ.keys()
    return {name: os.environ[name] for name in needed} | {"PYTHONPATH": os.pathsep.join(sys.path)}


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Overloaded(Exception):
    """No further run can be had now."""

    def __init__(self, text: str = "too many Ruby dialplans run at once on this server") -> None:
        super().__init__(text)


class Connection:
    """One fork, from here."""

    def __init__(self, server: RubyServer, number: int) -> None:
        self._server = server
        self.number = number
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """How its process ended: an exit code, or a signal with a minus."""

    async def attach(self, end: socket.socket) -> None:
        self._reader, self._writer = await asyncio.open_connection(sock=end)

    def send(self, kind: bytes, data: bytes) -> None:
        """Say something to it."""
        self._writer.write(FRAME.pack(kind, len(data)) + data)

    async def receive(self) -> tuple[bytes, bytes]:
        """What comes of it: kind and text."""
        try:
            kind, size = FRAME.unpack(await self._reader.readexactly(FRAME.size))
            if size > MAX_FRAME_BYTES:
                return TOO_MUCH, b""
            return kind, await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError):
            return LOST, b""

    async def exit_status(self) -> int:
        """How it ended, once it has; 0 if that is not heard in time."""
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(self.ended), END_SECONDS)
        return 0

    def stand_back(self) -> None:
        """Have it leave the processor to others from now on."""
        self._server.slow(self.number)

    def close(self) -> None:
        """End it, wherever it is."""
        self.drop()
        self._server.kill(self.number)

    def drop(self) -> None:
        """Have no more to do with it."""
        self._writer.close()


class RubyServer:
    """Starts the process when it is first needed, and again should it be lost."""

    def __init__(self, compiled: Path) -> None:
        self._compiled = compiled
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._watch: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._ordering = asyncio.Lock()
        self._runs: dict[int, Connection] = {}
        self._spares: deque[Connection] = deque()
        self._refilling: asyncio.Task[None] | None = None
        self._last = 0

    @property
    def process_id(self) -> int:
        """Of the process; 0 while there is none."""
        return self._process.pid if self._process and self._control else 0

    @property
    def running(self) -> int:
        """How many runs have not ended."""
        return len(self._runs) - len(self._spares)

    async def open(self) -> Connection:
        """A fork of its own for a run. Raises Overloaded."""
        async with self._starting:
            if self._control is None:
                await self._start()
        if self.running >= MAX_RUNS:
            raise Overloaded
        connection = self._spares.popleft() if self._spares else await self._fork()
        if self._refilling is None or self._refilling.done():
            self._refilling = asyncio.create_task(self._refill())
        return connection

    async def _refill(self) -> None:
        with contextlib.suppress(Overloaded):
            while len(self._spares) < SPARES and self.process_id:
                self._spares.append(await self._fork())

    async def _fork(self) -> Connection:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._last += 1
        connection = Connection(self, self._last)
        self._runs[connection.number] = connection
        try:
            await connection.attach(ours)
            async with self._ordering:
                await self._order_fork(connection.number, theirs.fileno())
        except OSError:
            self._runs.pop(connection.number, None)
            ours.close()
            raise Overloaded from None
        finally:
            theirs.close()
        return connection

    def kill(self, number: int) -> None:
        """End a run's process, if it still is."""
        if number in self._runs:
            with contextlib.suppress(OSError):  # then its closed connection ends it
                self._order(KILL, number)

    def slow(self, number: int) -> None:
        """Have a run's process stand back."""
        if number in self._runs:
            with contextlib.suppress(OSError):
                self._order(SLOW, number)

    async def close(self) -> None:
        """End the process and all forks."""
        for task in (self._refilling, self._watch):
            if task:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            await self._process.wait()

    def _order(self, order: bytes, number: int, passed: int | None = None) -> None:
        if self._control is None:
            raise BrokenPipeError
        passing = [] if passed is None else [passed]
        socket.send_fds(self._control, [ORDER.pack(order, number)], passing)

    async def _order_fork(self, number: int, passed: int) -> None:
        """Wait while the control socket is full, as when hundreds of calls come at once."""
        while True:
            try:
                return self._order(FORK, number, passed)
            except BlockingIOError:
                await self._writable()

    async def _writable(self) -> None:
        control = self._control
        if control is None:
            raise BrokenPipeError
        loop = asyncio.get_running_loop()
        writable = loop.create_future()
        loop.add_writer(control, _settle, writable)
        try:
            await writable
        finally:
            loop.remove_writer(control)

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            command = [
                "-m",
                "tandem.dialplan.ruby_forks",
                str(self._compiled),
                str(theirs.fileno()),
            ]
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_environment(),
            )
        finally:
            theirs.close()
        loop = asyncio.get_running_loop()
        try:
            ready = await asyncio.wait_for(loop.sock_recv(ours, ENDED.size), START_SECONDS)
        except (TimeoutError, OSError):
            ready = b""
        if len(ready) < ENDED.size:
            ours.close()
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            raise Overloaded("Ruby could not be started on this server")
        self._control = ours
        self._watch = asyncio.create_task(self._listen(ours, self._process))

    async def _listen(self, control: socket.socket, process: asyncio.subprocess.Process) -> None:
        """Hear which runs have ended, until the process has."""
        loop = asyncio.get_running_loop()
        rest = b""
        try:
            while data := await loop.sock_recv(control, 4096):
                rest += data
                while len(rest) >= ENDED.size:
                    self._has_ended(*ENDED.unpack_from(rest))
                    rest = rest[ENDED.size :]
        except OSError:
            pass
        finally:
            self._control = None
            control.close()
            self._spares.clear()
            for number, connection in list(self._runs.items()):
                self._has_ended(number, 0)
                connection.drop()
            await process.wait()

    def _has_ended(self, number: int, status: int) -> None:
        connection = self._runs.pop(number, None)
        if connection and not connection.ended.done():
            connection.ended.set_result(status)
