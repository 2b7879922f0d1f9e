"""`make cluster` as a user meets it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest_asyncio

from tests.support.api import Api
from tests.support.tandemctl import Tandemctl
from tests.support.waiting import eventually

START_SECONDS = 120.0
SMALL = ("--proxies", "1", "--appservers", "1", "--events", "1")


class Launcher:
    """`python -m deploy.local` with a data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        """What it has printed."""
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def spawn(self, *options: str) -> None:
        """Start it, without waiting."""
        self.lines = []
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.local", "--data-dir", str(self.folder), *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={k: v for k, v in os.environ.items() if not k.startswith("TANDEM_")},
        )
        self._reader = asyncio.create_task(self._read())

    async def start(self, *options: str) -> None:
        """Start it and wait for `ready`."""
        await self.spawn(*options)
        await self.says("ready", START_SECONDS)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := (await self._process.stdout.readline()).decode():
            self.lines.append(line.rstrip("\n"))

    async def says(self, text: str, seconds: float = 30.0) -> str:
        """Wait for a line that has this text."""

        async def look() -> list[str]:
            assert self._reader is not None
            found = [line for line in self.lines if text in line]
            assert found or not self._reader.done(), "\n".join(self.lines)
            return found

        return (await eventually(look, text, seconds))[0]

    def word_after(self, text: str) -> str:
        """The first word after a text in what it printed."""
        return "\n".join(self.lines).partition(text)[2].split()[0]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; the exit status."""
        assert self._process is not None
        assert self._reader is not None
        status = await asyncio.wait_for(self._process.wait(), START_SECONDS)
        await self._reader
        return status

    def processes(self) -> list[int]:
        """All processes of this cluster: each has the folder among its settings or arguments."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if (str(self.folder).encode() in text or self.secret(text)) and state != "Z":
                found.append(int(entry.name))
        return found

    def secret(self, text: bytes) -> bool:
        """Whether the cluster's key is in it."""
        secrets = self.folder / "secrets.json"
        key = re.search(
            r'"cluster_key": "([^"]+)"', secrets.read_text() if secrets.exists() else ""
        )
        return key is not None and key[1].encode() in text

    async def gone(self) -> None:
        """Wait until none of its processes is there any more."""

        async def look() -> bool:
            return not self.processes()

        await eventually(look, "all processes to end", 30)


@pytest_asyncio.fixture
async def launcher() -> AsyncIterator[Launcher]:
    """Not started."""
    folder = Path(tempfile.mkdtemp(prefix="tandem-launcher-"))
    folder.chmod(0o711)
    made = Launcher(folder)
    yield made
    if made.processes():
        made.signal(signal.SIGTERM)
        await made.ended()
        await made.gone()
    shutil.rmtree(folder)


async def log_in(launcher: Launcher, password: str) -> Api:
    api = Api(launcher.word_after("tandemctl login --http "))
    await api.log_in("admin", password)
    return api


async def test_it_starts_tells_what_runs_where_stops_and_finds_its_data(
    launcher: Launcher,
) -> None:
    await launcher.start()
    password = launcher.word_after("\npassword ")
    shown = "\n".join(launcher.lines)
    for node in ("proxy1", "proxy2", "appserver2", "provisioning1", "events2"):
        assert f"\n{node} " in shown
    assert (launcher.folder / "secrets.json").stat().st_mode & 0o777 == 0o600
    api = await log_in(launcher, password)
    await api.add_account("kept", "secret1")
    run = Tandemctl(
        TANDEM_GRPC_URL=launcher.word_after("tandemctl --server "),
        TANDEM_TOKEN=api.client.headers["Authorization"].removeprefix("Bearer "),
    )
    assert len((await run("nodes", "--json")).json) == 7
    await api.close()
    launcher.signal(signal.SIGINT)
    assert await launcher.ended() == 0
    assert launcher.lines[-1] == "stopped"
    assert launcher.processes() == []

    ports = (launcher.folder / "ports.json").read_text()
    await launcher.start()
    assert password not in "\n".join(launcher.lines)
    assert (launcher.folder / "ports.json").read_text() == ports
    api = await log_in(launcher, password)
    accounts = await api.get("/sip-accounts")
    assert [account["username"] for account in accounts["items"]] == ["kept"]
    await api.close()
    launcher.signal(signal.SIGTERM)
    assert await launcher.ended() == 0


async def test_what_dies_is_told_and_started_again(launcher: Launcher) -> None:
    await launcher.start(*SMALL)
    for name in ("appserver1", "provisioning1"):
        pid = next(line.split()[1] for line in launcher.lines if line.startswith(f"{name} "))
        os.kill(int(pid), signal.SIGKILL)
        assert "signal 9" in await launcher.says(f"{name} was ended by")
        await launcher.says(f"{name} was started again")
    api = Api(launcher.word_after("tandemctl login --http "))

    async def answers() -> bool:
        try:
            return (await api.client.get("/health/ready")).status_code == 200
        except httpx.TransportError:
            return False

    await eventually(answers, "provisioning to answer again", 30)
    await api.close()


async def test_a_launcher_that_is_killed_leaves_nothing_running(launcher: Launcher) -> None:
    await launcher.start(*SMALL, "--no-restart")
    assert len(launcher.processes()) > 6
    launcher.signal(signal.SIGKILL)
    await launcher.ended()
    await launcher.gone()
    await launcher.start(*SMALL)  # and nothing is in its way


async def test_a_stop_during_the_start_leaves_nothing_running(launcher: Launcher) -> None:
    await launcher.spawn(*SMALL)
    await launcher.says("starting in")
    launcher.signal(signal.SIGTERM)
    assert await launcher.ended() == 0
    assert launcher.processes() == []


async def test_one_folder_is_for_one_cluster(launcher: Launcher) -> None:
    await launcher.spawn(*SMALL)
    await launcher.says("starting in")
    other = Launcher(launcher.folder)
    await other.spawn()
    assert await other.ended() == 2
    assert other.lines == [
        f"tandem cluster: another cluster runs on {launcher.folder}; "
        "stop it or choose another --data-dir"
    ]


async def test_a_port_that_is_taken_is_one_line(launcher: Launcher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        await launcher.spawn("--port-base", str(port))
        assert await launcher.ended() == 2
    assert launcher.lines == [
        f"tandem cluster: port {port} (proxy1.sip) is in use; choose another --port-base"
    ]


async def test_a_wrong_option_is_one_line(launcher: Launcher) -> None:
    wrong = [("--proxies", "0"), ("--host", "example.com"), ("--port-base", "80")]
    for options in (*wrong, ("--tls-cert", "cert.pem")):
        await launcher.spawn(*options)
        assert await launcher.ended() == 2
        assert len(launcher.lines) == 1
