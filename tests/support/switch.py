"""The real program, started as a user starts it."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.support.api import Api

START_SECONDS: Final = 90.0
STOP_SECONDS: Final = 20.0
ADMIN_PASSWORD: Final = "correct horse battery"
DOMAIN: Final = "example.test"

EVERYWHERE: Final = (
    *("--sip", "127.0.0.1:0", "--sip", "[::1]:0"),
    *("--tls", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--wss", "127.0.0.1:0"),
)
"""Every transport on loopback, ports as the system gives them."""


class Switch:
    """One `tandem local` and its addresses."""

    def __init__(self, data_dir: Path, authority: ssl.SSLContext | None = None) -> None:
        self.data_dir = data_dir
        self.authority = authority
        self.addresses: list[tuple[str, str]] = []
        """Transport and `host:port`, as printed."""
        self.grpc = ""
        """`host:port` of its gRPC server."""
        self.fastagi = ""
        """`host:port` of its FastAGI server, if it has one."""
        self.api = Api("http://invalid.invalid")
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def errors(self) -> Path:
        """What it wrote on stderr."""
        return self.data_dir.with_suffix(".stderr")

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    async def start(
        self, options: Sequence[str] = EVERYWHERE, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start, wait for `ready`, and log in as the administrator."""
        command = [sys.executable, "-m", "services.local", "local"]
        command += ["--data-dir", str(self.data_dir), "--domain", DOMAIN]
        command += ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
        settings = {"TANDEM_ADMIN_PASSWORD": ADMIN_PASSWORD, "TANDEM_RATE_LIMIT": "0"}
        settings |= {"PYTHONUNBUFFERED": "1", **(environment or {})}
        with self.errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *(*command, *options),
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=os.environ | settings,
            )
        self.addresses = []
        base = await asyncio.wait_for(self._read_addresses(), START_SECONDS)
        self._reader = asyncio.create_task(self._read_rest())
        self.api = Api(base, self.authority)
        await self.api.log_in("admin", ADMIN_PASSWORD)

    async def _read_addresses(self) -> str:
        base = ""
        while not (line := await self._line()).startswith("ready"):
            assert line, f"it did not start: {self.errors.read_text()}"
            words = line.split()
            if words[:1] == ["sip"]:
                self.addresses.append((words[1], words[2]))
            elif words[:1] == ["http"]:
                base = words[1]
            elif words[:1] == ["grpc"]:
                self.grpc = words[1]
            elif words[:1] == ["fastagi"]:
                self.fastagi = words[1]
        return base

    async def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode()

    async def _read_rest(self) -> None:
        while await self._line():
            pass

    def address(self, transport: str, *, ipv6: bool = False) -> str:
        """`host:port` of the listener of this transport."""
        return next(a for t, a in self.addresses if t == transport and a.startswith("[") == ipv6)

    async def kill(self) -> None:
        """End it without a warning, as a power cut does."""
        await self.api.close()
        assert self._process is not None
        assert self._reader is not None
        self._process.kill()
        await self._process.wait()
        await self._reader
        self._process = None

    async def stop(self) -> None:
        """SIGTERM; it must end by itself, with status 0 and without a traceback."""
        await self.api.close()
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        await self.ended()

    async def ended(self) -> None:
        """Wait for its end after a signal; as `stop` in what it demands."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            status = await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            status = await process.wait()
        if self._reader is not None:
            await self._reader
        wrote = self.errors.read_text()[-5000:]
        assert "Traceback" not in wrote, wrote
        assert "never retrieved" not in wrote, wrote
        assert status == 0, f"exit status {status}: {wrote}"
