"""What all benchmarks use: processes, their CPU time and memory, free ports, compiled loads."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
TICKS: Final = os.sysconf("SC_CLK_TCK")
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
START_SECONDS: Final = 30.0
ADMIN_PASSWORD: Final = "bench-password"


class Missing(Exception):
    """Something that a benchmark needs is not installed; the text says what."""


def need(program: str, package: str) -> str:
    """The path of a program, or Missing."""
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if path is None:
        raise Missing(f"{program} is missing (Debian: apt install {package})")
    return path


def compiled(name: str) -> Path:
    """The load generator bench/load/NAME.c, compiled into the temporary folder."""
    cc = need("cc", "gcc")
    source = HERE / "load" / f"{name}.c"
    target = Path(tempfile.gettempdir()) / f"tandem-bench-{name}-{int(source.stat().st_mtime)}"
    if not target.exists():
        subprocess.run([cc, "-O2", "-w", "-o", str(target), str(source)], check=True)
    return target


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port that nobody uses just now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children so far."""
    total = 0.0
    for each in family(pid):
        try:
            stat = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(stat[11]) + int(stat[12])) / TICKS
    return total


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        for thread in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found.extend(int(child) for child in thread.read_text().split())
            except OSError:
                continue
    return found


def resident_bytes(pid: int) -> int:
    """The resident set of one process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def wait_for(condition: Callable[[], Any], what: str, seconds: float = START_SECONDS) -> Any:
    """Poll until the condition is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{what} did not come within {seconds:g} s")


@contextmanager
def process(
    command: Sequence[str], *, core: int | None = None, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process on one core, ended when the block ends."""
    pin = ["taskset", "-c", str(core)] if core is not None and shutil.which("taskset") else []
    options.setdefault("stdout", subprocess.DEVNULL)
    options.setdefault("stderr", subprocess.DEVNULL)
    running = subprocess.Popen([*pin, *command], **options)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGTERM)
            try:
                running.wait(15)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


@dataclass
class Switch:
    """A running `tandem local` and its API."""

    pid: int
    sip_port: int
    http: str
    domain: str
    token: str = field(default="", repr=False)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One REST request."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.http + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def add_account(self, username: str, password: str, **fields: Any) -> None:
        """Add a SIP account."""
        body = {"username": username, "domain": self.domain, "password": password, **fields}
        self.call("POST", "/api/v1/sip-accounts", body)


@contextmanager
def tandem_local(*, core: int | None = None, domain: str = "sip.test") -> Iterator[Switch]:
    """Start `tandem local` on free ports with a data folder of its own."""
    with tempfile.TemporaryDirectory(prefix="tandem-bench-") as folder:
        sip, http = free_port(), free_port(socket.SOCK_STREAM)
        command = [
            sys.executable, "-m", "services.local", "local", "--data-dir", folder,
            "--domain", domain, "--sip", f"127.0.0.1:{sip}", "--http", f"127.0.0.1:{http}",
            "--grpc", "127.0.0.1:0",
        ]  # fmt: skip
        env = os.environ | {"TANDEM_ADMIN_PASSWORD": ADMIN_PASSWORD, "TANDEM_RATE_LIMIT": "0"}
        log = Path(folder) / "out.txt"
        with (
            log.open("wb") as out,
            process(command, core=core, stdout=out, stderr=out, env=env, cwd=HERE.parent) as run,
        ):

            def is_ready() -> bool:
                text = log.read_text(errors="replace")
                if run.poll() is not None:
                    raise RuntimeError(f"tandem ended:\n{text}")
                return "\nready" in text

            wait_for(is_ready, "tandem's `ready`")
            switch = Switch(run.pid, sip, f"http://127.0.0.1:{http}", domain)
            login = {"username": "admin", "password": ADMIN_PASSWORD}
            switch.token = switch.call("POST", "/api/v1/login", login)["token"]
            yield switch
