"""Appservers and proxies are killed, drained and stopped under load with calls up."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.support.baresip import Baresip
from tests.support.cluster import DOMAIN, TRACES, Cluster
from tests.support.clusterload import (
    PASSWORD,
    SLOW_SECONDS,
    Load,
    Placed,
    Records,
    Registering,
    Sink,
    known_everywhere,
    recorded,
)
from tests.support.dns import dns_server
from tests.support.srvagent import SrvAgent
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_cluster() -> AsyncIterator[Cluster]:
    """Two of everything; use `site`."""
    cluster = Cluster(
        env={
            "proxy": {"TANDEM_PUBLIC_NAME": DOMAIN},
            "appserver1": {"TANDEM_DRAIN_SECONDS": "15"},
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


@pytest_asyncio.fixture(loop_scope="module")
async def site(module_cluster: Cluster) -> AsyncIterator[Cluster]:
    """Two of everything, all running and ready; what a test that fails leaves dead is started."""
    yield module_cluster
    for node in module_cluster.nodes.values():
        if not node.running:
            await node.start()
        await module_cluster.is_ready(node)


LOST: Final = "server lost"
CANCELLED: Final = "cancelled"
STOPPED: Final = "server stopped"
DRAINING: Final = 'tandem_proxy_appservers{state="draining"}'
IN_FLIGHT: Final = 1.0
"""Seconds from a proxy's choice to the appserver's clock on a machine that is very busy."""
HUNG_UP: Final = "caller hung up"


async def three_loads(site: Cluster, sink: Sink) -> list[Load]:
    """30 calls a second over UDP and TCP by both proxies, 60 calls up at a time."""
    loads = [
        await sink.load(site["proxy1"], rate=10),
        await sink.load(site["proxy2"], rate=10),
        await sink.load(site["proxy2"], rate=10, transport="t1"),
    ]
    for load in loads:
        await load.answered(15)
    return loads


async def ended(loads: list[Load]) -> dict[str, Placed]:
    """Place no more calls; what became of all."""
    calls: dict[str, Placed] = {}
    for each in await asyncio.gather(*(load.stop() for load in loads)):
        calls |= each
    return calls


def when(text: str) -> float:
    """Unix seconds of an RFC 3339 time."""
    return datetime.fromisoformat(text).timestamp()


async def takes_part(site: Cluster, node: str, since: float) -> None:
    """Wait until a new call is run by this appserver."""

    async def look() -> bool:
        page = await site.events_apis[0].get("/calls", count=1000)
        began = [c for c in page["items"] if c["node"] == node]
        return any(when(call["started_at"]) > since for call in began)

    await eventually(look, f"a call on {node}", 30)


async def has_no_calls(site: Cluster, node: str) -> None:
    """Wait until no call of this appserver is left in the call directory."""

    async def look() -> bool:
        page = await site.events_apis[0].get("/calls", count=1000)
        return all(call["node"] != node for call in page["items"])

    await eventually(look, f"the end of all calls of {node}", 30)


def died_with(call: Placed, killed: float) -> bool:
    """Whether an appserver had just taken this call when it was killed, and had told nobody: then
    its proxy refuses it, and it has no record."""
    return call.failure == "refused 503" and killed - 1 < call.tried < killed + 1


async def answered_for_the_dead(site: Cluster) -> int:
    """INVITEs that the proxies answered since they started because their appserver had died."""
    figures = [await proxy.metrics() for proxy in site.proxies]
    return sum(int(figure["tandem_proxy_orphans_answered_total"]) for figure in figures)


def went_well(call: Placed, records: Records) -> None:
    """Answered, hung up, and one record of it."""
    assert call.well, (call, records.get(call.call_id))
    found = [(r["status"], r["end_reason"]) for r in records.get(call.call_id, ())]
    assert found == [(200, HUNG_UP)], (call, found)


def report(
    what: str,
    calls: dict[str, Placed],
    phone: Registering,
    at: float,
    until: float = math.inf,
) -> None:
    """Print the figures of what was placed between `at` and `until`: pytest shows them with -s."""
    new = [c for c in calls.values() if at < c.tried < until]
    late = [c.tried - at for c in new if c.slow or not c.well]
    done = [r for r in phone.done if at < r.began < until]
    slow = [r.began - at for r in done if r.took > SLOW_SECONDS / 2 or r.problem]
    failures = Counter(call.failure for call in calls.values() if call.failure)
    sys.stdout.write(
        f"{what}: {len(calls)} calls, {len(new)} placed in the time after it; "
        f"of them {len(late)} slow or failed, the last placed after {max(late, default=0):.2f} s; "
        f"longest set-up {max(c.up - c.tried for c in new if c.up):.2f} s; {len(done)} REGISTER, "
        f"{len(slow)} slow, the last sent after {max(slow, default=0):.2f} s, "
        f"longest {max((r.took for r in done), default=0):.2f} s; failures in all {failures}\n"
    )


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
            await load.answered(12, killed + 2)
        await has_no_calls(site, victim.name)
        started = time.time()
        await victim.start()
        await takes_part(site, victim.name, started)
        calls = await ended(loads)
        unborn = {c.call_id for c in calls.values() if died_with(c, killed)}
        records = await recorded(site, calls.values(), since, but=unborn)
    report("kill -9 of an appserver", calls, phone, killed, started)
    report("its restart", calls, phone, started)
    assert not [r for r in phone.done if r.problem]
    without = unborn - records.keys()
    assert len(without) <= await answered_for_the_dead(site)
    lost = 0
    for call in calls.values():
        found = records.get(call.call_id, [])
        if call.call_id in without:
            continue
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


SRV: Final = """
_sip._udp SRV 10 0 {first} first
_sip._udp SRV 20 0 {second} second
_sip._tcp SRV 10 0 {first} first
_sip._tcp SRV 20 0 {second} second
first A 127.0.0.1
second A 127.0.0.1
"""
"""Of different priorities, so that it is known which proxy phones take."""
PAIRS: Final = 10


@pytest.fixture
def dns(site: Cluster, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A DNS server that names both proxies, the first to be preferred."""
    first, second = (proxy.sip.rpartition(":")[2] for proxy in site.proxies)
    with dns_server(tmp_path, DOMAIN, SRV.format(first=first, second=second)) as address:
        yield address


