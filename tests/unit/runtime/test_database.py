"""Addresses of databases, and what their errors mean."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors
from pymysql.err import InternalError, OperationalError, ProgrammingError

from tandem.runtime.address import HostPort
from tandem.runtime.database import DatabaseUrl, is_away, is_read_only


@pytest.mark.parametrize(
    ("text", "dialect", "name", "hosts"),
    [
        ("sqlite:///tandem.db", "sqlite", "tandem.db", ()),
        ("sqlite+aiosqlite:////var/x y.db", "sqlite", "/var/x y.db", ()),
        ("sqlite://", "sqlite", "", ()),
        ("postgresql://h/db", "postgresql", "db", (HostPort("h", 5432),)),
        ("postgres+psycopg://h,[::1]:6000/db", "postgresql", "db",
         (HostPort("h", 5432), HostPort("::1", 6000))),
        ("mariadb://h:1/d%20b", "mariadb", "d b", (HostPort("h", 1),)),
        ("mysql://u@h/db", "mysql", "db", (HostPort("h", 3306),)),
    ],
)  # fmt: skip
def test_an_address_is_taken_apart(
    text: str, dialect: str, name: str, hosts: tuple[HostPort, ...]
) -> None:
    url = DatabaseUrl.parse(text)
    assert (url.dialect, url.name, url.hosts) == (dialect, name, hosts)


def test_a_password_may_have_any_character_and_is_never_shown() -> None:
    url = DatabaseUrl.parse("postgresql://me%40home:p%40ss%2F:word@h/db?sslmode=require")
    assert (url.user, url.password) == ("me@home", "p@ss/:word")
    assert "word" not in f"{url} {url!r}"
    (only,) = url.attempts(statement_seconds=5)
    assert (only["password"], only["sslmode"]) == ("p@ss/:word", "require")
    assert "statement_timeout=5000" in only["options"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tandem.db",
        "oracle://u:secret@h/db",
        "sqlite://tandem.db",
        "postgresql://u:secret@h",
        "postgresql://u:secret@/db",
        "postgresql://u:secret@h:port/db",
        "postgresql://u:secret@[::1/db",
        "mariadb://u:secret@h/db?charset=latin1",
    ],
)
def test_a_wrong_address_is_one_sentence_without_the_password(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        DatabaseUrl.parse(text)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_of_several_postgresql_hosts_one_that_takes_writes_is_tried_first() -> None:
    attempts = DatabaseUrl.parse("postgresql://h1:1,h2/db").attempts(statement_seconds=5)
    assert [attempt["target_session_attrs"] for attempt in attempts] == ["read-write", "any"]
    assert {(a["host"], a["port"]) for a in attempts} == {("h1,h2", "1,5432")}


def test_mariadb_hosts_are_tried_in_turn() -> None:
    attempts = DatabaseUrl.parse("mariadb://h1:1,h2/db").attempts(statement_seconds=5)
    assert [(a["host"], a["port"]) for a in attempts] == [("h1", 1), ("h2", 3306)]


@pytest.mark.parametrize(
    ("error", "away", "read_only"),
    [
        (errors.ReadOnlySqlTransaction(), True, True),
        (errors.AdminShutdown(), True, False),
        (errors.CannotConnectNow(), True, False),
        (errors.DeadlockDetected(), True, False),
        (errors.TooManyConnections(), True, False),
        (errors.QueryCanceled(), True, False),
        (psycopg.OperationalError("server closed the connection unexpectedly"), True, False),
        (errors.UniqueViolation(), False, False),
        (errors.UndefinedTable(), False, False),
        (OperationalError(2013, "lost"), True, False),
        (OperationalError(1290, "--read-only"), True, True),
        (OperationalError(1836, "read-only mode"), True, True),
        (OperationalError(1040, "too many"), True, False),
        (OperationalError(1213, "deadlock"), True, False),
        (InternalError(1927, "killed"), True, False),
        (ProgrammingError(1146, "no such table"), False, False),
        (ValueError("no database's"), False, False),
    ],
)
def test_what_passes_with_time_is_told_from_what_does_not(
    error: Exception, away: bool, read_only: bool
) -> None:
    assert (is_away(error), is_read_only(error)) == (away, read_only)
