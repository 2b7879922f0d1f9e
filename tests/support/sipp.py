"""SIPp, run on the scenarios of tests/integration/sipp."""

from __future__ import annotations

import asyncio
import csv
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from tests.support.installs import require
from tests.support.ports import free_port
from tests.support.switch import DOMAIN

SCENARIOS: Final = Path(__file__).parents[1] / "integration" / "sipp"
RUN_SECONDS: Final = 90
"""A scenario that takes longer has failed."""

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Result:
    """What SIPp counted."""

    successful: int
    failed: int


@dataclass(slots=True)
class SippPhone:
    """An account and an address that scenarios are run with."""

    folder: Path
    user: str
    password: str
    server: str
    """`host:port` of the switch."""
    transport: str = "u1"
    """SIPp's -t: u1 is UDP, t1 TCP over one connection."""
    port: int = 0
    domain: str = DOMAIN

    def __post_init__(self) -> None:
        self.port = self.port or free_port(self._host)

    @property
    def _host(self) -> str:
        return "::1" if self.server.startswith("[") else "127.0.0.1"

    async def start(
        self, scenario: str, *, callee: str = "", status: int = 0, calls: int = 1, rate: int = 10
    ) -> SippRun:
        """Begin a scenario; `status` is for those with a blank for it."""
        run = SippRun(self.folder / f"sipp-{next(_numbers)}-{scenario}")
        run.folder.mkdir(parents=True)
        path = SCENARIOS / f"{scenario}.xml"
        if status:
            text = path.read_text().replace("@STATUS@", str(status))
            path = run.folder / "scenario.xml"
            path.write_text(text)
        await run.start(
            *("-sf", str(path), "-s", self.user, "-au", self.user, "-ap", self.password),
            *("-i", f"[{self._host}]" if ":" in self._host else self._host, "-p", str(self.port)),
            *("-t", self.transport, "-m", str(calls), "-r", str(rate)),
            *("-key", "domain", self.domain, "-key", "callee", callee),
            self.server,
        )
        return run

    async def run(
        self, scenario: str, *, callee: str = "", status: int = 0, calls: int = 1, rate: int = 10
    ) -> Result:
        """Run a scenario to its end; it must succeed."""
        started = await self.start(scenario, callee=callee, status=status, calls=calls, rate=rate)
        return await started.succeeded()


class SippRun:
    """One SIPp process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *options: str) -> None:
        """Start it."""
        traces = ("err", "msg", "stat")
        files = {"err": "-error_file", "msg": "-message_file", "stat": "-stf"}
        with (self.folder / "screen").open("wb") as screen:
            self._process = await asyncio.create_subprocess_exec(
                *(require("sipp"), *options, "-nostdin", "-fd", "1"),
                *(word for t in traces for word in (f"-trace_{t}", files[t], str(self._file(t)))),
                *("-timeout", str(RUN_SECONDS), "-timeout_error"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=screen,
                stderr=screen,
            )

    def _file(self, name: str) -> Path:
        return self.folder / name

    def _read(self, name: str) -> str:
        path = self._file(name)
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def messages(self) -> str:
        """All messages that it sent and received."""
        return self._read("msg")

    async def succeeded(self) -> Result:
        """Wait for the end; every call must have gone as the scenario says."""
        assert self._process is not None
        status = await asyncio.wait_for(self._process.wait(), RUN_SECONDS + 10)
        told = "\n".join((self._read("err")[-3000:], self.messages[-6000:], self._read("screen")))
        assert status == 0, f"sipp ended with {status}: {told}"
        result = self._counted()
        assert result.failed == 0, told
        return result

    async def stop(self) -> None:
        """End it, if it still runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _counted(self) -> Result:
        last = list(csv.DictReader(self._read("stat").splitlines(), delimiter=";"))[-1]
        return Result(int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"]))
