"""Private PostgreSQL and MariaDB servers on the loopback, with all the ways to be away.

Their methods block for up to some seconds (`asyncio.to_thread` them where a loop must go on). What
was committed survives `kill`, not a crash of the machine: nothing is synced to the disk.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final

import psycopg
import pymysql
import pytest
from pymysql.constants import CLIENT

from tests.support.installs import require
from tests.support.ports import free_port

PATIENCE_SECONDS: Final = 60.0
"""For a start on a busy machine; a test that waits this long has failed."""
POLL_SECONDS: Final = 0.05
USER: Final = "tandem"
PASSWORD: Final = "sesame"


class DatabaseServer:
    """One private server: made by the first `start`, and on the same port from then on."""

    scheme: ClassVar[str]
    account: ClassVar[str]
    """Whom it runs as when we are root."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"tandem-{self.scheme}-"))
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self._owner = pwd.getpwnam(self.account) if os.geteuid() == 0 else None
        if self._owner is not None:
            os.chown(self.folder, self._owner.pw_uid, self._owner.pw_gid)

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started, and neither stopped nor killed since."""
        return self._process is not None

    def start(self) -> None:
        """Start, and return when it answers."""
        assert self._process is None, "it runs already"
        if not self.port:
            self._create()
            self.port = free_port()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, cwd=self.folder, **self._identity()
            )
        self._wait(self._answers, "answers")

    def stop(self) -> None:
        """Stop cleanly: sessions are ended, what is under way is undone."""
        self._end(signal.SIGINT if self.scheme == "postgresql" else signal.SIGTERM)

    def kill(self) -> None:
        """As a power cut would: no good-bye to anybody."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop cleanly and start, on the same port."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Make it silent: it takes connections and answers nothing, until `thaw`."""
        _signal(self._family(), signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        _signal(self._family(), signal.SIGCONT)

    def read_only(self, on: bool) -> None:
        """Refuse writes on new and on present connections, or take them again."""
        raise NotImplementedError

    def execute(self, statement: str, database: str = "") -> list[tuple[Any, ...]]:
        """Run a statement, or several with semicolons between, as the server's administrator, at
        once committed; the rows of the first."""
        raise NotImplementedError

    def fresh_database(self, name: str = "") -> str:
        """The URL of a new and empty database, for a user without privileges on others."""
        name = name or f"tandem_{next(self._numbers)}"
        self._create_database(name)
        return self.url(name)

    def url(self, name: str) -> str:
        """The URL of a database of this server."""
        return f"{self.scheme}://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def close(self) -> None:
        """Kill it and remove its folder."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _create(self) -> None:
        raise NotImplementedError

    def _create_database(self, name: str) -> None:
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, **self._identity()
        )
        assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"

    def _identity(self) -> dict[str, Any]:
        if self._owner is None:
            return {}
        return {"user": self._owner.pw_uid, "group": self._owner.pw_gid, "extra_groups": []}

    def _family(self) -> list[int]:
        """The server and its children (PostgreSQL's have sessions of their own)."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def _end(self, number: signal.Signals) -> None:
        family = self._family()
        process, self._process = self._process, None
        assert process is not None
        if number is signal.SIGKILL:
            _signal(family, number)
        else:
            _signal(family, signal.SIGCONT)
            process.send_signal(number)
        process.wait(PATIENCE_SECONDS)
        # PostgreSQL does not start again while a child of the dead one still lives.
        _until(lambda: not any(_alive(pid) for pid in family), "its children are gone")

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        def look() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            return done()

        _until(look, f"{self.scheme} {what}")


class PostgreSQL(DatabaseServer):
    """PostgreSQL, from the PATH or from where Debian keeps it."""

    scheme = "postgresql"
    account = "postgres"

    def __init__(self) -> None:
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        self._postgres = require("postgres", folders)
        self._initdb = require("initdb", folders)
        super().__init__()

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Also while it is read-only."""
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            dbname=database,
            autocommit=True,
            connect_timeout=2,
            options="-c default_transaction_read_only=off",
        ) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def read_only(self, on: bool) -> None:
        """As a standby is; present connections hear of it before their next transaction."""
        value = "on" if on else "off"
        self.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        self.execute("SELECT pg_reload_conf()")
        question = "SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only'"
        self._wait(lambda: self._ask_plainly(question) == value, f"has read-only {value}")

    def _ask_plainly(self, question: str) -> object:
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname="postgres"
        ) as connection:
            row = connection.execute(question.encode()).fetchone()
            return row[0] if row else None

    def _create(self) -> None:
        self._run(
            self._initdb, "--pgdata", str(self.folder / "data"), "--username=postgres",
            "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions",
        )  # fmt: skip

    def _create_database(self, name: str) -> None:
        roles = self.execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{USER}'")
        if not roles:
            self.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'")
        self.execute(f"CREATE DATABASE {name} OWNER {USER}")

    def _command(self) -> list[str]:
        settings = (
            f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=",
            "fsync=off", "full_page_writes=off", "max_connections=60", "shared_buffers=16MB",
        )  # fmt: skip
        options = [word for setting in settings for word in ("-c", setting)]
        return [self._postgres, "-D", str(self.folder / "data"), *options]

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            self.execute("SELECT 1")
            return True
        return False


