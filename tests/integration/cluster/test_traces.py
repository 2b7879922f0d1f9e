"""Full SIP traces from all servers: for who watches them, and for calls that failed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.api import Api
from tests.support.cluster import Cluster, Node
from tests.support.clusterload import known_everywhere
from tests.support.consoles import KINDS, Console, Seen, consoles
from tests.support.waiting import eventually
from tests.support.wsclient import WebPhone

APPSERVERS = {"appserver1", "appserver2"}


@dataclass
class Customer:
    """A customer of the shared cluster with phones."""

    cluster: Cluster
    name: str
    api: Api
    """Its own, at provisioning."""
    phones: list[WebPhone] = field(default_factory=list)

    @property
    def token(self) -> str:
        """What it shows."""
        return self.api.client.headers["Authorization"].removeprefix("Bearer ")

    async def account(self) -> str:
        """A new account; its user name."""
        user = f"t{secrets.token_hex(4)}"
        await self.cluster.api.add_account(user, "secret1", owner=self.name)
        return user

    async def phone(self, proxy: Node) -> WebPhone:
        """A new account with a phone that is registered, and known at all appservers."""
        made = WebPhone(await self.account(), "secret1")
        await made.connect(proxy.at("ws"))
        self.phones.append(made)
        assert (await made.register()).status == 200
        await known_everywhere(self.cluster, made.user)
        return made

    async def call_of(self, record_status: int, caller: WebPhone) -> dict[str, Any]:
        """What GET /calls/{id} tells it of the caller's failed call."""
        events = Api(self.cluster.events[1].http)
        events.client.headers["Authorization"] = self.api.client.headers["Authorization"]

        async def look() -> dict[str, Any] | None:
            page = await events.get("/cdrs", account=caller.user)
            mine = [item for item in page["items"] if item["status"] == record_status]
            shown = await events.get(f"/calls/{mine[0]['id']}") if mine else None
            return shown if shown and shown.get("record") else None

        try:
            found = await eventually(look, f"the record of a call with {record_status}")
        finally:
            await events.close()
        assert found is not None
        return found


@asynccontextmanager
async def customer(cluster: Cluster) -> AsyncIterator[Customer]:
    """A new one."""
    name = f"c{secrets.token_hex(4)}"
    await cluster.add_customer(name, "secret1")
    api = await cluster.customer_api(name, "secret1")
    made = Customer(cluster, name, api)
    try:
        yield made
    finally:
        for phone in made.phones:
            await phone.close()
        await api.close()


async def talk(caller: WebPhone, callee: WebPhone) -> None:
    """A call from its INVITE to its end."""
    calling = asyncio.create_task(caller.call(callee.user))
    incoming = await callee.incoming()
    await incoming.accept()
    call = await calling
    assert call.status == 200
    hanging = asyncio.create_task(call.hang_up())
    await callee.confirm("BYE")
    assert (await hanging).status == 200


def first_lines(traces: list[Seen]) -> set[str]:
    """`in INVITE`, `out SIP/2.0 200` and so on."""
    found = set()
    for trace in traces:
        words = trace.data["message"].split(" ")
        what = " ".join(words[:2]) if words[0] == "SIP/2.0" else words[0]
        found.add(f"{trace.data['direction']} {what}")
    return found


def nodes_of(traces: list[Seen], first: str) -> set[str]:
    """The appservers that such messages passed."""
    return {trace.node for trace in traces if trace.data["message"].startswith(first)}


async def watched(cluster: Cluster, count: int) -> None:
    """Wait until each appserver knows of so many customers that are watched."""

    async def look() -> bool:
        seen = [await node.metrics() for node in cluster.appservers]
        return all(metrics["tandem_watched_customers"] == count for metrics in seen)

    await eventually(look, f"{count} customers to be watched", 30)


