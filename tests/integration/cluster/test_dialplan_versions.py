"""A dialplan that is changed is run as it is now by every appserver of a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.cluster import DOMAIN, Cluster
from tests.support.town import PASSWORD, Town, call_id_for
from tests.support.waiting import eventually


@pytest_asyncio.fixture
async def town(cluster: Cluster) -> AsyncIterator[Town]:
    """A town of its own, which leaves no call."""
    town = await Town.open(cluster)
    try:
        yield town
        await town.quiet()
    finally:
        await town.close()


async def statuses(town: Town, user: str) -> dict[str, int]:
    """What a call to this account gets on each appserver."""
    found = {}
    for node in town.cluster.appservers:
        call_id = call_id_for(town.cluster, node.name)
        uri = f"sip:{user}@{DOMAIN}"
        call = town.callers.invite(town.any_proxy(), uri, call_id=call_id)
        await call.until(call.over)
        found[node.name] = call.status
    return found


async def test_a_new_version_and_an_older_one_again_reach_every_appserver(town: Town) -> None:
    api, customer = town.cluster.api, await town.customer()
    body = {"name": "v", "language": "python", "source": "sys.respond(486)", "owner": customer}
    made = await api.client.post("/api/v1/dialplans", json=body)
    made.raise_for_status()
    path, user = f"/api/v1/dialplans/{made.json()['id']}", f"v{customer}"
    await api.add_account(user, PASSWORD, owner=customer, in_dialplan="v")

    async def all_get(status: int) -> None:
        async def look() -> bool:
            return set((await statuses(town, user)).values()) == {status}

        await eventually(look, f"every appserver to say {status}")

    await all_get(486)
    (await api.client.patch(path, json={"source": "sys.respond(404)"})).raise_for_status()
    await all_get(404)
    (await api.client.post(f"{path}/rollback", json={"version": 1})).raise_for_status()
    await all_get(486)
    refused = await api.client.patch(path, json={"source": "sys.respond('404')"})
    assert refused.status_code == 422
    assert set((await statuses(town, user)).values()) == {486}
    (await api.client.patch(path, json={"name": "w"})).raise_for_status()  # the account's name too
    await all_get(486)
