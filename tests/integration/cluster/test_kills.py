"""Appservers and proxies are killed, drained and stopped under load with calls up."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

import pytest
import pytest_asyncio

from tests.support.cluster import DOMAIN, Cluster
from tests.support.clusterload import Load, Placed, Records, Registering, Sink, recorded
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Cluster]:
    """Two of everything; each test leaves all nodes running."""
    cluster = Cluster(
        env={
            "proxy": {"TANDEM_PUBLIC_NAME": DOMAIN},
            "events": {"TANDEM_LOST_SECONDS": "3"},
        }
    )
    try:
        await cluster.start()
        await cluster.log_in()
        yield cluster
        await cluster.log_out()
    finally:
        await cluster.stop()


LOST: Final = "server lost"
HUNG_UP: Final = "caller hung up"


async def three_loads(site: Cluster, sink: Sink) -> list[Load]:
    """25 calls a second over UDP and TCP by both proxies, 75 calls up at a time."""
    loads = [
        await sink.load(site["proxy1"], rate=10),
        await sink.load(site["proxy2"], rate=10),
        await sink.load(site["proxy2"], rate=5, transport="t1"),
    ]
    for load in loads:
        await load.until(12)
    return loads


async def ended(loads: list[Load]) -> dict[str, Placed]:
    """Place no more calls; what became of all."""
    calls: dict[str, Placed] = {}
    for each in await asyncio.gather(*(load.stop() for load in loads)):
        calls |= each
    return calls


async def takes_part(site: Cluster, node: str, since: float) -> None:
    """Wait until a new call is run by this appserver."""

    async def look() -> bool:
        page = await site.events_apis[0].get("/calls", count=1000)
        began = [c for c in page["items"] if c["node"] == node]
        return any(datetime.fromisoformat(c["started_at"]).timestamp() > since for c in began)

    await eventually(look, f"a call on {node}", 30)


async def has_no_calls(site: Cluster, node: str) -> None:
    """Wait until no call of this appserver is left in the call directory."""

    async def look() -> bool:
        page = await site.events_apis[0].get("/calls", count=1000)
        return all(call["node"] != node for call in page["items"])

    await eventually(look, f"the end of all calls of {node}", 30)


def went_well(call: Placed, records: Records) -> None:
    """Answered, hung up, and one record of it."""
    assert call.well, (call, records.get(call.call_id))
    found = [(r["status"], r["end_reason"]) for r in records.get(call.call_id, ())]
    assert found == [(200, HUNG_UP)], (call, found)


def report(what: str, at: float, calls: dict[str, Placed], phone: Registering) -> None:
    """Print the figures: pytest shows them with -s."""
    new = [c for c in calls.values() if c.tried > at]
    late = [c.tried - at for c in new if c.slow or not c.well]
    slow = [r.began - at for r in phone.done if r.began > at and (r.took > 0.4 or r.problem)]
    bad = Counter(call.failure for call in calls.values() if call.failure)
    line = (
        f"{what}: {len(calls)} calls, {len(new)} after it; last slow or failed new call placed "
        f"{max(late, default=0):.2f} s after it ({len(late)}), REGISTER {max(slow, default=0):.2f}"
        f" s ({len(slow)}), longest {max((r.took for r in phone.done), default=0):.2f} s; "
        f"longest set-up {max(c.up - c.tried for c in calls.values() if c.up):.2f} s; {dict(bad)}\n"
    )
    sys.stdout.write(line)


async def test_an_appserver_that_is_killed_takes_no_call_of_another_along(site: Cluster) -> None:
    since = time.time()
    victim = site["appserver1"]
    async with (
        Sink.open(site, site["proxy1"]) as sink,
        Registering.phone(site, site.proxies) as phone,
    ):
        loads = await three_loads(site, sink)
        killed = time.time()
        victim.kill()
        for load in loads:
            await load.placed(12, killed + 2)
        await has_no_calls(site, victim.name)
        started = time.time()
        await victim.start()
        await takes_part(site, victim.name, started)
        calls = await ended(loads)
        records = await recorded(site, calls.values(), since)
    report("kill -9 of an appserver", killed, calls, phone)
    assert not [r for r in phone.done if r.problem]
    lost = 0
    for call in calls.values():
        found = records.get(call.call_id, [])
        of_lost = [r for r in found if r["end_reason"] == LOST]
        others = [r for r in found if r["end_reason"] != LOST]
        if not of_lost:
            went_well(call, records)
            continue
        lost += 1
        assert [r["node"] for r in of_lost] == [victim.name]
        assert call.tried < killed
        if call.up is not None and call.up < killed - 1:
            assert of_lost[0]["status"] == 200
        # one that was sent again to the other appserver has a record of that attempt too
        assert [r["node"] for r in others] in ([], ["appserver2"]), (call, found)
    sys.stdout.write(f"  {lost} calls ended as {LOST}\n")
    assert lost
