"""Addresses of databases as people write them, and what databases say when they are away.

    sqlite:///tandem.db  sqlite:////var/lib/tandem/tandem.db
    postgresql://user:password@host:5432,host2:5432/name?sslmode=verify-full&sslrootcert=/ca.pem
    mariadb://user:password@host:3306,host2:3306/name?ssl_ca=/ca.pem      (mysql:// likewise)

Of several hosts the first is used that takes writes (PostgreSQL), or that answers (MariaDB).
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from tandem.runtime.address import HostPort

CONNECT_SECONDS: Final = 3
"""How long one host is waited for before the next."""
SILENCE_SECONDS: Final = 10
"""When a transaction that says nothing is undone, so that a client that vanished in the middle of
one keeps no other waiting; and when a connection counts as cut on which nothing is acknowledged."""

_DIALECTS: Final = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mariadb",
}
_PORTS: Final = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}
_MYSQL_OPTIONS: Final = frozenset({"ssl", "ssl_ca"})

_POSTGRESQL_AWAY: Final = ("08", "25006", "40", "53", "55P03", "57", "58")
"""Classes and codes (PostgreSQL, appendix A): connections, read-only, undone for another's sake,
resources, locks, shutting down or statements that took too long, the system below."""
_MYSQL_AWAY: Final = frozenset(
    {
        1021, 1040, 1041, 1047, 1053, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 1226, 1290, 1317,
        1792, 1836, 1927, 1969, 2002, 2003, 2006, 2013, 2014, 2055, 3024, 4031,
    }
)  # fmt: skip
_READ_ONLY: Final = frozenset({"25006", 1290, 1792, 1836})


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A database's address, taken apart."""

    dialect: str
    """sqlite, postgresql, mysql or mariadb."""
    name: str
    """The database; for SQLite the file, "" for one in memory."""
    hosts: tuple[HostPort, ...] = ()
    """In the order to try them; none for SQLite."""
    user: str = ""
    password: str = field(default="", repr=False)
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> DatabaseUrl:
        """Read one. A driver in the scheme (`postgresql+psycopg`) is ignored: it is our choice.
        Raises ValueError with a sentence that holds no password."""
        scheme, colon, rest = text.partition("://")
        dialect = _DIALECTS.get(scheme.partition("+")[0].lower())
        if not colon or dialect is None:
            raise ValueError(
                "no address of a database that can be used; it looks like "
                "sqlite:////var/lib/tandem/tandem.db or postgresql://user:password@host/name"
            )
        if dialect == "sqlite":
            return cls._of_file(rest)
        return cls._of_server(dialect, rest)

    @classmethod
    def _of_file(cls, rest: str) -> DatabaseUrl:
        if rest and not rest.startswith("/"):
            raise ValueError("the address of an SQLite file begins with sqlite:/// (three slashes)")
        file = rest[1:].partition("?")[0]
        return cls("sqlite", "" if file == ":memory:" else file)

    @classmethod
    def _of_server(cls, dialect: str, rest: str) -> DatabaseUrl:
        try:
            parts = urlsplit("//" + rest)
        except ValueError:
            raise ValueError("the database's address has a host that can't be read") from None
        who, _, where = parts.netloc.rpartition("@")
        user, _, password = who.partition(":")
        name = unquote(parts.path.removeprefix("/"))
        if not where or not name:
            raise ValueError(f"the address of a database looks like {dialect}://user@host/name")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if dialect != "postgresql" and not options.keys() <= _MYSQL_OPTIONS:
            known = ", ".join(sorted(_MYSQL_OPTIONS))
            raise ValueError(f"options of a {dialect} address are: {known}")
        hosts = tuple(_host(text, _PORTS[dialect]) for text in where.split(","))
        return cls(dialect, name, hosts, unquote(user), unquote(password), options)

    @property
    def mysql(self) -> bool:
        """Whether it is MariaDB or MySQL."""
        return self.dialect in ("mysql", "mariadb")

    def __str__(self) -> str:
        """For logs: without the password and the options."""
        if self.dialect == "sqlite":
            return self.name or "in memory"
        return f"{self.dialect}://{','.join(map(str, self.hosts))}/{self.name}"

    def attempts(self, *, statement_seconds: float) -> list[dict[str, Any]]:
        """The keyword arguments for the driver (psycopg, PyMySQL or aiomysql), one set for each
        attempt at a connection, in the order to make them. `statement_seconds`: when the server
        shall give up on a statement; 0: never. OSError for a certificate that can't be read."""
        if self.dialect == "postgresql":
            return self._postgresql(statement_seconds)
        return self._mysql(statement_seconds)

    def _postgresql(self, statement_seconds: float) -> list[dict[str, Any]]:
        milliseconds = {
            "statement_timeout": int(statement_seconds * 1000),
            "idle_in_transaction_session_timeout": SILENCE_SECONDS * 1000,
        }
        base: dict[str, Any] = {
            "host": ",".join(host.host for host in self.hosts),
            "port": ",".join(str(host.port) for host in self.hosts),
            "dbname": self.name,
            "user": self.user or None,
            "password": self.password or None,
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "tandem",
            "client_encoding": "utf8",
            "keepalives_idle": SILENCE_SECONDS,
            "keepalives_interval": 3,
            "keepalives_count": 3,
            "tcp_user_timeout": SILENCE_SECONDS * 1000,
            "options": " ".join(f"-c {name}={value}" for name, value in milliseconds.items()),
            **self.options,
        }
        if len(self.hosts) == 1 or "target_session_attrs" in self.options:
            return [base]
        # one that takes writes if there is any; and if not, reading still goes on
        return [base | {"target_session_attrs": wanted} for wanted in ("read-write", "any")]

    def _mysql(self, statement_seconds: float) -> list[dict[str, Any]]:
        base: dict[str, Any] = {
            "user": self.user,
            "password": self.password,
            "database": self.name,
            "charset": "utf8mb4",
            "connect_timeout": CONNECT_SECONDS,
            # the comment holds what only MariaDB understands
            "init_command": (
                "SET SESSION sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', "
                f"innodb_lock_wait_timeout={max(1, int(statement_seconds) or 60)}"
                f" /*M!100309 , max_statement_time={statement_seconds:g}"
                f", idle_transaction_timeout={SILENCE_SECONDS} */"
            ),
        }
        if self.options:
            base["ssl"] = ssl.create_default_context(cafile=self.options.get("ssl_ca") or None)
        return [base | {"host": host.host, "port": host.port} for host in self.hosts]


