"""A running provisioning service for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.provisioning import Rig, running


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as started:
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