class MariaDB(DatabaseServer):
    """MariaDB; its administrator comes by the socket in its folder."""

    scheme = "mariadb"
    account = "mysql"

    def __init__(self) -> None:
        self._mariadbd = require("mariadbd")
        self._install = require("mariadb-install-db")
        super().__init__()

    def execute(self, statement: str, database: str = "") -> list[tuple[Any, ...]]:
        """Also while it is read-only."""
        connection = pymysql.connect(
            unix_socket=str(self.folder / "socket"),
            user="root",
            database=database or None,
            client_flag=CLIENT.MULTI_STATEMENTS,
            autocommit=True,
            connect_timeout=2,
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            rows = list(cursor.fetchall())
            while cursor.nextset():
                continue
            return rows

    def read_only(self, on: bool) -> None:
        """As a replica is: for all that are no administrators."""
        self.execute(f"SET GLOBAL read_only = {int(on)}")

    def _create(self) -> None:
        self._run(
            self._install, "--no-defaults", f"--datadir={self.folder / 'data'}",
            "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
            "--innodb-log-file-size=8M",
        )  # fmt: skip

    def _create_database(self, name: str) -> None:
        self.execute(f"CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED BY '{PASSWORD}'")
        self.execute(f"CREATE DATABASE {name}")
        self.execute(f"GRANT ALL ON {name}.* TO {USER}@'%'")

    def _command(self) -> list[str]:
        return [
            self._mariadbd, "--no-defaults", f"--datadir={self.folder / 'data'}",
            f"--port={self.port}", "--bind-address=127.0.0.1", "--skip-name-resolve",
            f"--socket={self.folder / 'socket'}", f"--pid-file={self.folder / 'pid'}",
            "--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync",
            "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M", "--skip-log-bin",
            "--max-connections=60",
        ]  # fmt: skip

    def _answers(self) -> bool:
        # PyMySQL leaves its socket open when nobody listens
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(self.folder / "socket")) != 0:
                return False
        with contextlib.suppress(pymysql.OperationalError):
            self.execute("SELECT 1")
            return True
        return False


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """One server for the whole run; a test that stops or blocks it must undo that."""
    yield from _served(PostgreSQL())


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """One server for the whole run; a test that stops or blocks it must undo that."""
    yield from _served(MariaDB())


def _served(server: Any) -> Iterator[Any]:
    try:
        server.start()
        yield server
    finally:
        server.close()


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _until(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not look():
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS:.0f} s in vain until {what}"
        time.sleep(POLL_SECONDS)