@pytest.fixture
def agents() -> Iterator[list[SrvAgent]]:
    """User agents are put in here, and closed after the test."""
    made: list[SrvAgent] = []
    yield made
    for agent in made:
        agent.close()


async def test_phones_whose_proxy_is_killed_go_on_by_the_other(
    site: Cluster, dns: tuple[str, int], agents: list[SrvAgent]
) -> None:
    since = time.time()
    first, second = site.proxies
    for name in ("callee", "caller", "newcomer"):
        agents.append(await SrvAgent.find(name, DOMAIN, dns))
    callee, caller, newcomer = agents
    callee.on_invite = lambda call: call.accept()
    assert callee.servers == caller.servers == [first.sip, second.sip]
    user = f"u{secrets.token_hex(4)}"
    await site.api.add_account(user, PASSWORD)
    await callee.register(DOMAIN, user, PASSWORD, DOMAIN)
    await known_everywhere(site, user)
    uri = f"sip:{user}@{DOMAIN}"
    async with (
        Sink.open(site, first) as sink,
        Registering.phone(site, [second]) as phone,
    ):
        loads = [
            await sink.load(second, rate=10),
            await sink.load(second, rate=10, transport="t1"),
        ]
        for load in loads:
            await load.answered(15)
        up = [caller.invite(DOMAIN, uri) for _ in range(2 * PAIRS)]
        for call in up:
            await call.until(call.answered)
        answered = list(callee.calls)
        for call in answered:
            await call.until(call.answered)
        killed = time.time()
        first.kill()
        # half of them hangs the caller up, half the callee: each by the other proxy
        mine, others = up[:PAIRS], {call.offer for call in up[PAIRS:]}
        theirs = [call for call in answered if call.heard in others]
        assert len(theirs) == PAIRS
        await asyncio.gather(*(call.hang_up() for call in (*mine, *theirs)))
        again = caller.invite(DOMAIN, uri)
        await again.until(again.answered)
        await again.hang_up()
        await newcomer.register(DOMAIN, user, PASSWORD, DOMAIN)
        recovered = time.time() - killed
        for load in loads:
            await load.answered(12, killed + 2)
        calls = await ended(loads)
        records = await recorded(site, calls.values(), since)
    await first.start()
    await site.is_ready(first)
    report("kill -9 of a proxy", calls, phone, killed)
    sys.stdout.write(f"  all calls hung up, a new one, a registration after {recovered:.1f} s\n")
    assert not [r for r in phone.done if r.problem]
    for placed in calls.values():
        if placed.tried < killed and placed.failure.startswith("silent"):
            # the phone's answer went to the dead proxy: it rang until the caller gave up
            assert [r["end_reason"] for r in records[placed.call_id]] == [CANCELLED]
        else:
            went_well(placed, records)
    for call in (*up, again):
        await call.until(call.over)
    for agent, number in ((caller, PAIRS + 1), (callee, PAIRS)):
        byes = [status for (method, _), status in agent.finals.items() if method == "BYE"]
        assert byes == [200] * number
    made = [records[call.invite.call_id] for call in (*up, again)]
    assert {len(found) for found in made} == {1}
    ends = Counter(found[0]["end_reason"] for found in made)
    assert ends == {HUNG_UP: PAIRS + 1, "callee hung up": PAIRS}


