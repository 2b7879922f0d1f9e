"""The database goes away in every way there is, while people write to it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

import httpx
import pytest

from services.provisioning.adapters.database import open_database
from services.provisioning.app import Provisioning
from services.provisioning.domain.errors import DatabaseProblem
from tandem.bus.memory import MemoryBus
from tandem.rpc.directory import DirectoryUnavailable
from tests.support.databases import DatabaseServer, PostgreSQL
from tests.support.provisioning import ADMIN_PASSWORD, Rig, quick_config, running
from tests.support.waiting import eventually

ACCOUNTS = "/api/v1/sip-accounts"
WAIT_SECONDS = 2.0
WRITERS = 4
UNKNOWN = "The directory went away at the very end"


def _account(name: str) -> dict[str, str]:
    return {"username": name, "password": "rosebud"}


class Writers:
    """Several people who make accounts one after another, and note each answer."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._enough = asyncio.Event()
        self.names: defaultdict[int, set[str]] = defaultdict(set)
        self.unknown: set[str] = set()

    async def run(self) -> None:
        await asyncio.gather(*(self._write(f"w{n}") for n in range(WRITERS)))

    def stop(self) -> None:
        self._enough.set()

    async def made(self, more: int) -> None:
        """Wait for so many more successes."""
        wanted = len(self.names[201]) + more

        async def look() -> bool:
            return len(self.names[201]) >= wanted

        await eventually(look, f"{wanted} accounts", seconds=60)

    async def refused(self, more: int) -> None:
        """Wait for so many more refusals."""
        wanted = len(self.names[503]) + more

        async def look() -> bool:
            return len(self.names[503]) >= wanted

        await eventually(look, f"{wanted} refusals", seconds=60)

    async def _write(self, writer: str) -> None:
        number = 0
        while not self._enough.is_set():
            number += 1
            name = f"{writer}-{number}"
            answer = await self._client.post(ACCOUNTS, json=_account(name))
            if answer.status_code == 503:
                assert int(answer.headers["retry-after"]) > 0
                if answer.json()["detail"].startswith(UNKNOWN):
                    self.unknown.add(name)
            self.names[answer.status_code].add(name)


async def _stored(client: httpx.AsyncClient) -> set[str]:
    found: set[str] = set()
    while True:
        params = {"offset": len(found), "count": 1000}
        page = (await client.get(ACCOUNTS, params=params)).json()
        found |= {item["username"] for item in page["items"]}
        if len(found) == page["total"]:
            return found


async def _away_and_back(
    rig: Rig, leave: Callable[[], None], come_back: Callable[[], None]
) -> Writers:
    async with await rig.admin() as admin:
        writers = Writers(admin)
        writing = asyncio.create_task(writers.run())
        await writers.made(20)
        await asyncio.to_thread(leave)
        await writers.refused(WRITERS)
        await asyncio.to_thread(come_back)
        await writers.made(20)
        writers.stop()
        await writing
        stored = await _stored(admin)
    assert set(writers.names) <= {201, 503}
    assert writers.names[201] <= stored
    assert not (writers.names[503] - writers.unknown) & stored
    return writers


async def test_a_crash_under_load_loses_no_account_and_leaves_none_that_was_refused(
    server: DatabaseServer, database: str
) -> None:
    async with running(database, wait_seconds=WAIT_SECONDS) as rig:
        await _away_and_back(rig, server.kill, server.start)


async def test_a_clean_stop_under_load_does_neither(server: DatabaseServer, database: str) -> None:
    async with running(database, wait_seconds=WAIT_SECONDS) as rig:
        await _away_and_back(rig, server.stop, server.start)


async def test_a_read_only_database_refuses_writes_and_goes_on_being_read(
    server: DatabaseServer, database: str
) -> None:
    async with running(database, wait_seconds=WAIT_SECONDS) as rig, await rig.admin() as admin:
        assert (await admin.post(ACCOUNTS, json=_account("desk"))).status_code == 201
        server.read_only(True)
        refused = await admin.post(ACCOUNTS, json=_account("hall"))
        assert (refused.status_code, refused.json()["title"]) == (503, "Service Unavailable")
        assert (await admin.get(ACCOUNTS)).json()["total"] == 1
        rig.clock.now += 60  # no session is believed without asking any more
        assert (await admin.get("/api/v1/me")).status_code == 200
        assert (await admin.get("/api/v1/bindings")).status_code == 200
        assert await rig.service.directory.account("desk", "local") is not None
        assert await rig.service.ready()
        async with rig.client() as anybody:
            body = {"username": "admin", "password": ADMIN_PASSWORD}
            login = await anybody.post("/api/v1/login", json=body)
            assert (login.status_code, login.headers["retry-after"]) == (503, "5")
        server.read_only(False)
        assert (await admin.post(ACCOUNTS, json=_account("hall"))).status_code == 201


