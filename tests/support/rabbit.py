"""A private RabbitMQ on free loopback ports, with its own folder and its own epmd."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.installs import require
from tests.support.ports import free_port

START_SECONDS: Final = 90.0
"""Until it listens; 6 s where nothing else runs."""
STOP_SECONDS: Final = 30.0
SCRIPTS: Final = ("/usr/lib/rabbitmq/bin/rabbitmq-server",)
"""The server's own script: the one in the path changes to the user rabbitmq, or refuses."""


class Rabbit:
    """One broker; what it keeps survives `kill` and `start`. Only root runs it as another user."""

    def __init__(self, folder: Path | None = None) -> None:
        require("rabbitmq-server")
        self.epmd_program, self.script = require("epmd"), _script()
        # not below pytest's own folder: the user rabbitmq could not enter it
        self.folder = folder or Path(tempfile.mkdtemp(prefix="tandem-rabbit-"))
        self.port, self._dist, self._epmd_port = (free_port() for _ in range(3))
        self._user = "rabbitmq" if os.geteuid() == 0 else None
        self._server: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._prepare()

    @property
    def url(self) -> str:
        """The guest's."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._server is not None and self._server.poll() is None

    def _prepare(self) -> None:
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "log.file.level = warning\n"
            "disk_free_limit.absolute = 10MB\n"
            "vm_memory_high_watermark.absolute = 1GB\n"
        )
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "env.conf").write_text("")
        if self._user:
            shutil.chown(self.folder, self._user)
            for path in self.folder.iterdir():
                shutil.chown(path, self._user)

    def _environment(self) -> dict[str, str]:
        folder = self.folder
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_NODENAME": "tandem@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none"
            ),
            # the shell becomes the server, so that a signal reaches it
            "RABBITMQ_ALLOW_INPUT": "1",
        }

    def launch(self) -> None:
        """Start it without waiting; for one that runs already nothing happens."""
        if self.running:
            return
        if self._epmd is None:
            command = [self.epmd_program, "-port", str(self._epmd_port), "-address", "127.0.0.1"]
            self._epmd = subprocess.Popen(command, user=self._user, group=self._user)
        with (self.folder / "output").open("ab") as output:
            self._server = subprocess.Popen(
                [self.script, "-noinput"],
                env=self._environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Until it listens. Raises AssertionError if it ends, or in the end."""
        deadline = time.monotonic() + START_SECONDS
        while not self.listens():
            alive = self.running
            if not alive or time.monotonic() > deadline:
                raise AssertionError(f"RabbitMQ does not start:\n{self._tail()}")
            time.sleep(0.05)

    def listens(self) -> bool:
        """Whether it answers as a broker does: a port that is open may still be starting."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                probe.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(probe.recv(1))
        except OSError:
            return False

    def start(self) -> None:
        """Start it and wait (in a test with a loop: `await asyncio.to_thread(rabbit.start)`)."""
        self.launch()
        self.wait()

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """In good order, and all that it keeps stays."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """kill -9 and start."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """The process stays, and says nothing: as a host that hangs."""
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        if server.poll() is None:
            # the group: the server has small processes of its own
            os.killpg(server.pid, signal.SIGCONT)
            os.killpg(server.pid, how) if how is signal.SIGKILL else server.send_signal(how)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(STOP_SECONDS)

    def destroy(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def queues(self, prefix: str) -> list[str]:
        """The names of the queues that begin like this (takes a second or two)."""
        done = subprocess.run(
            [str(Path(self.script).with_name("rabbitmqctl")), "-q", "list_queues", "name"],
            env=self._environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
        )
        return sorted(name for name in done.stdout.split() if name.startswith(prefix))

    def _tail(self) -> str:
        return "\n".join((self.folder / "output").read_text(errors="replace").splitlines()[-20:])


def _script() -> str:
    for path in SCRIPTS:
        if Path(path).exists():
            return path
    return require("rabbitmq-server")


@pytest.fixture(scope="session")
def rabbit_server() -> Iterator[Rabbit]:
    """One broker for the whole run."""
    rabbit = Rabbit()
    try:
        rabbit.start()
        yield rabbit
    finally:
        rabbit.destroy()


@pytest.fixture
def rabbit(rabbit_server: Rabbit) -> Rabbit:
    """The broker, up again whatever the test before did to it. Tests share it: each takes node
    names, or a prefix of the exchanges and queues, of its own."""
    rabbit_server.start()
    return rabbit_server


__all__ = ["Rabbit", "rabbit", "rabbit_server"]
