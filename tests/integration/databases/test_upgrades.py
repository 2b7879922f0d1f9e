"""Schemas: made by several instances at once, brought up to date, told by `tandem db`."""

from __future__ import annotations

import asyncio
import sys

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, insert, select

from services.events.adapters import database as events
from services.events.ports import Unusable
from services.local.cli import main
from services.provisioning.adapters import database as provisioning
from services.provisioning.adapters.engine import make_engine, parse
from services.provisioning.adapters.tables import bindings, customers, write_turn
from services.provisioning.domain.errors import DatabaseProblem
from tandem.rpc.directory import DirectoryUnavailable
from tests.support.databases import DatabaseServer, MariaDB
from tests.support.provisioning import running

CUSTOMER = {
    "username": "alice",
    "password_hash": "x",
    "name": "Alice 🦊",
    "email": "",
    "admin": False,
    "suspended": False,
    "max_calls": 0,
    "created_at": 1_800_000_000.123457,
}
ADDED = {
    "timezone": "UTC",
    "max_executions": 5,
    "may_email": False,
    "max_providers": None,
    "max_dialplans": None,
}
"""What later schemas give a customer of the first."""


async def test_commands_and_services_that_start_at_once_share_one_database(database: str) -> None:
    # processes: Alembic keeps its state in globals, so threads would get at each other's
    commands = [_command(database) for _ in range(3)]
    starts = [provisioning.open_database(database, wait_seconds=30) for _ in range(3)]
    statuses, engines = await asyncio.gather(asyncio.gather(*commands), asyncio.gather(*starts))
    assert statuses == [0, 0, 0]
    async with engines[0].connect() as connection:
        assert (await connection.execute(select(write_turn.c.id))).all() == [(1,)]
    for engine in engines:
        await engine.dispose()
    assert await provisioning.revision_of(database) == provisioning.NEWEST_SCHEMA
    assert events.revision_of(database) == events.NEWEST_SCHEMA


async def _command(database: str) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.local", "db", "upgrade", "--database-url", database
    )
    return await process.wait()


def _first_schema(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", "services.provisioning.adapters:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "0001")
    connection.execute(insert(customers).values(CUSTOMER))


async def test_an_older_schema_is_upgraded_with_what_is_in_it(database: str) -> None:
    old = make_engine(parse(database), wait_seconds=30, patience=30)
    async with old.begin() as connection:
        await connection.run_sync(_first_schema)
    await old.dispose()
    assert await provisioning.upgrade_database(database) == ("0001", provisioning.NEWEST_SCHEMA)
    new = await provisioning.open_database(database, wait_seconds=30)
    async with new.connect() as connection:
        kept = (await connection.execute(select(customers))).one()
        assert (await connection.execute(select(bindings.c.removed_at))).all() == []
    await new.dispose()
    assert dict(kept._mapping) == CUSTOMER | ADDED


@pytest.mark.parametrize(
    "left",
    [
        "DELETE FROM alembic_version; DROP TABLE write_turn, bindings, tokens",
        "UPDATE alembic_version SET version_num = '0001'",
        "UPDATE alembic_version SET version_num = '0001'; DELETE FROM write_turn",
        "UPDATE alembic_version SET version_num = '0001'; DROP TABLE write_turn",
        "UPDATE alembic_version SET version_num = '0002'; DROP TABLE customer_values",
        "UPDATE alembic_version SET version_num = '0002'; DROP TABLE provider_bindings, providers",
        "UPDATE alembic_version SET version_num = '0002'; "
        "DROP INDEX ix_providers_contact ON providers",
        "UPDATE alembic_version SET version_num = '0002'; ALTER TABLE customers DROP may_email",
    ],
)
async def test_an_upgrade_that_was_broken_off_is_finished(mariadb: MariaDB, left: str) -> None:
    database = mariadb.fresh_database()
    await provisioning.upgrade_database(database)
    name = database.rpartition("/")[2]
    made = _definitions(mariadb, name)
    mariadb.execute(left, name)
    await provisioning.upgrade_database(database)
    assert _definitions(mariadb, name) == made
    async with running(database) as rig, await rig.admin() as admin:
        assert (await admin.get("/api/v1/bindings")).status_code == 200


def _definitions(mariadb: MariaDB, name: str) -> list[object]:
    """How the tables that the last step makes are made, but for the order of their columns."""
    tables = ("customers", "dialplans", "providers", "provider_bindings", "customer_values")
    found = [str(mariadb.execute(f"SHOW CREATE TABLE {table}", name)) for table in tables]
    return [sorted(text.split("\\n")) for text in found]


