"""A process that the launcher owns: it writes to a log file and ends when the launcher does."""

from __future__ import annotations

import asyncio
import ctypes
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1
POLL_SECONDS: Final = 0.02
TAIL_BYTES: Final = 4_000
_libc: Final = ctypes.CDLL(None, use_errno=True)


class StartFailed(Exception):
    """A process ended, or said nothing for too long, before it was ready; the text tells why."""


@dataclass
class Child:
    """A program with its environment. It may be started again after it ended.

    A launcher that is killed takes its children along: the kernel sends them `orphan_signal`.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    """Its standard output and error, appended."""
    user: str | None = None
    """The user to run as, for who is root; None: the launcher's."""
    orphan_signal: signal.Signals = signal.SIGKILL
    stop_signal: signal.Signals = signal.SIGTERM
    cwd: Path | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    wanted: bool = False
    """Whether it should be running: an end without `terminate` or `kill` is a failure."""
    _from: int = 0

    def spawn(self) -> None:
        """Start the process; `ready` waits for what it says. To be called in the main thread."""
        assert not self.running, f"{self.name} is running"
        account = None if self.user is None else pwd.getpwnam(self.user)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            self._from = out.tell()
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(self.env),
                cwd=self.cwd,
                # Ctrl-C is for the launcher, which then stops all in the right order.
                start_new_session=True,
                user=None if account is None else account.pw_uid,
                group=None if account is None else account.pw_gid,
                extra_groups=None if account is None else [account.pw_gid],
                preexec_fn=_Follower(os.getpid(), self.orphan_signal),
            )
        self.wanted = True

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status; negative: the signal that ended it; None while it runs."""
        return None if self.process is None else self.process.poll()

    @property
    def pid(self) -> int:
        """The process id of the last start."""
        assert self.process is not None, f"{self.name} was not started"
        return self.process.pid

    def said(self) -> str:
        """What it wrote since its last start."""
        with self.log.open("rb") as log:
            log.seek(self._from)
            return log.read().decode(errors="replace")

    def last_words(self, lines: int = 8) -> str:
        """The last lines of its log since the start."""
        return "\n".join(self.said()[-TAIL_BYTES:].splitlines()[-lines:])

    def send(self, number: signal.Signals) -> None:
        """Send a signal if it runs."""
        if self.running and self.process is not None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        self.wanted = False
        self.send(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    async def ready(self, seconds: float) -> None:
        """Wait for the line that starts with `ready`. Raises StartFailed."""
        deadline = time.monotonic() + seconds
        while not any(line.startswith("ready") for line in self.said().splitlines()):
            if not self.running:
                raise StartFailed(f"{self.name} ended with {self.status}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{self.name} is not ready after {seconds:g} s: {self.last_words()}"
                )
            await asyncio.sleep(POLL_SECONDS)

    async def terminate(self, seconds: float = 20.0) -> bool:
        """Ask it to stop and wait; kill it after `seconds`. Returns whether it went by itself."""
        self.wanted = False
        self.send(self.stop_signal)
        if await self.ended(seconds):
            return True
        self.kill()
        return False

    async def ended(self, seconds: float) -> bool:
        """Wait for its end; False if it still runs after `seconds`."""
        deadline = time.monotonic() + seconds
        while self.running:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True


class _Follower:
    """Run in the child before its program: have the kernel tell it of its parent's end."""

    def __init__(self, parent: int, number: signal.Signals) -> None:
        self._parent = parent
        self._number = int(number)

    def __call__(self) -> None:
        _libc.prctl(PR_SET_PDEATHSIG, self._number, 0, 0, 0)
        if os.getppid() != self._parent:  # it died in between
            os._exit(1)
