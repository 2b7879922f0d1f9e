"""Busy lamps on a cluster: the call runs on one appserver, the subscription on the other."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.cluster import Cluster
from tests.support.lamp import Lamp, ended
from tests.support.town import PASSWORD, Account, Town, call_id_for
from tests.support.waiting import eventually


class Office:
    """A colleague whose calls fall to appserver1, and a phone that watches at appserver2."""

    def __init__(self, town: Town, colleague: Account, watcher: Account) -> None:
        self.town = town
        self.cluster = town.cluster
        self.colleague = colleague
        self.watcher = watcher

    @classmethod
    async def open(cls, town: Town) -> Office:
        customer = await town.customer()
        office = cls(town, await town.account(customer), await town.account(customer))
        await town.registered([office.colleague, office.watcher])
        return office

    async def lamp(self, package: str = "dialog", appserver: str = "appserver2") -> Lamp:
        """A subscription through proxy2."""
        made = Lamp(
            self.watcher.phone,
            self.cluster["proxy2"].sip,
            self.watcher.address,
            PASSWORD,
            self.colleague.address,
            package=package,
            call_id=call_id_for(self.cluster, appserver),
        )
        await made.watch()
        assert await self.subscriptions(appserver) >= 1
        return made

    async def subscriptions(self, appserver: str) -> float:
        metrics = await self.cluster[appserver].metrics()
        return sum(n for name, n in metrics.items() if name.startswith("tandem_subscriptions{"))


@pytest_asyncio.fixture
async def town(cluster: Cluster) -> AsyncIterator[Town]:
    made = await Town.open(cluster)
    yield made
    await made.close()


async def test_a_lamp_follows_a_call_on_the_other_appserver(town: Town) -> None:
    office = await Office.open(town)
    lamp, presence = await office.lamp(), await office.lamp("presence")
    assert lamp.dialogs == []
    assert "<basic>open</basic>" in presence.body
    for _ in range(2):
        held = await town.hold(office.colleague, "appserver1", town.cluster["proxy1"].sip)
        await lamp.shows(("recipient", "early"))
        assert f"sip:{held.call.caller}@" in lamp.body
        office.colleague.phone.calls[-1].accept()
        await held.call.until(held.call.answered)
        await lamp.shows(("recipient", "confirmed"))
        await presence.until_it(lambda: "<rpid:on-the-phone" in presence.body, "on the phone")
        await held.call.hang_up()
        await lamp.shows(("recipient", "terminated"))
        await presence.until_it(lambda: "on-the-phone" not in presence.body, "no longer")
    assert lamp.versions == list(range(len(lamp.versions)))
    for each in (lamp, presence):
        each.renew(0)
        await ended(each, "timeout")
    assert await office.subscriptions("appserver2") == 0
    await town.quiet()


async def test_one_who_subscribes_during_a_call_is_told_of_it(town: Town) -> None:
    office = await Office.open(town)
    held = await town.hold(office.colleague, "appserver1")
    lamp = await office.lamp()
    await lamp.shows(("recipient", "early"))
    held.call.cancel()
    await lamp.shows(("recipient", "terminated"))
    lamp.renew(0)
    await ended(lamp, "timeout")
    await town.quiet()


async def test_appservers_that_drain_or_die_take_no_lamp_along(own_cluster: Cluster) -> None:
    town = await Town.open(own_cluster)
    try:
        office = await Office.open(town)
        lamp = await office.lamp()
        await town.hold(office.colleague, "appserver1")
        await lamp.shows(("recipient", "early"))
        own_cluster["appserver1"].kill()
        # its calls are gone, and so is what it said of them
        await lamp.shows(("recipient", "terminated"))
        own_cluster["appserver1"].spawn()
        await own_cluster.is_ready(own_cluster["appserver1"])
        await _drain(own_cluster, "drain")
        await ended(lamp, "deactivated")
        again = Lamp(
            lamp.agent,
            own_cluster["proxy2"].sip,
            office.watcher.address,
            PASSWORD,
            office.colleague.address,
        )
        await again.watch()
        assert await office.subscriptions("appserver1") == 1
        own_cluster["appserver1"].kill()
        await _drain(own_cluster, "undrain")
        await _refused(again)
        await (await office.lamp()).shows()
    finally:
        await town.close()


async def _drain(cluster: Cluster, command: str) -> None:
    ran = await cluster.tandemctl()(command, "appserver2")
    assert ran.status == 0, ran


async def _refused(lamp: Lamp) -> None:
    """A renewal that finds its appserver gone: the phone subscribes anew, then."""

    async def look() -> bool:
        lamp.renew()
        return lamp.over.is_set()

    await eventually(look, "the refusal")
    assert lamp.status == 481
