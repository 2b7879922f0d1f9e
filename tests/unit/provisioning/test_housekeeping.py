"""The loops that write bindings and delete what expired, with turns that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from services.provisioning.handlers.housekeeping import RENEWAL_TURNS, Housekeeping
from services.provisioning.handlers.location import LocationCopy
from services.provisioning.handlers.providers import Providers
from tandem.rpc.directory import DirectoryUnavailable
from tests.support.waiting import PATIENCE_SECONDS


class Copy:
    """Fails as it is told in its first turns, and says when it has had enough of them."""

    def __init__(self, turns: int, faults: list[Exception]) -> None:
        self.renewals: list[bool] = []
        self.purges = 0
        self.enough = asyncio.Event()
        self._turns = turns
        self._faults = faults

    async def flush_or_log(self, *, renewals: bool = True) -> bool:
        self.renewals.append(renewals)
        self._turn()
        return True

    async def purge(self) -> None:
        self.purges += 1
        self._turn()

    def _turn(self) -> None:
        self._turns -= 1
        if not self._turns:
            self.enough.set()
        if self._faults:
            raise self._faults.pop(0)


def housekeeping(copy: Copy) -> Housekeeping:
    return Housekeeping(cast(LocationCopy, copy), flush_seconds=0.0, purge_seconds=0.0)


async def until_enough(copy: Copy, loop: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(loop)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await copy.enough.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_refreshes_are_written_in_some_of_the_turns_whatever_went_wrong(
    caplog: pytest.LogCaptureFixture,
) -> None:
    copy = Copy(2 * RENEWAL_TURNS, [ValueError("nobody thought of this")])
    await until_enough(copy, housekeeping(copy).flush())
    written = [turn for turn, renewals in enumerate(copy.renewals) if renewals]
    assert written[:2] == [0, RENEWAL_TURNS]
    assert "bindings could not be written" in caplog.text


async def test_what_expired_is_deleted_again_after_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    copy = Copy(3, [DirectoryUnavailable("the database is away"), ValueError("no")])
    await until_enough(copy, housekeeping(copy).purge())
    assert copy.purges >= 3
    assert "nothing was purged: the database is away" in caplog.text


class ProviderCopy:
    """What housekeeping does to providers."""

    def __init__(self) -> None:
        self.purges = self.reseals = 0

    async def purge(self) -> None:
        self.purges += 1

    async def reseal(self) -> int:
        self.reseals += 1
        if self.reseals == 1:
            raise DirectoryUnavailable("the database takes no writes")
        return 7


async def test_secrets_are_sealed_anew_once_it_works(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    copy, providers = Copy(4, []), ProviderCopy()
    loops = Housekeeping(
        cast(LocationCopy, copy), cast(Providers, providers), flush_seconds=0.0, purge_seconds=0.0
    )
    await until_enough(copy, loops.purge())
    assert providers.purges >= 3
    assert providers.reseals == 2
    assert "the secrets of 7 providers" in caplog.text
