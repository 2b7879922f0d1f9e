"""tandemctl against a real cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.integration.cluster.conftest import MakeCluster
from tests.integration.cluster.test_cluster import phone
from tests.support.cluster import ADMIN_PASSWORD, DOMAIN, Cluster
from tests.support.tandemctl import Tandemctl
from tests.support.waiting import eventually


async def test_nodes_lists_all_with_their_addresses(cluster: Cluster) -> None:
    run = cluster.tandemctl()
    found = {node["node"]: node for node in (await run("nodes", "--json")).json}
    for name, node in cluster.nodes.items():
        assert found[name]["kind"] == node.kind
        assert found[name]["http"] == node.at("http")
    table = (await run("nodes")).out.splitlines()
    assert table[0].split()[:3] == ["NODE", "KIND", "STATE"]
    assert [line.split()[0] for line in table[1:]] == list(found)


async def test_log_in_keeps_a_token_that_nobody_else_reads(
    cluster: Cluster, tmp_path: Path
) -> None:
    run = Tandemctl(
        TANDEM_GRPC_URL=cluster.local.shared.directory_url,
        TANDEM_HTTP_URL=cluster.provisioning.http,
        XDG_CONFIG_HOME=str(tmp_path),
    )
    assert (await run("nodes")).status == 4
    refused = await run("login", "--password-stdin", given="wrong\n")
    assert (refused.status, refused.err.count("\n")) == (4, 1)
    assert (await run("login", "--password-stdin", given=ADMIN_PASSWORD + "\n")).status == 0
    token = tmp_path / "tandem" / "token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert (await run("nodes")).status == 0
    kept = token.read_text()
    assert (await run("logout")).status == 0
    assert not token.exists()
    token.write_text(kept)  # it is dead on the server, not only here
    assert (await run("nodes")).status == 4


async def test_bindings_and_calls_are_shown_and_ended(cluster: Cluster) -> None:
    run = cluster.tandemctl()
    caller, callee = await phone(cluster, "proxy1"), await phone(cluster, "proxy2")
    aor = f"{callee.user}@{DOMAIN}"
    await cluster.api.bound(aor)
    (binding,) = (await run("bindings", "--aor", aor, "--json")).json
    assert (binding["aor"], binding["proxy"]) == (aor, cluster["proxy2"].internal)
    assert aor in (await run("bindings", "--owner", "admin")).out
    assert (await run("bindings", "--aor", f"nobody@{DOMAIN}", "--json")).json == []

    calling = asyncio.create_task(caller.call(callee.user))
    await (await callee.incoming()).accept()
    assert (await calling).status == 200
    for api in cluster.events_apis:
        await api.live_call("answered")
    (call,) = (await run("calls", "--json")).json
    assert call["caller"] == f"sip:{caller.user}@{DOMAIN}"
    assert call["id"] in (await run("calls", "list")).out
    shown = (await run("calls", "show", call["id"], "--json")).json
    assert "call.answered" in [event["type"] for event in shown["events"]]

    ended = asyncio.create_task(run("calls", "hangup", call["id"], "--json"))
    await caller.confirm("BYE")
    await callee.confirm("BYE")
    assert (await ended).json == {"call_id": call["id"], "node": call["node"]}
    await cluster.events_apis[0].no_calls()
    for one in (caller, callee):
        await one.close()


async def test_what_there_is_not_ends_with_status_3(cluster: Cluster) -> None:
    run = cluster.tandemctl()
    for command in (("drain", "nobody"), ("calls", "show", "none"), ("calls", "hangup", "none")):
        ran = await run(*command)
        assert (ran.status, ran.out, ran.err.count("\n")) == (3, "", 1), ran


async def test_a_customer_may_not_look_after_the_cluster(cluster: Cluster) -> None:
    await cluster.add_customer("mallory", "correct horse")
    api = await cluster.customer_api("mallory", "correct horse")
    token = api.client.headers["Authorization"].removeprefix("Bearer ")
    run = Tandemctl(TANDEM_GRPC_URL=cluster.provisioning.grpc, TANDEM_TOKEN=token)
    ran = await run("drain", "appserver1")
    assert (ran.status, ran.err.count("\n")) == (4, 1)
    await api.close()


async def test_hints_are_asked_of_all_appservers(cluster: Cluster) -> None:
    ran = await cluster.tandemctl()("hints", "--json")
    assert (ran.status, ran.err, ran.json) == (0, "", [])


async def test_a_bad_filter_is_told_and_not_tried_again(cluster: Cluster) -> None:
    ran = await cluster.tandemctl()("events", "tail", "--filter", "nonsense=1")
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "nonsense" in ran.err


async def test_tail_goes_on_over_the_death_of_an_events_node(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(proxies=1, appservers=1)
    run = cluster.tandemctl()
    async with await run.follow("events", "tail", "--cursor", "0") as tail:
        await tail.until("node.started", node="events2")
        for round_, node in enumerate((*cluster.events, *cluster.events)):
            node.kill()
            stranger = {"username": f"stranger{round_}", "password": "wrong"}
            answer = await cluster.api.client.post("/api/v1/login", json=stranger)
            assert answer.status_code == 401
            await tail.until("security.login_failed", username=stranger["username"])
            await node.start()
            await cluster.is_ready(node)
        ids = [event["id"] for event in tail.events]
        said = await tail.stop()
    assert ids == sorted(set(ids))
    assert "trying again" in said
    assert "gap" not in said
    page = await cluster.events_apis[0].get("/events", cursor=0, count=1000)
    kept = [event["id"] for event in page["items"] if event["id"] <= ids[-1]]
    assert ids == kept


async def test_draining_an_appserver_moves_new_calls_and_waits_for_its_own(
    make_cluster: MakeCluster,
) -> None:
    cluster = await make_cluster(proxies=1, events=1)
    run = cluster.tandemctl()
    caller, callee = await phone(cluster, "proxy1"), await phone(cluster, "proxy1")
    await cluster.api.bound(f"{callee.user}@{DOMAIN}")
    calling = asyncio.create_task(caller.call(callee.user))
    await (await callee.incoming()).accept()
    call = await calling
    busy = (await cluster.events_apis[0].live_call("answered"))["node"]

    async def counted() -> bool:
        nodes = (await run("nodes", "--json")).json
        return [node["calls"] for node in nodes if node["node"] == busy] == [1]

    await eventually(counted, "the call to be counted")
    waiting = asyncio.create_task(run("drain", busy, "--wait", "--json"))

    async def draining() -> bool:
        nodes = await cluster.api.get("/nodes")
        return [n["state"] for n in nodes["items"] if n["id"] == busy] == ["draining"]

    await eventually(draining, f"{busy} to drain")
    assert not waiting.done()
    hanging = asyncio.create_task(call.hang_up())
    await callee.confirm("BYE")
    assert (await hanging).status == 200
    drained = (await waiting).json
    assert (drained["node"], drained["state"], drained["calls"]) == (busy, "draining", 0)
    for _ in range(4):
        calling = asyncio.create_task(caller.call(callee.user))
        await (await callee.incoming()).accept()
        call = await calling
        assert (await cluster.events_apis[0].live_call("answered"))["node"] != busy
        hanging = asyncio.create_task(call.hang_up())
        await callee.confirm("BYE")
        assert (await hanging).status == 200
        await cluster.events_apis[0].no_calls()
    assert (await run("undrain", busy, "--json")).json["state"] == "active"
    for one in (caller, callee):
        await one.close()
