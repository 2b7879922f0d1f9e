"""A cluster that nobody troubles: its parts know each other, and a call goes through all."""

from __future__ import annotations

import asyncio
import secrets

import grpc
import pytest

from tandem.rpc.channel import open_channel
from tandem.rpc.security import Security
from tandem.stubs.callcontrol.v1 import callcontrol_pb2 as pb
from tandem.stubs.callcontrol.v1.callcontrol_pb2_grpc import CallControlStub
from tests.support.cluster import DOMAIN, Cluster
from tests.support.waiting import eventually
from tests.support.wsclient import WebPhone


async def phone(cluster: Cluster, proxy: str) -> WebPhone:
    """A registered phone on an account of its own."""
    user = f"u{secrets.token_hex(4)}"
    await cluster.api.add_account(user, "secret1")
    made = WebPhone(user, "secret1")
    await made.connect(cluster[proxy].at("ws"))
    assert (await made.register()).status == 200
    return made


async def test_every_node_is_known_and_active(cluster: Cluster) -> None:
    async def look() -> bool:
        page = await cluster.api.get("/nodes")
        found = {node["id"]: node for node in page["items"] if node["state"] == "active"}
        return set(found) == set(cluster.nodes)

    await eventually(look, "all nodes to be active")
    page = await cluster.api.get("/nodes")
    kinds = {node["id"]: node["kind"] for node in page["items"]}
    assert kinds == {name: node.kind for name, node in cluster.nodes.items()}


async def test_each_node_tells_its_metrics(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        metrics = await node.metrics()
        assert any(name.startswith("tandem_") for name in metrics), node.name


async def test_a_phone_is_called_through_the_other_proxy(cluster: Cluster) -> None:
    caller, callee = await phone(cluster, "proxy1"), await phone(cluster, "proxy2")
    await cluster.api.bound(f"{callee.user}@{DOMAIN}")
    mark = await cluster.events_apis[0].mark()
    calling = asyncio.create_task(caller.call(callee.user))
    incoming = await callee.incoming()
    await incoming.accept()
    call = await calling
    assert call.status == 200
    for api in cluster.events_apis:
        assert (await api.live_call("answered"))["caller"] == f"sip:{caller.user}@{DOMAIN}"
    hanging = asyncio.create_task(call.hang_up())
    await callee.confirm("BYE")
    assert (await hanging).status == 200
    record = await cluster.events_apis[1].record_after(mark)
    assert record["status"] == 200
    for one in (caller, callee):
        await one.close()


async def test_both_events_nodes_tell_the_same_in_the_same_order(cluster: Cluster) -> None:
    first, second = cluster.events_apis
    mark = await first.mark()
    phones = [await phone(cluster, f"proxy{1 + number % 2}") for number in range(4)]
    for one in phones:
        await first.event_after(mark, "registration.added", aor=f"{one.user}@{DOMAIN}")
        await second.event_after(mark, "registration.added", aor=f"{one.user}@{DOMAIN}")

    async def look() -> bool:
        return await first.events_after(mark) == await second.events_after(mark)

    await eventually(look, "both to tell the same")
    for one in phones:
        await one.close()


async def test_a_customer_sees_his_own_calls_at_every_appserver_and_strangers_none(
    cluster: Cluster,
) -> None:
    name, password = f"c{secrets.token_hex(4)}", "correct horse"
    await cluster.add_customer(name, password)
    api = await cluster.customer_api(name, password)
    token = api.client.headers["Authorization"].removeprefix("Bearer ")
    await api.close()
    caller, callee = await phone(cluster, "proxy1"), await phone(cluster, "proxy2")
    await cluster.api.bound(f"{callee.user}@{DOMAIN}")
    calling = asyncio.create_task(caller.call(callee.user))
    incoming = await callee.incoming()
    admin = cluster.api.client.headers["Authorization"].removeprefix("Bearer ")
    assert sum([await _calls(cluster, node.grpc, admin) for node in cluster.appservers]) == 1
    for node in cluster.appservers:
        assert await _calls(cluster, node.grpc, token) == 0
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _calls(cluster, node.grpc, "wrong")
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    await incoming.accept()
    call = await calling
    hanging = asyncio.create_task(call.hang_up())
    await callee.confirm("BYE")
    assert (await hanging).status == 200
    for one in (caller, callee):
        await one.close()


async def _calls(cluster: Cluster, address: str, token: str) -> int:
    """How many calls an appserver shows to who has this token."""
    security = Security(None, None, None, cluster.local.shared.cluster_key)
    async with open_channel(address, security, token=token) as channel:
        return len(
            (await CallControlStub(channel).ListCalls(pb.ListCallsRequest(), timeout=10)).calls
        )
