"""The call manager on a cluster: what is asked of provisioning reaches the appserver that has the
call, and a silent one is told of."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.support.api import Api
from tests.support.cluster import Cluster
from tests.support.town import Town, call_id_for
from tests.support.udpagent import UdpCall
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOT_FOUND = "the Call-ID to transfer could not be found"
SILENT = "These appservers do not answer: appserver2."


@dataclass
class Stage:
    """Two calls of one customer, one on each appserver."""

    cluster: Cluster
    customer: str
    api: Api
    key: str
    calls: dict[str, UdpCall]
    """By the name of the appserver."""

    async def blind(self, callid: str) -> str:
        """The text that the call manager answers with."""
        params = {"user": self.customer, "destination": "1", "callid": callid, "key": self.key}
        url = f"{self.cluster.provisioning.http}/callmanager.svc/blindtransfer"
        answer = await self.api.client.get(url, params=params, headers={"Authorization": ""})
        assert answer.status_code == 200, answer.text
        return answer.text


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    """A cluster of its own, since a node of it is stopped."""
    cluster = Cluster(proxies=1, events=1)
    try:
        await cluster.start()
        await cluster.log_in()
        town = await Town.open(cluster)
        customer = await town.customer()
        account = await town.account(customer, answers=True)
        await town.registered([account])
        calls = {}
        for node in cluster.appservers:
            call = town.ring(account, town.number(), call_id=call_id_for(cluster, node.name))
            await call.until(call.answered)
            calls[node.name] = call
        api = await cluster.customer_api(customer, "correct horse")
        made = await api.client.post("/api/v1/api-keys", json={"name": "tropo"})
        yield Stage(cluster, customer, api, made.json()["secret"], calls)
        await api.close()
        await town.close()
        await cluster.log_out()
    finally:
        await cluster.stop()


async def test_a_leg_is_found_on_whichever_appserver(stage: Stage) -> None:
    for call in stage.calls.values():
        for name in (call.caller, call.invite.call_id):
            assert NOT_FOUND not in await stage.blind(name)
    assert NOT_FOUND in await stage.blind("sip:")  # all of them
    assert NOT_FOUND in await stage.blind("nobody")


async def test_a_key_in_a_url_is_in_no_log(stage: Stage) -> None:
    await stage.blind("nobody")
    assert all(stage.key not in node.log for node in stage.cluster.nodes.values())


async def test_a_signal_is_kept_by_all(stage: Stage) -> None:
    answer = await stage.api.client.post("/api/v1/signals/k1", json={"digits": "12"})
    assert answer.status_code == 202
    assert answer.json() == {"delivered": 0, "kept": True, "silent_nodes": []}
    for node in stage.cluster.appservers:
        assert (await node.metrics())["tandem_signals_kept_total"] == 1


async def test_a_silent_appserver_is_told_of_and_not_waited_for(stage: Stage) -> None:
    frozen = stage.cluster["appserver2"].child
    assert frozen.pid is not None
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        posts = stage.api.client.post("/api/v1/signals/k2", content=b"x")
        ends = stage.api.client.delete("/api/v1/calls/none")
        asked = stage.blind(stage.calls["appserver1"].caller), stage.blind("nobody")
        put, ended, *texts = await asyncio.gather(posts, ends, *asked)
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    assert put.json() == {"delivered": 0, "kept": True, "silent_nodes": ["appserver2"]}
    assert (ended.status_code, ended.json()["detail"]) == (503, SILENT)
    assert all(SILENT in text for text in texts)
    await stage.cluster.is_ready(stage.cluster["appserver2"])


async def test_a_call_is_ended_on_whichever_appserver(stage: Stage) -> None:
    async def look() -> list[str]:
        page = (await stage.cluster.events_apis[0].get("/calls"))["items"]
        return [str(call["id"]) for call in page if call["state"] == "answered"]

    ids = await eventually(look, "both calls to be told")
    for call_id in ids:

        async def end(call_id: str = call_id) -> bool:
            # the one that was stopped may still be coming back
            path = f"/api/v1/call-orders/{call_id}"
            return (await stage.api.client.delete(path)).status_code == 204

        await eventually(end, f"the end of {call_id}")
    for call in stage.calls.values():
        await call.until(call.over)
