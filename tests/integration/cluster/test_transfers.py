"""Transfers on a cluster: whoever replaces a call, or transfers one, reaches the appserver that has
it; two calls on two appservers are not joined, and that is said."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.cluster import Cluster
from tests.support.town import Town, call_id_for
from tests.support.udpagent import UdpCall


@pytest_asyncio.fixture
async def town(cluster: Cluster) -> AsyncIterator[Town]:
    town = await Town.open(cluster)
    yield town
    await town.close()


@pytest.mark.parametrize("there", ["appserver1", "appserver2"])
@pytest.mark.parametrize("here", ["appserver1", "appserver2"])
async def test_a_call_is_replaced_wherever_it_is(town: Town, there: str, here: str) -> None:
    """The second step of an attended transfer: who was referred calls, and says whom it replaces,
    by the dialog that the referrer had with the switch."""
    account = await town.account(await town.customer(), answers=True)
    await town.registered([account])
    asked = town.ring(account, town.number(), call_id=call_id_for(town.cluster, there))
    await asked.until(asked.answered)
    (rung,) = account.phone.calls
    assert asked.dialog is not None
    dialog = asked.dialog
    line = f"Replaces: {dialog.call_id};to-tag={dialog.remote_tag};from-tag={dialog.local_tag}"
    referred = town.callers.invite(
        town.any_proxy(),
        f"sip:{account.address}",
        user=town.number(),
        headers=(line,),
        call_id=call_id_for(town.cluster, here),
    )
    await referred.until(referred.answered)
    replacing = account.phone.calls[-1]
    assert rung.dialog is not None
    own = rung.dialog
    named = f"{own.call_id};to-tag={own.local_tag};from-tag={own.remote_tag}"
    assert replacing.invite.first("replaces") == named
    for call in (asked, referred):
        await call.hang_up()
    await town.quiet()


async def test_two_calls_on_two_servers_are_not_joined(town: Town, cluster: Cluster) -> None:
    customer = await town.customer()
    account = await town.account(customer, answers=True)
    await town.registered([account])
    calls: list[UdpCall] = []
    for node in cluster.appservers:
        call = town.ring(account, town.number(), call_id=call_id_for(cluster, node.name))
        await call.until(call.answered)
        calls.append(call)
    body = {"leg1": calls[0].invite.call_id, "leg2": calls[1].invite.call_id, "owner": customer}
    answer = await cluster.api.client.post("/api/v1/calls/join", json=body)
    assert answer.status_code == 409, answer.text
    assert "server" in answer.json()["detail"]
    for call in calls:
        assert not call.over.is_set()
        await call.hang_up()
    await town.quiet()


@pytest.mark.parametrize("there", ["appserver1", "appserver2"])
async def test_a_call_is_transferred_wherever_it_is(
    town: Town, cluster: Cluster, there: str
) -> None:
    customer = await town.customer()
    first, second = [await town.account(customer, answers=True) for _ in range(2)]
    await town.registered([first, second])
    call = town.ring(first, town.number(), call_id=call_id_for(cluster, there))
    await call.until(call.answered)
    (leg,) = first.phone.calls
    (held,) = await town.held([call])
    body = {"leg": 1, "dial": second.address, "owner": customer}
    answer = await cluster.api.client.post(f"/api/v1/calls/{held.id}/transfer", json=body)
    assert answer.status_code == 202, answer.text
    await leg.until(leg.over)
    (new,) = second.phone.calls
    await new.until(new.answered)
    await call.until(call.answered)
    assert not call.over.is_set()
    await call.hang_up()
    await new.until(new.over)
    await town.quiet()
