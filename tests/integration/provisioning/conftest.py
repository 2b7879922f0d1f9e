"""A running provisioning service for each test, on each kind of database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from services.provisioning.adapters import appservers_grpc, callcontrol_grpc
from services.provisioning.adapters.database import upgrade_database
from services.provisioning.adapters.tables import metadata, write_turn
from tests.support.callmanager import Stage, staged
from tests.support.databases import DatabaseServer
from tests.support.provisioning import Rig, running, sqlite_in

KINDS: Final = ("sqlite", "postgresql", "mariadb")


@pytest.fixture(params=KINDS)
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        return sqlite_in(tmp_path)
    server: DatabaseServer = request.getfixturevalue(request.param)
    return server.fresh_database()


@pytest.fixture(params=KINDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path, upgraded: dict[str, str]) -> str:
    """The URL of a database without rows: making tables anew for each test would take longer than
    most of them do."""
    if request.param == "sqlite":
        return sqlite_in(tmp_path)
    server: DatabaseServer = request.getfixturevalue(request.param)
    if request.param not in upgraded:
        url = server.fresh_database()
        await upgrade_database(url)
        upgraded[request.param] = url
    url = upgraded[request.param]
    tables = [table.name for table in reversed(metadata.sorted_tables) if table is not write_turn]
    server.execute("; ".join(f"DELETE FROM {name}" for name in tables), url.rpartition("/")[2])
    return url


@pytest.fixture(scope="session")
def upgraded() -> dict[str, str]:
    """The databases with tables, by their kind."""
    return {}


@pytest.fixture
async def rig(database: str) -> AsyncIterator[Rig]:
    async with running(database) as started:
        yield started


@pytest.fixture
async def admin(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    async with await rig.admin() as client:
        yield client


@pytest.fixture
async def alice(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    async with await rig.customer("alice") as client:
        yield client


@pytest.fixture
async def bob(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    async with await rig.customer("bob") as client:
        yield client


@pytest.fixture
async def stage(
    rig: Rig, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    """Two appservers, which may take as long as a busy machine does."""
    for module in (appservers_grpc, callcontrol_grpc):
        monkeypatch.setattr(module, "ANSWER_SECONDS", 10.0)
    async with staged(rig, alice) as made:
        yield made
