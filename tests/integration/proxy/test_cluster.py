"""Proxies and appservers that find each other, die, drain and wait for calls: on real sockets."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import httpx
import pytest

from services.proxy.__main__ import Node
from tandem.bus.hints import Hint, HintWithdrawn
from tandem.bus.nodes import DrainRequested, NodeState
from tandem.bus.ports import Topic
from tandem.siptransport.flowtoken import describe
from tandem.siptransport.udp import pack_address
from tests.support.proxy import request, response_to, values
from tests.support.proxynode import LOOPBACK, Cluster, FakeAppserver, cluster, port_of, until


def call(number: int, via: str, method: str = "INVITE", uri: str = "sip:bob@example.com") -> bytes:
    """Requests of one number are of one transaction."""
    data = request(method, uri, via=f"{via}n{number}")
    return data.replace(b"one@", b"call%d@" % number)


def status(data: bytes) -> int:
    return int(data[8:11])


def hashed_to(node: Node, appserver: FakeAppserver, start: int = 0) -> int:
    """The number of a call that goes there by its hash."""
    pick = node.proxy.appservers.pick
    numbers = range(start, start + 1000)
    return next(n for n in numbers if pick(b"call%d@203.0.113.7" % n) == appserver.address)


async def test_appservers_are_found_by_what_they_announce() -> None:
    async with cluster() as world:
        proxy = await world.proxy()
        phone = world.phone(proxy)
        phone.send(call(1, phone.via))
        assert status(await phone.receive()) == 503
        started = time.monotonic()
        one = await world.appserver()
        assert time.monotonic() - started < 1.0
        phone.send(call(1, phone.via))
        assert status(await phone.receive()) == 200
        assert values(await one.receive(), "Call-ID") == ["call1@203.0.113.7"]


async def test_one_that_dies_is_out_of_the_choice_and_one_that_comes_back_is_in() -> None:
    async with cluster() as world:
        proxy = await world.proxy()
        one, two = await world.appserver(), await world.appserver()
        one.probe_status = one.status = 0
        died = time.monotonic()
        await until(lambda: one.address not in proxy.proxy.appservers.alive)
        assert time.monotonic() - died < 2.5
        phone = world.phone(proxy)
        for number in range(20):
            phone.send(call(number, phone.via))
            assert status(await phone.receive()) == 200
        assert len(two.all) == 20
        one.probe_status = one.status = 200
        one.announce(incarnation=2)
        await until(lambda: one.address in proxy.proxy.appservers.active)
        phone.send(call(hashed_to(proxy, one, 1000), phone.via))
        await one.receive()


async def test_one_that_drains_keeps_what_it_has_and_gets_nothing_new() -> None:
    async with cluster() as world:
        proxy = await world.proxy()
        one, two = await world.appserver(), await world.appserver()
        phone = world.phone(proxy)
        number = hashed_to(proxy, one)
        one.status = 180
        phone.send(call(number, phone.via))
        await phone.receive()
        owner = values(one.all[0], "Record-Route")[0].split(", ")[1]
        one.announce(state=NodeState.DRAINING)
        await until(lambda: one.address not in proxy.proxy.appservers.active)
        for method in ("CANCEL", "INVITE", "ACK"):
            phone.send(call(number, phone.via, method))
        bye = request("BYE", via=f"{phone.via}bye", headers=(f"Route: {owner}",))
        phone.send(bye)
        got = [(await one.receive()).split()[0] for _ in range(5)]
        assert got == [b"INVITE", b"CANCEL", b"INVITE", b"ACK", b"BYE"]
        for other in range(1000, 1020):
            phone.send(call(other, phone.via))
            await two.receive()
        assert one.got.empty()


async def test_a_joining_one_takes_no_transaction_over() -> None:
    async with cluster() as world:
        proxy = await world.proxy()
        one = await world.appserver()
        phone = world.phone(proxy)
        one.status = 180
        for number in range(40):
            phone.send(call(number, phone.via))
            await phone.receive()
        two = await world.appserver()
        for number in range(40):
            phone.send(call(number, phone.via, "CANCEL"))
            await phone.receive()
        assert (len(one.all), len(two.all)) == (80, 0)
        assert hashed_to(proxy, two) < 40


async def test_what_a_tcp_client_sent_to_one_that_died_is_answered_by_another() -> None:
    async with cluster() as world:
        proxy = await world.proxy()
        one, two = await world.appserver(), await world.appserver()
        phone = await world.tcp_phone(proxy)
        number = hashed_to(proxy, one)
        one.probe_status = one.status = 0
        phone.send(call(number, "SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK"))
        assert status(await phone.receive()) == 200
        assert len(two.all) == 1
        assert {data.split()[0] for data in one.all} == {b"INVITE"}
        assert proxy.proxy.pending.rerouted == 1
        assert len(proxy.proxy.pending) == 0
        assert values(two.all[0], "Record-Route") != values(one.all[0], "Record-Route")


async def test_what_a_tcp_client_sent_to_the_last_one_is_answered_503() -> None:
    async with cluster() as world:
        proxy = await world.proxy()
        one = await world.appserver()
        phone = await world.tcp_phone(proxy)
        one.probe_status = one.status = 0
        phone.send(call(1, "SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK", "MESSAGE"))
        answer = await phone.receive()
        assert status(answer) == 503
        assert values(answer, "Via")[0].startswith("SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bKn1")


async def test_what_the_link_lost_is_sent_again_for_a_tcp_client() -> None:
    async with cluster() as world:
        proxy = await world.proxy()
        one = await world.appserver()
        phone = await world.tcp_phone(proxy)
        one.status = 0
        phone.send(call(1, "SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK", "MESSAGE"))
        first = await one.receive()
        one.status = 200
        assert await one.receive() == first
        assert status(await phone.receive()) == 200
        assert proxy.proxy.pending.retransmitted == 1


def hint(world: Cluster, appserver: FakeAppserver, number: str = "h1", **more: object) -> Hint:
    made = Hint(
        id=number, node="test", appserver=appserver.address, customer="c",
        users=("bob",), expires_at=time.time() + 60,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


async def test_a_hinted_call_finds_who_waits_through_any_proxy() -> None:
    async with cluster() as world:
        proxies = [await world.proxy(), await world.proxy()]
        one, two = await world.appserver(), await world.appserver()
        number = hashed_to(proxies[0], one)
        waiting = hint(world, two, pattern="al*")
        world.bus.publish(Topic.HINTS, waiting)
        await world.talk.all_have("h1", "proxy1", "proxy2")
        for offset, proxy in enumerate(proxies):
            phone = world.phone(proxy)
            phone.send(call(number, phone.via + f"p{offset}"))
            await two.receive()
            assert status(await phone.receive()) == 200
        ordinary = call(hashed_to(proxies[0], one, number + 1), phone.via, uri="sip:eve@x")
        phone.send(ordinary)
        await one.receive()
        world.bus.publish(Topic.HINTS, HintWithdrawn("h1", "matched"))
        await until(lambda: not any(len(node.proxy.hints) for node in proxies))
        phone.send(call(number, phone.via + "p1", "ACK"))
        assert (await two.receive()).startswith(b"ACK ")
        phone.send(call(hashed_to(proxies[0], one, number + 1), phone.via + "new"))
        await one.receive()


async def test_in_dialog_requests_reach_their_owner_through_any_proxy() -> None:
    async with cluster() as world:
        proxies = [await world.proxy(public_name="sip.example.com") for _ in range(2)]
        one, two = await world.appserver(), await world.appserver()
        first, other = (world.phone(proxy) for proxy in proxies)
        owners = []
        for appserver in (one, two):
            first.send(call(hashed_to(proxies[0], appserver), first.via))
            await first.receive()
            _, outer = values(await appserver.receive(), "Record-Route")[0].split(", ")
            owners.append(outer)
            assert re.fullmatch(r"<sip:o[\w-]+@sip\.example\.com;lr>", outer)
            via = f"{other.via}bye{appserver.node}"
            bye = request("BYE", via=via, headers=(f"Route: {outer}",))
            other.send(bye)
            data = await appserver.receive()
            assert data.startswith(b"BYE ")
            assert values(data, "Route") == []
            assert status(await other.receive()) == 200
        one.probe_status = one.status = 0
        await until(lambda: one.address not in proxies[1].proxy.appservers.alive)
        bye = request("BYE", via=f"{other.via}late", headers=(f"Route: {owners[0]}",))
        other.send(bye)
        assert (await two.receive()).startswith(b"BYE ")


async def test_another_proxy_reaches_the_udp_phones_of_a_dead_one_and_no_connections() -> None:
    async with cluster() as world:
        dead, living = [await world.proxy() for _ in range(2)]
        one = await world.appserver()
        tokens = {}
        phone, tcp = world.phone(dead), await world.tcp_phone(dead)
        phone.send(call(1, phone.via, "REGISTER"))
        tcp.send(call(2, "SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK", "REGISTER"))
        for _ in range(2):
            path = values(await one.receive(), "Path")[0]
            token = path.partition("sip:")[2].partition("@")[0]
            described = describe(token)
            assert described is not None
            assert described[0] == dead.link.address
            tokens[described[1]] = path.removesuffix(";ob>") + ">"
        await phone.receive()
        await dead.proxy.stop()
        leg = f"SIP/2.0/UDP {one.address};branch=z9hG4bKleg"
        ring = request(via=leg, uri="sip:x@10.0.0.1", headers=(f"Route: {tokens['udp']}",))
        one.link.send(ring, living.link.address)
        got = await phone.receive()
        assert got.startswith(b"INVITE sip:x@10.0.0.1 ")
        target = pack_address("127.0.0.1", port_of(living, "udp"))
        phone.socket.send(response_to(got), target)
        answer = await one.receive()
        assert status(answer) == 200
        assert values(answer, "Via") == [leg]
        ring = ring.replace(tokens["udp"].encode(), tokens["tcp"].encode())
        one.link.send(ring, living.link.address)
        assert status(await one.receive()) == 430


async def test_strangers_are_not_listened_to_and_friends_are() -> None:
    async with cluster() as world:
        proxy = await world.proxy()
        stranger = FakeAppserver("stranger")
        leg = f"SIP/2.0/UDP {stranger.address};branch=z9hG4bKleg"
        stranger.link.send(request(via=leg, uri="sip:x@192.0.2.1"), proxy.link.address)
        await until(lambda: proxy.link.strangers == 1)
        friend = await world.appserver()
        friend.link.send(
            request(via=leg, uri="sip:nobody@some.name").replace(
                stranger.address.encode(), friend.address.encode()
            ),
            proxy.link.address,
        )
        assert status(await friend.receive()) == 503
        stranger.die()


async def test_a_proxy_that_drains_says_so_and_still_forwards() -> None:
    async with cluster() as world:
        proxy = await world.proxy(http_listen=LOOPBACK)
        one = await world.appserver()
        assert proxy.presence.http
        async with httpx.AsyncClient(base_url=f"http://{proxy.presence.http}") as http:
            assert (await http.get("/health/ready")).status_code == 200
            world.bus.publish(Topic.NODES, DrainRequested("proxy1", drain=True))
            await until(lambda: said(proxy) == NodeState.DRAINING)
            assert (await http.get("/health/ready")).status_code == 503
            assert (await http.get("/health/live")).status_code == 200
            phone = world.phone(proxy)
            phone.send(call(1, phone.via))
            await one.receive()
            assert status(await phone.receive()) == 200
            world.bus.publish(Topic.NODES, DrainRequested("proxy1", drain=False))
            await until(lambda: said(proxy) == NodeState.ACTIVE)
            assert (await http.get("/health/ready")).status_code == 200
            page = (await http.get("/metrics")).text
        assert 'tandem_proxy_requests_total{direction="in",method="INVITE"} 1.0' in page
        assert 'tandem_proxy_responses_total{class="2xx",direction="out"} 1.0' in page
        assert 'tandem_proxy_appservers{state="active"} 1.0' in page
        assert "tandem_proxy_hints_live 0.0" in page
        assert "tandem_proxy_link_retransmitted_total 0.0" in page
        assert "tandem_proxy_received_total" in page


def said(node: Node) -> str:
    """What this proxy has heard of itself."""
    return str(node.presence.nodes.known[node.presence.nodes._id].state)


@pytest.mark.parametrize("name", ["a b", "x" * 64, "sip:name"])
async def test_a_public_name_is_a_name(name: str) -> None:
    async with cluster() as world:
        with pytest.raises(ValueError, match="TANDEM_PUBLIC_NAME"):
            await world.proxy(public_name=name)
