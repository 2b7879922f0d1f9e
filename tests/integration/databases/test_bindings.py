"""The durable copy of the bindings, written by two instances at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import permutations

import pytest

from services.provisioning.adapters.database import open_database
from services.provisioning.adapters.sql_store import SqlStore
from services.provisioning.domain.scope import EVERYTHING
from services.provisioning.handlers.location import LocationCopy
from tandem.bus.location import Binding, BindingRemoved, BindingStored
from tandem.bus.ports import Envelope, Later
from tests.support.databases import DatabaseServer
from tests.support.location import a_binding

NOW = 1_800_000_000.0
FIRST = a_binding(NOW, instance="<urn:x>", reg_id=1)
SECOND = replace(FIRST, cseq=FIRST.cseq + 1, registered_at=NOW + 30, expires_at=NOW + 90)


@pytest.fixture
async def stores(database: str) -> AsyncIterator[Sequence[SqlStore]]:
    """Two instances' stores on one database."""
    found = []
    for _ in range(2):
        store = SqlStore(wait_seconds=5)
        store.open(await open_database(database, wait_seconds=5))
        found.append(store)
    yield found
    for store in found:
        await store.close()


def _told(news: BindingStored | BindingRemoved) -> list[Envelope]:
    return [Envelope("1", NOW, "n", news)]


async def _forget_all(store: SqlStore) -> None:
    async with store.write(EVERYTHING) as work:
        await work.bindings.remove_aors([FIRST.aor])


async def test_a_removed_binding_stays_removed_in_whatever_order_two_instances_hear_of_it(
    stores: Sequence[SqlStore],
) -> None:
    copies = [LocationCopy(store, lambda: NOW + 40, kept=True) for store in stores]
    news: list[BindingStored | BindingRemoved] = [BindingStored(FIRST), BindingStored(SECOND)]
    news.append(BindingRemoved(SECOND, "unregistered"))
    for order in permutations(news):
        for number, one in enumerate(order):
            await copies[number % 2].take(_told(one))
        assert await copies[0].live() == []
        later = replace(SECOND, cseq=SECOND.cseq + 1, registered_at=NOW + 60)
        await copies[1].take(_told(BindingStored(later)))
        assert await copies[0].live() == [later]
        await _forget_all(stores[0])


async def test_late_news_of_a_removed_binding_is_still_known_when_that_would_have_expired(
    stores: Sequence[SqlStore],
) -> None:
    clock = [NOW + 40]
    copy = LocationCopy(stores[0], lambda: clock[0], kept=True)
    await copy.take(_told(BindingRemoved(SECOND, "unregistered")))
    clock[0] = SECOND.expires_at + 1
    await copy.purge()
    await copy.take(_told(BindingStored(FIRST)))
    assert await copy.live() == []
    clock[0] += 3600
    await copy.purge()
    await copy.take(_told(BindingStored(replace(FIRST, expires_at=clock[0] + 60))))
    assert len(await copy.live()) == 1


async def test_a_batch_that_can_not_be_written_is_not_taken(
    server: DatabaseServer, stores: Sequence[SqlStore]
) -> None:
    copy = LocationCopy(stores[0], lambda: NOW, kept=True)
    server.read_only(True)
    with pytest.raises(Later):
        await copy.take(_told(BindingStored(FIRST)))
    assert await copy.live() == []
    server.read_only(False)
    await copy.take(_told(BindingStored(FIRST)))  # as the broker gives it again
    assert await copy.live() == [FIRST]


async def test_bindings_come_back_as_they_went_in_whatever_is_in_them(
    stores: Sequence[SqlStore],
) -> None:
    alike = [
        a_binding(NOW + 0.123456789, aor=aor, contact=contact, q=0.1 + 0.2)
        for aor in ("Desk@local", "desk@local", "desk@local ", "désk@local", "desk\U0001f98a@local")
        for contact in ("sip:a@h", "sip:A@h", "sip:a@h ", "sip:a@h;x=" + "é" * 40_000)
    ]
    copy = LocationCopy(stores[0], lambda: NOW)
    await copy.take([Envelope("1", NOW, "n", BindingStored(one)) for one in alike])
    live = await copy.live()
    assert sorted(live, key=_order) == sorted(alike, key=_order)
    assert [one.aor for one in live] == sorted(one.aor for one in alike)


async def test_what_no_database_can_hold_is_stored_without_it(stores: Sequence[SqlStore]) -> None:
    copy = LocationCopy(stores[0], lambda: NOW, kept=True)
    odd = a_binding(
        NOW, contact="sip:a\0b\udc80@h", reg_id=2**40, instance="\0", user_agent="x" * 999
    )
    await copy.take(_told(BindingStored(odd)))
    await copy.take(_told(BindingStored(replace(odd, cseq=odd.cseq + 1))))
    (stored,) = await copy.live()
    assert stored.contact == "sip:a\ufffdb?@h"


async def test_two_instances_that_write_the_same_bindings_at_once_leave_the_newest(
    stores: Sequence[SqlStore],
) -> None:
    old = [a_binding(NOW, aor=f"u{number:03}@local") for number in range(300)]
    new = [replace(one, cseq=2, registered_at=NOW + 1, user_agent="newer") for one in old]

    async def write(store: SqlStore, bindings: list[Binding]) -> None:
        for start in range(0, len(bindings), 20):
            async with store.write(EVERYTHING) as work:
                await work.bindings.store(bindings[start : start + 20])

    # in opposite directions, so that row locks without turns would meet in a deadlock
    await asyncio.gather(
        write(stores[0], old),
        write(stores[1], new[::-1]),
        write(stores[0], new),
        write(stores[1], old[::-1]),
    )
    async with stores[0].read(EVERYTHING) as work:
        assert await work.bindings.live(NOW) == new


def _order(binding: Binding) -> tuple[str, str]:
    return binding.aor, binding.contact