@pytest.mark.parametrize(
    "left",
    [
        "DELETE FROM events_version; DROP TABLE event_order, call_records",
        "UPDATE events_version SET version_num = '0001'",
        "UPDATE events_version SET version_num = '0001'; DELETE FROM event_order",
        "UPDATE events_version SET version_num = '0001'; DROP TABLE event_order",
        "UPDATE events_version SET version_num = '0001'; DROP INDEX events_traces ON events",
    ],
)
async def test_an_upgrade_of_the_event_log_that_was_broken_off_is_finished(
    mariadb: MariaDB, left: str
) -> None:
    database = mariadb.fresh_database()
    events.upgrade_database(database)
    name = database.rpartition("/")[2]
    made = mariadb.execute("SHOW CREATE TABLE events", name)
    if "DELETE FROM events_version" in left:
        mariadb.execute("DELETE FROM event_order", name)
    mariadb.execute(left, name)
    assert events.upgrade_database(database)[1] == events.NEWEST_SCHEMA
    assert mariadb.execute("SHOW CREATE TABLE events", name) == made
    assert mariadb.execute("SELECT id, first, last FROM event_order", name) == [(1, 1, 0)]


async def test_an_event_log_with_rows_and_no_schema_is_left_alone(mariadb: MariaDB) -> None:
    database = mariadb.fresh_database()
    events.upgrade_database(database)
    mariadb.execute("DELETE FROM events_version", database.rpartition("/")[2])
    with pytest.raises(Unusable, match="does not tell their schema"):
        events.upgrade_database(database)
    assert mariadb.execute("SELECT id FROM event_order", database.rpartition("/")[2]) == [(1,)]


async def test_tables_with_rows_and_no_schema_are_left_alone(mariadb: MariaDB) -> None:
    database = mariadb.fresh_database()
    async with running(database):
        pass
    mariadb.execute("DELETE FROM alembic_version", database.rpartition("/")[2])
    with pytest.raises(DatabaseProblem):
        await provisioning.upgrade_database(database)
    assert mariadb.execute("SELECT username FROM customers", database.rpartition("/")[2])


async def test_a_read_only_database_is_used_with_the_newest_schema_and_waited_for_with_another(
    server: DatabaseServer, database: str
) -> None:
    server.read_only(True)
    with pytest.raises(DirectoryUnavailable):
        await provisioning.open_database(database, wait_seconds=5)
    server.read_only(False)
    await provisioning.upgrade_database(database)
    server.read_only(True)
    await (await provisioning.open_database(database, wait_seconds=5)).dispose()


@pytest.mark.parametrize(
    ("service", "table"), [("provisioning", "alembic_version"), ("events", "events_version")]
)
def test_a_schema_that_is_newer_than_the_program_is_one_line(
    service: str,
    table: str,
    server: DatabaseServer,
    database: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["db", "upgrade", "--database-url", database]) == 0
    server.execute(f"UPDATE {table} SET version_num = '9999'", database.rpartition("/")[2])
    assert main(["db", "upgrade", "--database-url", database]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "newer Tandem" in line
    assert "9999" in line


def test_the_command_upgrades_both_services_tables_and_tells_it(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TANDEM_DATABASE_URL", database)
    newest = (provisioning.NEWEST_SCHEMA, events.NEWEST_SCHEMA)
    assert main(["db", "current"]) == 1
    assert main(["db", "upgrade"]) == 0
    assert main(["db", "upgrade", "--database-url", database]) == 0
    assert main(["db", "current"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"provisioning: schema none (the newest is {newest[0]})",
        f"events: schema none (the newest is {newest[1]})",
        f"provisioning: schema {newest[0]}, upgraded from nothing",
        f"events: schema {newest[1]}, upgraded from nothing",
        f"provisioning: schema {newest[0]}, nothing to do",
        f"events: schema {newest[1]}, nothing to do",
        f"provisioning: schema {newest[0]} (the newest)",
        f"events: schema {newest[1]} (the newest)",
    ]


@pytest.mark.parametrize(
    ("url", "status", "told"),
    [
        ("", 2, "TANDEM_DATABASE_URL"),
        ("nonsense", 2, "postgresql://user:password@host/name"),
        ("oracle://scott:tiger@host/db", 2, "no address"),
        ("mysql://u:secret@127.0.0.1:1/x", 1, "does not answer"),
        ("postgresql://u:secret@127.0.0.1:1/x", 1, "does not answer"),
    ],
)
def test_what_the_command_can_not_do_is_one_line(
    url: str,
    status: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("TANDEM_DATABASE_URL", raising=False)
    assert main(["db", "upgrade", *(["--database-url", url] if url else [])]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert "secret" not in line
    assert "tiger" not in line
