"""The command `tandemctl` as an operator runs it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any, Self

SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


class Tandemctl:
    """Runs the command with these settings (TANDEM_GRPC_URL, TANDEM_TOKEN, …)."""

    def __init__(self, **settings: str) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("TANDEM_")}
        self._env = kept | settings

    async def __call__(self, *arguments: str, given: str = "") -> Ran:
        """Run it to its end; `given` is its standard input."""
        process = await self._start(arguments)
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate(given.encode())
        assert process.returncode is not None
        assert b"Traceback" not in err, err.decode()
        return Ran(process.returncode, out.decode(), err.decode())

    async def follow(self, *arguments: str) -> Following:
        """Start it; it goes on until `stop`."""
        return Following(await self._start((*arguments, "--json")))

    async def _start(self, arguments: tuple[str, ...]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tandemctl", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._env,
        )


class Following:
    """`tandemctl events tail --json` under way."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        """What came so far."""

    async def until(self, kind: str, **fields: object) -> dict[str, Any]:
        """Read on until an event of this type with these fields at its top or in its data."""
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS):
            while line := await self.process.stdout.readline():
                event: dict[str, Any] = json.loads(line)
                self.events.append(event)
                known = {**event.get("data", {}), **event}
                if event.get("type") == kind and fields.items() <= known.items():
                    return event
        raise AssertionError(f"the stream ended before {kind}: {await self._errors()}")

    async def stop(self) -> str:
        """Ctrl-C. Returns what it said on standard error."""
        self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(SECONDS):
            errors = await self._errors()
            status = await self.process.wait()
        assert status == 130, (status, errors)
        assert "Traceback" not in errors, errors
        return errors

    async def _errors(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
