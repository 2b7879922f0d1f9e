"""What all nodes of a cluster show at /metrics, and that the counters tell the truth."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx
import pytest_asyncio

from tandem.stubs.callcontrol.v1 import callcontrol_pb2 as pb
from tests.integration.cluster.test_cluster import phone
from tests.support.cluster import DOMAIN, Cluster
from tests.support.ports import free_port
from tests.support.town import Town
from tests.support.waiting import eventually
from tests.support.wsclient import WebPhone

PAGE: Final = Path(__file__).parents[3] / "docs" / "metrics.md"
CALLS: Final = 6


@pytest_asyncio.fixture
async def town(cluster: Cluster) -> AsyncIterator[Town]:
    """People who wait for callbacks."""
    made = await Town.open(cluster)
    try:
        yield made
    finally:
        await made.close()


async def figures(cluster: Cluster, kind: str) -> Counter[str]:
    """The sum over all nodes of a kind."""
    found: Counter[str] = Counter()
    for node in cluster.of_kind(kind):
        for name, value in (await node.metrics()).items():
            found[name] += value  # type: ignore[assignment]
    return found


async def talk(caller: WebPhone, callee: WebPhone) -> None:
    """A call that rings, is answered and ended."""
    calling = asyncio.create_task(caller.call(callee.user))
    incoming = await callee.incoming()
    await incoming.ring()
    await incoming.accept()
    call = await calling
    assert call.status == 200
    hanging = asyncio.create_task(call.hang_up())
    await callee.confirm("BYE")
    assert (await hanging).status == 200


async def test_the_counters_of_all_nodes_tell_what_happened(cluster: Cluster) -> None:
    kinds = ("proxy", "appserver", "events")
    for api in cluster.events_apis:
        await api.no_calls()
    before = {kind: await figures(cluster, kind) for kind in kinds}
    records = (await cluster.events_apis[0].get("/cdrs", count=1))["total"]
    caller, callee = [await phone(cluster, proxy.name) for proxy in cluster.proxies]
    await cluster.api.bound(f"{callee.user}@{DOMAIN}")
    for _ in range(CALLS):
        await talk(caller, callee)
    assert (await caller.call(f"nobody{secrets.token_hex(3)}")).status == 404

    async def recorded() -> bool:
        page = await cluster.events_apis[0].get("/cdrs", count=1)
        return bool(page["total"] == records + CALLS + 1)

    await eventually(recorded, "all call records")
    for api in cluster.events_apis:
        await api.no_calls()
    after = {kind: await figures(cluster, kind) for kind in kinds}
    grown = {kind: after[kind] - before[kind] for kind in kinds}

    proxy = grown["proxy"]
    came = {
        name: proxy[f'tandem_proxy_requests_total{{direction="in",method="{name}"}}']
        for name in ("INVITE", "ACK", "BYE", "REGISTER")
    }
    # each is challenged once, and so are the two registrations
    invites = 2 * CALLS + 2
    assert came == {"INVITE": invites, "ACK": invites, "BYE": CALLS, "REGISTER": 4}
    assert proxy['tandem_proxy_requests_total{direction="out",method="INVITE"}'] == CALLS
    for labels, least in (
        ('class="1xx",direction="in"', CALLS),
        ('class="2xx",direction="in"', 2 * CALLS),
        ('class="1xx",direction="out"', CALLS),
        ('class="2xx",direction="out"', 2 * CALLS + 2),
        ('class="4xx",direction="out"', CALLS + 2 + 2),
    ):
        # more where the machine is so slow that something was sent again
        assert proxy[f"tandem_proxy_responses_total{{{labels}}}"] >= least, labels

    appserver = grown["appserver"]
    assert appserver['tandem_appserver_requests_total{method="INVITE"}'] == invites
    assert appserver['tandem_appserver_requests_total{method="BYE"}'] == CALLS
    assert appserver['tandem_appserver_requests_total{method="REGISTER"}'] >= 4
    assert appserver['tandem_appserver_responses_total{class="2xx"}'] >= 2 * CALLS + 2
    assert appserver['tandem_appserver_responses_total{class="4xx"}'] >= CALLS + 2 + 2
    assert appserver['tandem_calls_ended_total{class="2xx"}'] == CALLS
    assert appserver['tandem_calls_ended_total{class="4xx"}'] == 1
    for histogram in ("tandem_post_dial_delay_seconds", "tandem_answer_time_seconds"):
        assert appserver[f"{histogram}_count"] == CALLS
        assert appserver[f'{histogram}_bucket{{le="+Inf"}}'] == CALLS
        assert 0 < appserver[f"{histogram}_sum"] < CALLS * 60
    assert appserver["tandem_appserver_errors_total"] == 0
    # at least: registered twice; for each call started, forwarded, ringing, answered, ended, record
    assert grown["events"]["tandem_events_stored_total"] >= 2 + 6 * CALLS + 3
    for one in (caller, callee):
        await one.close()


async def test_nothing_waits_and_nothing_was_lost_when_nobody_calls(cluster: Cluster) -> None:
    expected = Counter(node.kind for node in cluster.nodes.values())

    async def quiet() -> list[str]:
        """What is not as it should be."""
        found = []
        for node in cluster.nodes.values():
            shown = await node.metrics()
            active = {
                kind: int(shown[f'tandem_nodes{{kind="{kind}",state="active"}}'])
                for kind in expected
            }
            lost = sum(v for n, v in shown.items() if n.startswith("tandem_bus_dropped_total"))
            waits = sum(v for n, v in shown.items() if n.startswith("tandem_bus_queue_depth"))
            outbox = shown['tandem_bus_outbox{topic="events"}']
            if active != expected or lost or waits or outbox or not shown["tandem_bus_connected"]:
                found.append(f"{node.name}: {active} {lost} {waits} {outbox}")
        delays = [
            (await node.metrics())["tandem_events_ingest_delay_seconds"] for node in cluster.events
        ]
        return found + [f"delay {delay}" for delay in delays if not 0 <= delay < 60]

    async def looks() -> bool:
        return await quiet() == []

    await eventually(looks, "all to be quiet")


async def test_the_time_until_all_proxies_know_a_hint_is_told(cluster: Cluster, town: Town) -> None:
    account = await town.account(await town.customer(), answers=True)
    await town.registered([account])
    before = await figures(cluster, "appserver")
    following = town.follow(
        "appserver2",
        customer=account.customer,
        pattern=town.number(),
        account=account.address,
        trigger=pb.Trigger(url=f"http://127.0.0.1:{free_port()}/"),
    )
    await following.end()  # nobody is there to be asked
    now = await figures(cluster, "appserver")
    assert now["tandem_hints_published_total"] == before["tandem_hints_published_total"] + 1
    name = "tandem_hint_acknowledged_seconds"
    assert now[f"{name}_count"] == before[f"{name}_count"] + 1
    assert now[f"{name}_sum"] > before[f"{name}_sum"]
    heard = "tandem_hints_acknowledged_total"
    silent = "tandem_hints_silent_total"
    known = now[heard] + now[silent] - before[heard] - before[silent]
    assert known == len(cluster.proxies)
    await town.quiet()


async def test_every_metric_is_documented_and_every_documented_one_is_there(
    cluster: Cluster,
) -> None:
    shown: set[str] = set()
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        for node in cluster.nodes.values():
            page = (await client.get(f"{node.http}/metrics")).text
            shown |= set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
    text = PAGE.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `tandem_")]
    cells = [row.split("|")[1] for row in rows]
    told = {
        name.partition("{")[0] for cell in cells for name in re.findall(r"`(tandem_[^`]+)`", cell)
    }
    patterns = {name: re.compile(name.replace("…", "[a-z_]+")) for name in told}
    missing = [name for name in shown if not any(p.fullmatch(name) for p in patterns.values())]
    assert missing == []
    # only with a collector, and with a FastAGI server
    always = {n: p for n, p in patterns.items() if "spans" not in n and "fastagi" not in n}
    unknown = [name for name, p in always.items() if not any(p.fullmatch(n) for n in shown)]
    assert unknown == []