async def test_a_silent_database_costs_a_refusal_in_time_and_is_used_again_when_it_answers(
    server: DatabaseServer, database: str
) -> None:
    async with running(database, wait_seconds=0.5) as rig, await rig.admin() as admin:
        server.freeze()
        async with asyncio.timeout(30):  # without our own patience it would hang for minutes
            refused = await admin.post(ACCOUNTS, json=_account("desk"))
        assert refused.status_code == 503
        server.thaw()

        async def made() -> bool:
            answer = await admin.post(ACCOUNTS, json=_account("desk"))
            assert answer.status_code in (201, 503)
            return answer.status_code == 201

        await eventually(made, "the account")


async def test_more_connections_than_the_server_takes_are_a_refusal(
    postgresql: PostgreSQL,
) -> None:
    database = postgresql.fresh_database()
    async with running(database, wait_seconds=WAIT_SECONDS) as rig, await rig.admin() as admin:
        try:
            postgresql.execute("ALTER ROLE tandem CONNECTION LIMIT 0")
            postgresql.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'tandem'"
            )
            assert (await admin.get(ACCOUNTS)).status_code == 503
        finally:
            postgresql.execute("ALTER ROLE tandem CONNECTION LIMIT -1")
        assert (await admin.get(ACCOUNTS)).status_code == 200


async def test_a_service_starts_without_its_database_and_catches_up(
    server: DatabaseServer, database: str
) -> None:
    server.stop()
    with pytest.raises(DirectoryUnavailable) as raised:
        await open_database(database, wait_seconds=WAIT_SECONDS)
    assert "sesame" not in str(raised.value)
    bus = MemoryBus("test")
    service = Provisioning(quick_config(database, WAIT_SECONDS), bus)
    try:
        await service.start()
        assert not await service.ready()
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(60):
            await service.opened.wait()
        assert await service.ready()
    finally:
        await service.stop()


async def test_a_wrong_password_or_database_is_told_to_the_operator(
    server: DatabaseServer, database: str
) -> None:
    nobody = f"{server.scheme}://nobody:secret@127.0.0.1:{server.port}/x"
    for wrong in (database + "_missing", nobody):
        with pytest.raises(DatabaseProblem) as raised:
            await open_database(wrong, wait_seconds=WAIT_SECONDS)
        assert "TANDEM_DATABASE_URL" in str(raised.value)
        assert "secret" not in str(raised.value)


async def test_of_several_hosts_the_next_is_used_when_one_is_away(database: str) -> None:
    several = database.replace("@", "@127.0.0.1:1,")
    async with running(several, wait_seconds=WAIT_SECONDS) as rig, await rig.admin() as admin:
        assert (await admin.get(ACCOUNTS)).status_code == 200


async def test_after_a_fail_over_writes_go_to_the_new_primary(postgresql: PostgreSQL) -> None:
    standby = PostgreSQL()
    try:
        await asyncio.to_thread(standby.start)
        name = "tandem_pair"
        databases = [server.fresh_database(name) for server in (standby, postgresql)]
        await (await open_database(databases[0], wait_seconds=WAIT_SECONDS)).dispose()
        standby.read_only(True)
        both = databases[1].replace("@", f"@127.0.0.1:{standby.port},")
        async with running(both, wait_seconds=WAIT_SECONDS) as rig, await rig.admin() as admin:
            assert (await admin.post(ACCOUNTS, json=_account("desk"))).status_code == 201
            standby.read_only(False)
            postgresql.read_only(True)
            assert (await admin.post(ACCOUNTS, json=_account("hall"))).status_code == 503
            # this pair replicates nothing: the new primary is known by what it lacks
            assert (await admin.get(ACCOUNTS)).json()["total"] == 0
            standby.read_only(True)
            # none takes writes: reading goes on
            assert (await admin.get(ACCOUNTS)).status_code == 200
    finally:
        postgresql.read_only(False)
        standby.close()
