"""Calls across a cluster: a phone of proxy 1 and appserver 1 is called through proxy 2 and
appserver 2. Where a registration or call went is read from the events; clients that choose their
own Call-IDs are tried until the hash falls so."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.support.baresip import Baresip
from tests.support.cluster import DOMAIN, Cluster
from tests.support.sipp import SippPhone
from tests.support.streamphone import StreamPhone
from tests.support.town import PASSWORD, Town, call_id_for
from tests.support.udpagent import UdpCall
from tests.support.waiting import eventually

TRIES: Final = 40
"""Each falls as it should with a chance of one in two."""
SIPP_CALLS: Final = 24

Maker = Callable[[str], Awaitable[Baresip]]


@pytest_asyncio.fixture
async def phone(tmp_path: Path) -> AsyncIterator[Maker]:
    """Makes baresip phones, which are stopped after the test."""
    made: list[Baresip] = []

    async def make(name: str) -> Baresip:
        made.append(Baresip(tmp_path / name))
        await made[-1].start()
        return made[-1]

    yield make
    for each in made:
        await each.stop()


def _user() -> str:
    return f"u{secrets.token_hex(4)}"


async def _register(
    cluster: Cluster, phone: Baresip, user: str, proxy: str, way: str, appserver: str
) -> None:
    """Through this proxy, until this appserver took it."""
    api = cluster.events_apis[0]
    await cluster.api.add_account(user, PASSWORD)
    aor = f"{user}@{DOMAIN}"
    for _ in range(TRIES):
        mark = await api.mark()
        use = "tls" if way == "tls" else "sip"
        await phone.registered(user, PASSWORD, cluster[proxy].at(use), way)
        if (await api.event_after(mark, "registration.added", aor=aor))["node"] == appserver:
            (binding,) = await cluster.api.bound(aor)
            assert binding["received"].startswith(f"{way}:")
            assert binding["proxy"] == cluster[proxy].internal
            return
        await phone.unregister()
        await api.event_after(mark, "registration.removed", aor=aor)
    raise AssertionError(f"no registration fell to {appserver}")


async def _ring(
    cluster: Cluster, caller: Baresip, callee: Baresip, user: str, appserver: str
) -> None:
    """Call until a call that this appserver has rings."""
    api = cluster.events_apis[1]
    for _ in range(TRIES):
        await caller.dial(user)
        await callee.event("CALL_INCOMING")
        await caller.event("CALL_RINGING")
        if (await api.live_call("ringing"))["node"] == appserver:
            return
        await caller.hang_up()
        await callee.event("CALL_CLOSED")
        await api.no_calls()
    raise AssertionError(f"no call fell to {appserver}")


@pytest.mark.parametrize("way", ["udp", "tcp", "tls"])
async def test_a_phone_is_called_through_the_other_proxy_and_the_other_appserver(
    cluster: Cluster, phone: Maker, way: str
) -> None:
    api = cluster.events_apis[0]
    callee, caller = await phone("callee"), await phone("caller")
    name, other = _user(), _user()
    await _register(cluster, callee, name, "proxy1", way, "appserver1")
    await _register(cluster, caller, other, "proxy2", way, "appserver2")
    for ends, reason in ((callee, "callee hung up"), (caller, "caller hung up")):
        await _ring(cluster, caller, callee, name, "appserver2")
        mark = (await api.get("/events", count=1))["cursor"]
        await callee.answer()
        for end in (caller, callee):
            await end.event("CALL_ESTABLISHED")
        call = await api.live_call("answered")
        assert call["node"] == "appserver2"
        for number, step in enumerate((callee.hold, caller.hold, callee.resume, caller.resume), 1):
            await step()
            await _changed(api, mark, number)
        await ends.hang_up()
        await (caller if ends is callee else callee).event("CALL_CLOSED")
        await api.no_calls()

        async def look(call_id: str = call["id"]) -> Any:
            page = await api.get("/cdrs", count=50)
            return next((each for each in page["items"] if each["id"] == call_id), None)

        record = await eventually(look, "the call record")
        assert (record["status"], record["end_reason"]) == (200, reason)
        assert record["caller"] == f"sip:{other}@{DOMAIN}"


async def _changed(api: Any, cursor: int, number: int) -> None:
    """So many re-INVITEs were answered since then."""

    async def look() -> bool:
        page = await api.get("/events", cursor=cursor, count=1000)
        changes = [each["data"] for each in page["items"] if each["type"] == "call.changed"]
        assert all(each["status"] == 200 for each in changes)
        return len(changes) == number

    await eventually(look, f"change {number} of the call")


@pytest.mark.parametrize("way", ["udp", "tcp"])
async def test_sipp_calls_across_both_proxies_and_both_appservers(
    cluster: Cluster, tmp_path: Path, way: str
) -> None:
    api = cluster.events_apis[0]
    transport = "u1" if way == "udp" else "t1"
    callee = SippPhone(tmp_path, _user(), PASSWORD, cluster["proxy1"].sip)
    caller = SippPhone(tmp_path, _user(), PASSWORD, cluster["proxy2"].sip, transport)
    for each in (callee, caller):
        await cluster.api.add_account(each.user, PASSWORD)
        await each.run("register")
    aor = f"{callee.user}@{DOMAIN}"
    for node in cluster.appservers:

        async def known(node: Any = node) -> bool:
            page = await cluster.api.get("/bindings", count=1000)
            held = (await node.metrics())["tandem_bindings"]
            return aor in {each["aor"] for each in page["items"]} and held >= len(page["items"])

        await eventually(known, f"the binding at {node.name}")
    mark = await api.mark()
    answering = await callee.start("answer", calls=SIPP_CALLS)
    try:
        calls = await caller.run("call", callee=callee.user, calls=SIPP_CALLS, rate=40)
        assert calls.successful == SIPP_CALLS
        assert (await answering.succeeded()).successful == SIPP_CALLS
    finally:
        await answering.stop()

    async def look() -> bool:
        return bool((await api.get("/cdrs", count=1))["total"] == mark.records + SIPP_CALLS)

    await eventually(look, "all call records")
    records = (await api.get("/cdrs", count=SIPP_CALLS))["items"]
    assert {each["status"] for each in records} == {200}
    started = [e for e in await api.events_after(mark) if e["type"] == "call.started"]
    assert {event["node"] for event in started} == {"appserver1", "appserver2"}


async def test_requests_inside_a_call_may_come_through_the_other_proxy(cluster: Cluster) -> None:
    town = await Town.open(cluster)
    try:
        await cluster.api.add_account(user := _user(), PASSWORD)
        callee = await town.agent(user)
        callee.on_invite = UdpCall.accept
        first, second = (proxy.sip for proxy in cluster.proxies)
        where = call_id_for(cluster, "appserver1")
        await callee.register(first, user, PASSWORD, DOMAIN, call_id=where)
        await cluster.api.bound(f"{user}@{DOMAIN}")
        for ends in ("caller", "callee"):
            uri = f"sip:{user}@{DOMAIN}"
            call = town.callers.invite(
                second, uri, user="carol", call_id=call_id_for(cluster, "appserver2")
            )
            await call.until(call.answered)
            (held,) = await town.held([call])
            assert held.appserver == "appserver2"
            taken = callee.calls[-1]
            await taken.until(taken.answered)
            for one, other, proxy in ((call, taken, first), (taken, call, second)):
                one.request("INVITE", one.offer, through=proxy)
                await other.until(other.reinvited)
                await other.until(other.answered)  # another one may be sent
            if ends == "caller":
                await call.hang_up(through=first)
                await taken.until(taken.over)
            else:
                await taken.hang_up(through=second)
                await call.until(call.over)
        await town.quiet()
    finally:
        await town.close()


@pytest.mark.parametrize("way", ["tcp", "tls"])
async def test_over_connections_too_they_may_come_through_the_other_proxy(
    cluster: Cluster, way: str
) -> None:
    use = "tls" if way == "tls" else "sip"
    first, second = (proxy.at(use) for proxy in cluster.proxies)
    callee, caller = (StreamPhone(_user(), PASSWORD, way) for _ in range(2))
    for phone, proxy in ((callee, first), (caller, second)):
        await cluster.api.add_account(phone.user, PASSWORD)
        await phone.turn_to(proxy)
        assert (await phone.register()).status == 200
        await cluster.api.bound(f"{phone.user}@{DOMAIN}")
    for last in ("caller", "callee"):
        await callee.turn_to(first)
        await caller.turn_to(second)
        calling = asyncio.create_task(caller.call(callee.user))
        taken = await callee.incoming()
        await taken.accept()
        call = await calling
        assert call.status == 200
        await callee.turn_to(second)
        await caller.turn_to(first)
        for one, its, other, others in (
            (caller, call, callee, taken), (callee, taken, caller, call),
        ):  # fmt: skip
            changing = asyncio.create_task(one.reinvite(its))
            await other.accept_again(others)
            assert (await changing).status == 200
        ends, hears = (call, callee) if last == "caller" else (taken, caller)
        ending = asyncio.create_task(ends.hang_up())
        await hears.confirm("BYE")
        assert (await ending).status == 200
        await cluster.events_apis[0].no_calls()
    for phone in (callee, caller):
        await phone.close()


async def test_many_calls_at_once_stay_apart(cluster: Cluster) -> None:
    town = await Town.open(cluster)
    try:
        customer = await town.customer()
        accounts = [await town.account(customer, answers=True) for _ in range(4)]
        await town.registered(accounts)
        calls = [town.ring(accounts[n % 4], town.number()) for n in range(40)]
        await asyncio.gather(*(call.until(call.answered) for call in calls))
        for account in accounts:
            taken = {call.heard: call.offer for call in account.phone.calls}
            mine = {
                call.offer: call.heard for n, call in enumerate(calls) if accounts[n % 4] is account
            }
            assert taken == mine
        await asyncio.gather(*(call.hang_up() for call in calls))
        await town.quiet()
    finally:
        await town.close()