def bear_nul(connection: Any) -> None:
    """Have a connection of psycopg send U+FFFD for NUL, which PostgreSQL refuses and the path of a
    URL may hold: nothing is found by it then, and that is an answer."""
    # here and not above: who has another database needs no psycopg
    from psycopg.types.string import StrDumper

    class Text(StrDumper):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\ufffd"))

    connection.adapters.register_dumper(str, Text)


def _host(text: str, port: int) -> HostPort:
    try:
        return HostPort.parse(text, default_port=port)
    except ValueError as fault:
        raise ValueError(f"the database's address: {fault}") from None


def code_of(error: BaseException) -> str | int | None:
    """What the server said, from a driver's error: an SQLSTATE of PostgreSQL, a number of MariaDB;
    None for one that the server did not make."""
    first = error.args[0] if error.args else None
    if isinstance(first, int):
        return first
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None


def is_read_only(error: BaseException) -> bool:
    """Whether a driver's error says that nothing can be written here: this is not the primary (any
    more), and the connection is best made anew."""
    return code_of(error) in _READ_ONLY


def is_away(error: BaseException) -> bool:
    """Whether a driver's error passes with time: the same may work later, or elsewhere. What is no
    error of a driver's is judged by the caller."""
    code = code_of(error)
    if isinstance(code, int):
        return code in _MYSQL_AWAY
    if code is not None:
        return code.startswith(_POSTGRESQL_AWAY)
    return type(error).__name__ in ("OperationalError", "InterfaceError", "ConnectionTimeout")