@pytest_asyncio.fixture(loop_scope="module")
async def baresip(
    tmp_path_factory: pytest.TempPathFactory, dns: tuple[str, int]
) -> AsyncIterator[Baresip]:
    """A phone that asks the DNS server."""
    phone = Baresip(tmp_path_factory.mktemp("baresip") / "phone", dns=f"{dns[0]}:{dns[1]}")
    try:
        await phone.start()
        yield phone
    finally:
        await phone.stop()


async def test_a_phone_on_tcp_whose_proxy_is_killed_calls_by_the_other(
    site: Cluster, dns: tuple[str, int], baresip: Baresip, agents: list[SrvAgent]
) -> None:
    users = [f"u{secrets.token_hex(4)}" for _ in range(2)]
    for user in users:
        await site.api.add_account(user, PASSWORD)
    callee = await SrvAgent.find("callee", DOMAIN, dns, lambda call: call.accept())
    agents.append(callee)
    await callee.register(DOMAIN, users[0], PASSWORD, DOMAIN)
    await baresip.registered(users[1], PASSWORD, DOMAIN, "tcp")
    await known_everywhere(site, users[0])
    site.proxies[0].kill()
    await baresip.dial(users[0])
    await baresip.event("CALL_ESTABLISHED")
    await baresip.hang_up()
    (call,) = callee.calls
    await call.until(call.over)


async def drained(site: Cluster, node: str) -> float:
    """Have an appserver drain. Returns when every proxy knew."""
    ran = await site.tandemctl()("drain", node)
    assert ran.status == 0, ran.err

    async def look() -> bool:
        return [(await p.metrics())[DRAINING] for p in site.proxies] == [1, 1]

    await eventually(look, "all proxies to know of it")
    return time.time()


