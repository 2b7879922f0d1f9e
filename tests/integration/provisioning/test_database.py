"""The database: made from nothing, kept, checked, and away."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from services.provisioning.adapters.database import open_database
from services.provisioning.adapters.tables import metadata
from services.provisioning.domain.errors import DatabaseProblem
from tandem.rpc.directory import DirectoryUnavailable
from tests.support.provisioning import running, sqlite_in


def _url(file: Path) -> str:
    return f"sqlite:///{file}"


def _differences(connection: Connection) -> object:
    return compare_metadata(MigrationContext.configure(connection), metadata)


async def test_the_migrations_make_just_the_tables_that_the_code_has(fresh: str) -> None:
    engine = await open_database(fresh, wait_seconds=30)
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []
    await engine.dispose()


async def test_what_was_stored_is_there_after_a_restart(database: str) -> None:
    async with running(database) as rig, await rig.admin() as admin:
        body = {"username": "desk", "password": "rosebud"}
        await admin.post("/api/v1/sip-accounts", json=body)
    async with running(database) as rig:
        account = await rig.service.directory.account("desk", "local")
        assert account is not None
        assert await rig.service.ensure_administrator("another one") is None


async def test_without_a_password_one_is_made_up_and_works(database: str) -> None:
    async with running(database, password=None) as rig:
        assert rig.made_up_password is not None
        async with await rig.login("admin", rig.made_up_password) as admin:
            assert (await admin.get("/api/v1/me")).json()["admin"] is True


def _no_folder(folder: Path) -> str:
    return _url(folder / "missing" / "tandem.db")


def _text_file(folder: Path) -> str:
    (folder / "notes.txt").write_text("not a database, but long enough to be looked at" * 20)
    return _url(folder / "notes.txt")


def _newer(folder: Path) -> str:
    with sqlite3.connect(folder / "newer.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    connection.close()
    return _url(folder / "newer.db")


def _foreign(folder: Path) -> str:
    with sqlite3.connect(folder / "foreign.db") as connection:
        connection.execute("CREATE TABLE customers (id INTEGER)")
    connection.close()
    return _url(folder / "foreign.db")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (_no_folder, "make its folder"),
        (_text_file, "is no database"),
        (_newer, "newer Tandem"),
        (_foreign, "did not make"),
        (lambda _folder: "nonsense", "TANDEM_DATABASE_URL"),
        (lambda _folder: "nosuch+driver://x", "TANDEM_DATABASE_URL"),
    ],
)
async def test_a_database_that_can_not_be_used_is_told_in_one_line(
    tmp_path: Path, make: Callable[[Path], str], told: str
) -> None:
    with pytest.raises(DatabaseProblem) as raised:
        await open_database(make(tmp_path), wait_seconds=0.2)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_a_locked_database_costs_a_503_and_changes_nothing(tmp_path: Path) -> None:
    async with running(sqlite_in(tmp_path), wait_seconds=0.2) as rig, await rig.admin() as admin:
        body = {"username": "desk", "password": "rosebud"}
        other = sqlite3.connect(tmp_path / "tandem.db")
        other.execute("BEGIN EXCLUSIVE")
        answer = await admin.post("/api/v1/sip-accounts", json=body)
        other.rollback()
        other.close()
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["content-type"] == "application/problem+json"
        assert (await admin.get("/api/v1/sip-accounts")).json()["total"] == 0
        assert (await admin.post("/api/v1/sip-accounts", json=body)).status_code == 201


async def test_a_stopped_service_is_unavailable_and_stops_twice(database: str) -> None:
    async with running(database) as rig:
        assert await rig.service.ready()
    await rig.service.stop()
    assert not await rig.service.ready()
    with pytest.raises(DirectoryUnavailable):
        await rig.service.directory.account("desk", "local")