async def test_who_watches_sees_its_own_messages_of_all_servers_until_it_stops(
    cluster: Cluster,
) -> None:
    at = int((await cluster.events_apis[0].get("/events", count=1))["cursor"])
    async with customer(cluster) as alice, customer(cluster) as bob:
        mine = [Console(kind, alice.token, at, traces=True) for kind in KINDS]
        others = Console("sse", bob.token, at, traces=True)
        silent = Console("sse", alice.token, at)
        async with consoles(*mine, others, silent):
            for console in mine:
                console.follow(cluster["events1"])
            others.follow(cluster["events2"])
            silent.follow(cluster["events2"])
            await watched(cluster, 2)
            caller, callee = [await alice.phone(proxy) for proxy in cluster.proxies]
            theirs = await bob.phone(cluster["proxy1"])

            async def both() -> bool:
                """Register and call until each appserver had some of it."""
                await (await alice.phone(cluster["proxy2"])).close()
                await talk(caller, callee)
                seen = mine[0].of_type("sip.trace")
                parts = (nodes_of(seen, "REGISTER "), nodes_of(seen, "INVITE "))
                return parts == (APPSERVERS, APPSERVERS)

            await eventually(both, "traces from both appservers", 60)
            await theirs.register_once(authorized=True)
            traces = mine[0].of_type("sip.trace")
            assert {
                "in REGISTER", "out SIP/2.0 401", "out SIP/2.0 200", "in INVITE", "out INVITE",
                "out SIP/2.0 407", "in SIP/2.0 200", "in ACK", "in BYE", "out BYE",
            } <= first_lines(traces)  # fmt: skip
            for console in mine[1:]:
                await console.reached(traces[-1].id)
                shown = [e for e in console.of_type("sip.trace") if e.id <= traces[-1].id]
                assert shown == traces
            assert "response=***" in "".join(trace.data["message"] for trace in traces)

            async def bobs() -> bool:
                return bool(others.of_type("sip.trace"))

            await eventually(bobs, "bob's own traces")
            await others.reached(traces[-1].id)
            await silent.reached(traces[-1].id)
            ids = {trace.id for trace in traces}
            assert not ids & set(others.ids)
            assert silent.of_type("sip.trace") == []
        await watched(cluster, 0)
        last = int((await cluster.events_apis[0].get("/events", count=1))["cursor"])
        await alice.phone(cluster["proxy1"])
        await talk(caller, callee)
        api = cluster.events_apis[0]

        async def recorded() -> bool:
            page = await api.get("/events", cursor=last, filter="type=call.record", count=100)
            return bool(page["items"])

        await eventually(recorded, "the record of the last call")
        page = await api.get("/events", cursor=last, filter="type=sip.trace", count=100)
        assert page["items"] == []


async def test_a_failed_call_is_explained_by_its_messages_to_its_customer(
    cluster: Cluster,
) -> None:
    async with customer(cluster) as alice, customer(cluster) as bob:
        caller = await alice.phone(cluster["proxy1"])
        callee = await alice.phone(cluster["proxy2"])
        assert (await caller.call(f"nobody{secrets.token_hex(3)}")).status == 404
        assert (await caller.call(await alice.account())).status == 480
        calling = asyncio.create_task(caller.call(callee.user))
        await (await callee.incoming()).refuse(503)
        refused = (await calling).status
        assert refused >= 500
        for status, wanted in (
            (404, {"in INVITE", "out SIP/2.0 407", "out SIP/2.0 404"}),
            (480, {"in INVITE", "out SIP/2.0 480"}),
            (refused, {"in INVITE", "out INVITE", "in SIP/2.0 503", f"out SIP/2.0 {refused}"}),
        ):
            call = await alice.call_of(status, caller)
            traces = [event for event in call["events"] if event["type"] == "sip.trace"]
            seen = [Seen(e["id"], e["node"], e["type"], "", e["data"]) for e in traces]
            assert wanted <= first_lines(seen), (status, first_lines(seen))
            assert {event["node"] for event in traces} == {call["events"][0]["node"]}
            times = [event["data"]["at"] for event in traces]
            assert times == sorted(times)
            # another customer finds no such call
            other = Api(cluster.events[0].http)
            other.client.headers["Authorization"] = bob.api.client.headers["Authorization"]
            answer = await other.client.get(f"/api/v1/calls/{call['id']}")
            assert answer.status_code == 404
            await other.close()
