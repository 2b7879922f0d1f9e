"""Consoles on several events nodes: one order of all servers' events, none missing, none twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from tests.integration.cluster.conftest import MakeCluster
from tests.support.cluster import Cluster
from tests.support.clusterload import Load, Sink
from tests.support.consoles import KINDS, Console, all_events, consoles
from tests.support.waiting import eventually

CUT_SECONDS: Final = 30.0
"""As long as a console is cut off: what it missed is more than an events node has in memory."""
RATE: Final = 25


def token(cluster: Cluster) -> str:
    """The administrator's."""
    return cluster.api.client.headers["Authorization"].removeprefix("Bearer ")


async def start(cluster: Cluster) -> int:
    """The id of the last event so far."""
    page = await cluster.events_apis[0].get("/events", count=1)
    return int(page["cursor"])


async def ended(cluster: Cluster, load: Load, at: int) -> int:
    """End the load; the id of the last event once all is stored."""
    calls = await load.stop()
    assert calls
    assert [call.failure for call in calls.values() if call.failure] == []
    wanted = set(calls)

    async def look() -> bool:
        records = await all_events(cluster, at)
        return wanted <= {e.data["sip_call_id"] for e in records if e.type == "call.record"}

    await eventually(look, "the records of all calls", 60)
    return await start(cluster)


async def assert_same(cluster: Cluster, at: int, last: int, watching: list[Console]) -> None:
    """Each console was shown all that the log has, in its order, once."""
    logged = [event for event in await all_events(cluster, at) if event.id <= last]
    again = [event for event in await all_events(cluster, at, at=1) if event.id <= last]
    assert logged == again
    ids = [event.id for event in logged]
    assert ids == sorted(set(ids))
    nodes = Counter(event.node for event in logged if event.type.startswith("call."))
    assert set(nodes) == {"appserver1", "appserver2"}
    for console in watching:
        await console.reached(last)
        shown = [event for event in console.seen if event.id <= last]
        assert console.gaps == 0
        assert shown == logged, f"{console.kind}: {len(shown)} of {len(logged)}"


async def lose_nodes(cluster: Cluster, moving: list[Console], staying: Console) -> None:
    """Kill the first events node and stop the second, each started again; the consoles turn to
    the other with their last id, and one more begins at a node that has just started."""
    first, second = cluster.events
    first.kill()
    for console in moving:
        await console.lost()
        console.follow(second)
    await first.start()
    await cluster.is_ready(first)
    staying.follow(first)
    before = min(console.cursor for console in moving)
    for console in moving:
        await console.reached(before + 50)
    assert await second.terminate() == 0
    for console in moving:
        await console.lost()
        console.follow(first)
    await second.start()
    await cluster.is_ready(second)


async def test_consoles_that_are_cut_off_for_long_or_lose_their_node_see_all_in_one_order(
    make_cluster: MakeCluster,
) -> None:
    cluster = await make_cluster()
    at = await start(cluster)
    moving, cut = ([Console(kind, token(cluster), at) for kind in KINDS] for _ in range(2))
    staying = Console("sse", token(cluster), at)
    async with Sink.open(cluster, cluster["proxy1"]) as sink, consoles(staying, *moving, *cut):
        for console in moving:
            console.follow(cluster["events1"])
        for console in cut:
            console.follow(cluster["events2"])
        load = await sink.load(cluster["proxy2"], rate=RATE, hold_ms=1000)
        for console in (*moving, *cut):
            await console.reached(at + 50)
        for console in cut:
            await console.cut()
        back = asyncio.create_task(asyncio.sleep(CUT_SECONDS))  # the requirement itself
        there = [len(console.seen) for console in cut]
        await lose_nodes(cluster, moving, staying)
        await back
        assert [len(console.seen) for console in cut] == there
        missed = await start(cluster) - max(console.cursor for console in cut)
        assert missed > RATE * CUT_SECONDS
        for console, node in zip(cut, ("events2", "events1", "events2"), strict=True):
            console.follow(cluster[node])
        last = await ended(cluster, load, at)
        await assert_same(cluster, at, last, [staying, *moving, *cut])