async def test_draining_an_appserver_fails_no_call(site: Cluster) -> None:
    since = time.time()
    first, second = site.appservers
    moments: dict[str, tuple[float, float]] = {}
    async with (
        Sink.open(site, site["proxy1"]) as sink,
        Registering.phone(site, site.proxies) as phone,
    ):
        loads = await three_loads(site, sink)
        # by an operator, who thinks better of it; a proxy too, whose clients don't know yet
        assert (await site.tandemctl()("drain", "proxy1")).status == 0
        assert await site["proxy1"].health() == 503
        at = await drained(site, first.name)
        for load in loads:
            await load.answered(8, at)
        until = time.time()
        moments[first.name] = (at, until)
        for node in (first.name, "proxy1"):
            assert (await site.tandemctl()("undrain", node)).status == 0
        await takes_part(site, first.name, until)
        # by a signal
        signalled = time.time()
        assert await first.terminate(90) == 0
        took = time.time() - signalled
        started = time.time()
        await first.start(TANDEM_DRAIN_SECONDS="0")
        await takes_part(site, first.name, started)
        # by an operator, for good
        at = await drained(site, second.name)
        waited = await site.tandemctl()("drain", second.name, "--wait", "60")
        assert waited.status == 0, waited.err
        moments[second.name] = (at, time.time())
        assert await second.terminate() == 0
        for load in loads:
            await load.answered(8, time.time())
        started = time.time()
        await second.start()
        await takes_part(site, second.name, started)
        calls = await ended(loads)
        records = await recorded(site, calls.values(), since)
    report("drain", calls, phone, since)
    sys.stdout.write(f"  SIGTERM to stop with calls of 2 s: {took:.1f} s\n")
    assert not [r for r in phone.done if r.problem]
    for placed in calls.values():
        went_well(placed, records)
    for node, (begin, end) in moments.items():
        began = [when(r["created_at"]) for rs in records.values() for r in rs if r["node"] == node]
        assert not [at for at in began if begin + IN_FLIGHT < at < end], node


def in_session(leader: int) -> list[int]:
    """The processes of the session that a node was the leader of."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[3]) == leader:
                found.append(int(stat.parent.name))
    return found


async def queues_without_readers(site: Cluster) -> set[str]:
    """The queues that are left once nobody reads any."""

    async def look() -> dict[str, int]:
        found = site.queues()  # counted a moment late for quorum queues
        return found if not any(found.values()) else {}

    return set(await eventually(look, "queues without readers"))


async def test_all_told_to_stop_at_once_under_load_leave_nothing(site: Cluster) -> None:
    since = time.time()
    before = site.queues()
    async with Sink.open(site, site["proxy1"]) as sink:
        loads = await three_loads(site, sink)
        told = time.time()
        nodes = list(site.nodes.values())
        for node in nodes:
            node.child.wanted = False
            node.child.send(signal.SIGTERM)
        assert all(await asyncio.gather(*(node.child.ended(60) for node in nodes)))
        took = time.time() - told
        calls: dict[str, Placed] = {}
        for load in loads:
            calls |= await load.kill()
    assert {node.child.status for node in nodes} == {0}
    assert [n.name for n in nodes if any(trace in n.log for trace in TRACES)] == []
    assert [n.name for n in nodes if in_session(n.child.pid)] == []
    left = await queues_without_readers(site)
    assert left <= {"tandem.events.events", "tandem.location.provisioning"}, (left, before)
    await site.log_out()
    for node in nodes:
        node.spawn()
    await site.log_in()
    records = await recorded(site, calls.values(), since)
    up = [call for call in calls.values() if call.was_up(told)]
    reasons = Counter(r["end_reason"] for rs in records.values() for r in rs)
    sys.stdout.write(
        f"SIGTERM of all: {len(calls)} calls, {len(up)} up; stopped after {took:.1f} s; {reasons}\n"
    )
    assert {len(found) for found in records.values()} == {1}
    assert {records[call.call_id][0]["status"] for call in up} == {200}
    assert {records[call.call_id][0]["end_reason"] for call in up} <= {HUNG_UP, STOPPED}
