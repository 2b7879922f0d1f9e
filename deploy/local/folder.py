"""The data folder of a local cluster: secrets, ports and what an earlier launcher left running."""

from __future__ import annotations

import fcntl
import json
import os
import random
import secrets
import signal
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

FREE_PORTS: Final = range(15_000, 32_000)
"""Below what systems give to outgoing connections, so that nobody takes one by accident."""
LEFTOVER_SECONDS: Final = 10.0


class FolderProblem(Exception):
    """The data folder can't be used; the text is one line."""


class Folder:
    """A locked data folder. Its secrets are made at the first start and kept, mode 0600."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock = -1

    def open(self) -> None:
        """Make it if need be, lock it, and end what an earlier launcher left running. Raises
        FolderProblem."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "log").mkdir(exist_ok=True, mode=0o700)
            self._lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FolderProblem(f"{self.path} can't be used: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            text = f"another cluster runs on {self.path}; stop it or choose another --data-dir"
            raise FolderProblem(text) from None
        self._end_leftovers()

    def close(self) -> None:
        """Give the folder back."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def secret(self, name: str, made: str | None = None) -> tuple[str, bool]:
        """A secret that was kept or is made now (`made`, else a random one), and if it is new."""
        kept = self._read("secrets.json")
        if name in kept:
            return str(kept[name]), False
        kept[name] = made or secrets.token_urlsafe(24)
        self._write("secrets.json", kept)
        return str(kept[name]), True

    def ports(self, names: Iterable[str], base: int | None) -> dict[str, int]:
        """A port for each name: from `base` on in order, else the one it had or a free one. A
        port that somebody else took is replaced."""
        kept = {} if base else self._read("ports.json")
        found: dict[str, int] = {}
        for index, name in enumerate(names):
            wanted = base + index if base else int(kept.get(name, 0))
            if base and not is_free(wanted):
                raise FolderProblem(f"port {wanted} ({name}) is in use; choose another --port-base")
            if not base and (not wanted or wanted in found.values() or not is_free(wanted)):
                wanted = free_port(found.values())
            found[name] = wanted
        self._write("ports.json", found)
        return found

    def remember(self, processes: Mapping[str, int]) -> None:
        """Note what runs, for the next launcher if this one is killed."""
        if self._lock < 0:
            return  # the folder is somebody else's
        noted = {name: [pid, _started(pid)] for name, pid in processes.items()}
        self._write("processes.json", noted)

    def _end_leftovers(self) -> None:
        left: list[tuple[int, str | None]] = list(map(tuple, self._read("processes.json").values()))
        alive = [pid for pid, started in left if started and _started(pid) == started]
        deadline = time.monotonic() + LEFTOVER_SECONDS
        while alive and time.monotonic() < deadline:  # they end by themselves, a database too
            time.sleep(0.05)
            alive = [pid for pid in alive if _started(pid) is not None]
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        (self.path / "processes.json").unlink(missing_ok=True)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            raise FolderProblem(f"{self.path / name} is damaged; remove it") from None
        return found if isinstance(found, dict) else {}

    def _write(self, name: str, content: Mapping[str, object]) -> None:
        fresh = self.path / f".{name}.new"
        fresh.touch(0o600)
        fresh.chmod(0o600)
        fresh.write_text(json.dumps(content, indent=1) + "\n")
        fresh.rename(self.path / name)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether this UDP and TCP port can be had now."""
    try:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
    except OSError:
        return False
    return True


def free_port(taken: Iterable[int] = ()) -> int:
    """A port that is free now; at random, so that two that look at once find two."""
    used = set(taken)
    for _ in range(1000):
        port = random.choice(FREE_PORTS)
        if port not in used and is_free(port):
            return port
    raise FolderProblem("no free port was found")


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks: with the pid, its identity."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *rest = stat.rpartition(")")[2].split()
    return None if state == "Z" else rest[18]
