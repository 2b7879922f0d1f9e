"""Argon2 in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from services.provisioning.adapters import passwords
from services.provisioning.adapters.passwords import Argon2Hasher
from tandem.rpc.directory import DirectoryUnavailable


@pytest.fixture
def hasher() -> Iterator[Argon2Hasher]:
    made = Argon2Hasher(time_cost=1, memory_kib=64, parallelism=1)
    yield made
    made.close()


async def test_a_password_fits_its_own_hash_only(hasher: Argon2Hasher) -> None:
    kept = await hasher.hash("rosebud")
    assert kept.startswith("$argon2id$")
    assert await hasher.verify(kept, "rosebud")
    assert not await hasher.verify(kept, "Rosebud")
    assert not await hasher.verify("no hash at all", "rosebud")
    assert not await hasher.verify(None, "rosebud")


async def test_more_than_may_wait_are_turned_away(hasher: Argon2Hasher) -> None:
    results = await asyncio.gather(
        *(hasher.hash("rosebud") for _ in range(passwords.MAX_WAITING + 3)),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, DirectoryUnavailable)]
    assert len(refused) == 3
    assert await hasher.hash("rosebud")
