"""One appserver registers at a provider at a time; another goes on when it dies or stops."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cluster.conftest import MakeCluster
from tests.support.cluster import DOMAIN, Cluster
from tests.support.kamailio import HOST, Kamailio
from tests.support.udpagent import UdpAgent, UdpCall
from tests.support.waiting import eventually

GRANTED_SECONDS = 16
"""A registration is renewed after half of this."""
TAKEOVER_SECONDS = 10.0
"""Until another appserver has what a dead one had (issue 4)."""
PATIENCE_SECONDS = 40.0


@pytest.fixture
async def network() -> AsyncIterator[UdpAgent]:
    agent = await UdpAgent.open("network", lambda call: call.accept())
    yield agent
    agent.close()


@pytest.fixture
async def company(tmp_path: Path, network: UdpAgent) -> AsyncIterator[Kamailio]:
    port = int(network.address.rpartition(":")[2])
    company = Kamailio(tmp_path, {"me": "secret"}, port, most=GRANTED_SECONDS)
    await company.start()
    yield company
    company.stop()


class Watch:
    """Follows the one registration, at the switch and at the company."""

    def __init__(self, cluster: Cluster, company: Kamailio) -> None:
        self.cluster = cluster
        self.company = company

    async def at_the_switch(self) -> dict[str, Any]:
        """How it stands there."""
        (binding,) = (await self.cluster.api.get("/provider-bindings"))["items"]
        found: dict[str, Any] = binding
        return found

    async def held_by_other_than(self, name: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Wait until a live node but this one has it, registered; that node."""

        async def look() -> str:
            found = await self.at_the_switch()
            node = found["node"] or ""
            return node if found["state"] == "registered" and node != name else ""

        return await eventually(look, "a node that holds the registration", seconds)

    def at_the_company(self) -> dict[str, Any]:
        """The one contact that the company has."""
        (contact,) = self.company.bindings()["me"]
        return contact

    async def renewed(self, before: dict[str, Any], times: int = 1) -> dict[str, Any]:
        """Wait until the company heard more REGISTERs of the same session than then, or one of
        another session; it has one contact all the time."""

        async def look() -> dict[str, Any] | None:
            now = self.at_the_company()
            assert now["Address"] == before["Address"]
            other = now["Call-ID"] != before["Call-ID"]
            return now if other or now["CSeq"] >= before["CSeq"] + times else None

        found = await eventually(look, "a renewal", PATIENCE_SECONDS)
        assert found is not None
        return found


async def add_provider(cluster: Cluster, company: Kamailio) -> None:
    """The company, whose calls are for the account `office`."""
    await cluster.api.add_account("office", "a-long-secret")
    body = {
        "name": "company", "server": company.server, "username": "me", "password": "secret",
        "register": True, "register_contact": "office",
    }  # fmt: skip
    (await cluster.api.client.post("/api/v1/providers", json=body)).raise_for_status()


async def call_in(cluster: Cluster, company: Kamailio, network: UdpAgent) -> None:
    """A call to the company's number reaches the account's phone."""
    phone = await UdpAgent.open("office", lambda call: call.accept())
    try:
        await phone.register(cluster["proxy2"].sip, "office", "a-long-secret", DOMAIN)

        async def answered() -> UdpCall | None:
            # refused, as long as the other appserver has not heard of the phone yet
            call = network.invite(f"{HOST}:{company.port}", f"sip:me@{company.realm}")
            ends = [asyncio.ensure_future(e.wait()) for e in (call.answered, call.over)]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
            return call if call.answered.is_set() else None

        call = await eventually(answered, "the phone to be rung", PATIENCE_SECONDS)
        assert call is not None
        await call.hang_up()
        assert len(phone.calls) == 1
    finally:
        phone.close()


async def test_a_registration_outlives_a_killed_and_a_stopped_appserver(
    make_cluster: MakeCluster, company: Kamailio, network: UdpAgent
) -> None:
    cluster = await make_cluster(events=1)
    watch = Watch(cluster, company)
    await add_provider(cluster, company)
    first = await watch.held_by_other_than("")
    await call_in(cluster, company, network)

    before = watch.at_the_company()
    began = asyncio.get_running_loop().time()
    cluster[first].kill()
    second = await watch.held_by_other_than(first)
    took = asyncio.get_running_loop().time() - began
    sys.stdout.write(f"\nkill -9 of the appserver that registers: taken over after {took:.1f} s\n")
    assert took < 2 * TAKEOVER_SECONDS  # on a machine that does much else
    after = await watch.renewed(before)
    assert after["Call-ID"] != before["Call-ID"]

    await cluster[first].start()
    await cluster.is_ready(cluster[first])
    holder = await watch.held_by_other_than("")
    before = watch.at_the_company()
    await cluster[holder].terminate()
    third = await watch.held_by_other_than(holder, TAKEOVER_SECONDS)
    assert {holder, third} == {first, second}
    await watch.renewed(before)
    await cluster[holder].start()
    await cluster.is_ready(cluster[holder])
    await call_in(cluster, company, network)


async def test_registrations_go_on_while_provisioning_is_away(
    make_cluster: MakeCluster, company: Kamailio, network: UdpAgent
) -> None:
    cluster = await make_cluster(events=1)
    watch = Watch(cluster, company)
    await add_provider(cluster, company)
    await watch.held_by_other_than("")
    # It may be moving just now: the first appserver to ask has it until the other one was heard of,
    # and provisioning may die before it hears that the first one let go. Somebody goes on with it.
    before = watch.at_the_company()
    cluster.provisioning.kill()
    await watch.renewed(before, times=3)  # longer than a lease and a registration
    await cluster.provisioning.start()
    await cluster.is_ready(cluster.provisioning)
    await watch.held_by_other_than("")
    await watch.renewed(watch.at_the_company())
