"""The durable copy of the bindings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tandem.bus.location import Binding, BindingRemoved, BindingStored
from tandem.bus.ports import Envelope, Topic
from tests.support.location import a_binding
from tests.support.provisioning import Clock, Rig, running


async def _bindings(rig: Rig) -> list[Binding]:
    """What the Directory tells, once the bus has delivered all."""
    await rig.bus.close()
    return await rig.service.directory.bindings()


async def test_a_binding_comes_back_as_it_went_in(rig: Rig) -> None:
    binding = a_binding(
        rig.clock.now, path=("<sip:a;lr>", "<sip:b;lr>"), instance="<urn:x>", reg_id=2
    )
    rig.bus.publish(Topic.LOCATION, BindingStored(binding))
    assert await _bindings(rig) == [binding]


async def test_bindings_survive_a_restart(database: str) -> None:
    clock = Clock()
    binding = a_binding(clock.now)
    async with running(database, clock=clock) as rig:
        rig.bus.publish(Topic.LOCATION, BindingStored(binding))
    async with running(database, clock=clock) as rig:
        assert await rig.service.directory.bindings() == [binding]


async def test_the_same_batch_twice_changes_nothing(rig: Rig) -> None:
    now = rig.clock.now
    other = a_binding(now, contact="sip:desk@192.0.2.8")
    for _ in range(2):
        for news in (BindingStored(a_binding(now)), BindingStored(other)):
            rig.bus.publish(Topic.LOCATION, news)
    assert sorted(b.contact for b in await _bindings(rig)) == [
        "sip:desk@192.0.2.7:5060",
        "sip:desk@192.0.2.8",
    ]


@pytest.mark.parametrize("flushed_between", [False, True])
async def test_of_two_words_on_a_binding_the_newer_registration_stays(
    rig: Rig, flushed_between: bool
) -> None:
    old = a_binding(rig.clock.now, instance="<urn:x>", reg_id=1)
    new = replace(old, contact="sip:desk@192.0.2.9", registered_at=old.registered_at + 5)
    for news in (BindingStored(new), BindingStored(old), BindingRemoved(old, "replaced")):
        rig.bus.publish(Topic.LOCATION, news)
        if flushed_between:
            await rig.delivered()
            await rig.service.directory.bindings()
    assert await _bindings(rig) == [new]


async def test_removed_and_expired_bindings_are_gone(rig: Rig) -> None:
    now = rig.clock.now
    phones = [a_binding(now, contact=f"sip:desk@192.0.2.{n}") for n in range(3)]
    for phone in phones:
        rig.bus.publish(Topic.LOCATION, BindingStored(phone))
    rig.bus.publish(Topic.LOCATION, BindingRemoved(phones[0], "unregistered"))
    rig.bus.publish(Topic.LOCATION, BindingStored(replace(phones[1], expires_at=now + 60)))
    assert len(await _bindings(rig)) == 2
    rig.clock.now += 61
    assert await rig.service.directory.bindings() == [phones[2]]


async def test_the_bindings_of_a_deleted_account_go_with_it(rig: Rig) -> None:
    async with await rig.customer("alice") as alice:
        body = {"username": "Desk", "password": "rosebud"}
        made = await alice.post("/api/v1/sip-accounts", json=body)
        rig.bus.publish(Topic.LOCATION, BindingStored(a_binding(rig.clock.now)))
        assert len(await _bindings(rig)) == 1
        await alice.delete(made.headers["location"])
        assert await rig.service.directory.bindings() == []


async def test_a_thousand_bindings_are_one_list_in_order(rig: Rig) -> None:
    for number in range(1200):
        phone = a_binding(rig.clock.now, aor=f"u{number:04}@local")
        rig.bus.publish(Topic.LOCATION, BindingStored(phone))
    await rig.bus.close()
    async with await rig.admin() as admin:
        params = {"offset": 1100, "count": 1}
        answer = (await admin.get("/api/v1/bindings", params=params)).json()
    assert answer["total"] == 1200
    assert answer["items"][0]["aor"] == "u1100@local"
    assert answer["items"][0]["expires_at"] == "2027-01-15T09:00:00Z"


async def test_a_refresh_waits_longer_than_a_new_binding_but_not_beyond_a_stop(
    database: str,
) -> None:
    clock = Clock()
    old = a_binding(clock.now)
    new = replace(old, registered_at=old.registered_at + 5, expires_at=old.expires_at + 5)
    async with running(database, clock=clock, flush_seconds=3600.0) as rig:
        location = rig.service._cases.location
        await location.take([_enveloped(BindingStored(old))])
        await location.flush(renewals=False)
        await location.take([_enveloped(BindingStored(new, renewed=True))])
        await location.flush(renewals=False)
        assert (len(location._pending), len(location._renewals)) == (0, 1)
    async with running(database, clock=clock) as rig:
        assert await rig.service.directory.bindings() == [new]


def _enveloped(payload: object) -> Envelope:
    return Envelope("id", 0.0, "node", payload)
