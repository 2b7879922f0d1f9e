"""RabbitMQ and PostgreSQL as private processes with their own ports and folders.

Neither runs as root: for root they run as the users that their packages made.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.local.child import POLL_SECONDS, Child, StartFailed
from deploy.local.programs import (
    HOST,
    RABBITMQ_PLACES,
    START_SECONDS,
    find,
    listening,
    own_folder,
    postgres_bin,
    user_of,
    write_for,
)

STARTING: Final = ("starting up", "not yet accepting connections", "recovery mode")
"""What PostgreSQL says while it is on its way; after a power cut it has to recover."""


class Rabbit:
    """A broker of one node. Its user is `tandem`, with the password of the cluster."""

    def __init__(self, folder: Path, port: int, dist_port: int, epmd_port: int, password: str):
        script = find("rabbitmq-server", RABBITMQ_PLACES, "rabbitmq-server")
        self.folder = folder
        self.port = port
        self.url = f"amqp://tandem:{password}@{HOST}:{port}/"
        self._password = password
        user = user_of("rabbitmq")
        path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/bin"
        env = {
            "PATH": path,
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            # replaces the script by the server, which then takes our signals itself
            "RUNNING_UNDER_SYSTEMD": "1",
            "ERL_EPMD_PORT": str(epmd_port),
            "RABBITMQ_NODENAME": "tandem@localhost",
            "RABBITMQ_DIST_PORT": str(dist_port),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none"
            ),
        }
        # Erlang's name service; if there is none, the server starts one that outlives all.
        self.names = Child(
            "rabbitmq-names",
            [find("epmd", (), "rabbitmq-server"), "-address", HOST, "-port", str(epmd_port)],
            {"PATH": path},
            folder.parent / "log" / "rabbitmq-names.log",
            user=user,
        )
        self.child = Child(
            "rabbitmq",
            [script],
            env,
            folder.parent / "log" / "rabbitmq.log",
            user=user,
            orphan_signal=signal.SIGTERM,
            cwd=folder,
        )

    def spawn(self) -> None:
        """Start it; `ready` waits until it takes connections."""
        user = self.child.user
        own_folder(self.folder, user)
        for name, content in (
            ("plugins", "[].\n"),
            (
                "rabbitmq.conf",
                f"listeners.tcp.1 = {HOST}:{self.port}\ndefault_user = tandem\n"
                f"default_pass = {self._password}\nlog.console = true\nlog.file = false\n"
                "log.console.level = warning\ndisk_free_limit.absolute = 50MB\n",
            ),
        ):
            write_for(self.folder / name, content, user)
        if not self.names.running:
            self.names.spawn()
        self.child.spawn()

    async def ready(self) -> None:
        """Wait until it takes connections. Raises StartFailed."""
        await listening(self.child, self.port)

    async def stop(self) -> None:
        """Stop it cleanly."""
        await self.child.terminate(30)
        await self.names.terminate(5)

    def kill(self) -> None:
        """As a power cut does."""
        self.child.kill()


class Postgres:
    """A database server. The role `tandem` owns each database."""

    def __init__(self, folder: Path, port: int, password: str, databases: Sequence[str]):
        self._bin = postgres_bin()
        self.folder = folder
        self.port = port
        self.databases = tuple(databases)
        self._password = password
        self._user = user_of("postgres")
        self._env = {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "HOME": str(folder)}
        sockets = folder / "sockets"
        command = [str(self._bin / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
        command += ["-h", HOST, "-k", str(sockets), "-c", "max_connections=200"]
        self.child = Child(
            "postgresql",
            command,
            self._env,
            folder.parent / "log" / "postgresql.log",
            user=self._user,
            orphan_signal=signal.SIGINT,  # a fast shutdown; SIGTERM waits for clients to leave
            stop_signal=signal.SIGINT,
            cwd=folder,
        )

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql://tandem:{self._password}@{HOST}:{self.port}/{database}"

    def spawn(self) -> None:
        """Start it; the first time its files are made. Raises StartFailed."""
        own_folder(self.folder, self._user)
        own_folder(self.folder / "sockets", self._user)
        if not (self.folder / "data" / "PG_VERSION").exists():
            secret = self.folder / "password"
            write_for(secret, self._password + "\n", self._user)
            self._run(
                "initdb",
                *("-D", str(self.folder / "data"), "-U", "tandem", "-A", "scram-sha-256"),
                *("--pwfile", str(secret), "-E", "UTF8", "--no-locale", "--no-sync"),
            )
            secret.unlink()
        self.child.spawn()

    async def ready(self) -> None:
        """Wait until it takes connections and has the databases. Raises StartFailed."""
        await listening(self.child, self.port)
        for database in self.databases:
            await self._create(database)

    async def stop(self) -> None:
        """Stop it cleanly."""
        await self.child.terminate(30)

    def kill(self) -> None:
        """As a power cut does; its own children see that it is gone and end."""
        self.child.kill()

    def run_sql(self, sql: str, database: str = "postgres") -> str:
        """What `psql` prints. Raises StartFailed."""
        return self._run(
            "psql",
            *("-h", HOST, "-p", str(self.port), "-U", "tandem", "-d", database),
            *("-v", "ON_ERROR_STOP=1", "-qtAc", sql),
        ).strip()

    def read_only(self, yes: bool) -> None:
        """Refuse all writes, also of connections that are open, as a standby does; or take them
        again. Raises StartFailed."""
        self.run_sql(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if yes else 'off'}")
        self.run_sql("SELECT pg_reload_conf()")

    async def _create(self, database: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                there = self.run_sql(f"SELECT 1 FROM pg_database WHERE datname = '{database}'")
                break
            except StartFailed as problem:  # it listens a moment before it takes anybody
                starting = any(words in str(problem) for words in STARTING)
                if not starting or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(POLL_SECONDS)
        if not there:
            self.run_sql(f"CREATE DATABASE {database}")

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            env=self._env | {"PGPASSWORD": self._password},
            cwd=self.folder,
            user=self._user,
            group=None if self._user is None else pwd.getpwnam(self._user).pw_gid,
            extra_groups=None if self._user is None else [],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StartFailed(f"{program}: {done.stderr.strip()[-1000:]}")
        return done.stdout
