"""Requests from appservers, and responses both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.proxy.domain import outbound, responses
from services.proxy.domain.peer import Peer
from services.proxy.domain.verdict import Address, Answer, Back, Drop, ToAppserver
from tests.support.proxy import (
    APPSERVER,
    LINK,
    PUBLIC,
    World,
    make_edge,
    make_peer,
    request,
    response_to,
    values,
)

VIA = f"SIP/2.0/UDP {APPSERVER};branch=z9hG4bKleg"


def plan(world: World, data: bytes) -> outbound.Plan:
    """The plan for a request that can be sent."""
    found = outbound.plan(world.edge, data)
    assert isinstance(found, outbound.Plan), found
    return found


def sent(world: World, data: bytes, peer: Peer | None = None) -> bytes:
    """The request on the wire."""
    out = outbound.write(world.edge, plan(world, data), peer or world.peer, APPSERVER)
    assert out is not None
    return out


def test_a_flow_token_leads_to_its_flow() -> None:
    world = World()
    data = request(via=VIA, headers=(f"Route: <{world.edge.inner_route(world.peer)}>",))
    assert plan(world, data).destination == world.peer.name
    out = sent(world, data)
    assert values(out, "Route") == []
    assert values(out, "Max-Forwards") == ["69"]
    assert values(out, "Via")[0].startswith(f"SIP/2.0/UDP {PUBLIC};rport;branch=z9hG4bK-t-")
    assert values(out, "Via")[1] == f"SIP/2.0/UDP {APPSERVER};branch=z9hG4bKleg"


@pytest.mark.parametrize(
    ("dst", "address"),
    [
        ("udp:192.0.2.1:5070", Address("udp", "192.0.2.1", 5070)),
        (
            "tls:[2001:db8::5]:5061;sni=sip.example",
            Address("tls", "2001:db8::5", 5061, "sip.example"),
        ),
        ("ws:192.0.2.1:80", Address("ws", "192.0.2.1", 80)),
    ],
)
def test_a_destination_is_told_by_dst(dst: str, address: Address) -> None:
    world = World()
    data = request(via=VIA, headers=(f"Route: <sip:{LINK};lr;dst={dst}>, <sip:other;lr>",))
    assert plan(world, data).destination == address
    assert values(sent(world, data), "Route") == ["<sip:other;lr>"]


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("sip:a@192.0.2.1", Address("udp", "192.0.2.1", 5060)),
        ("sip:a@192.0.2.1;transport=tcp", Address("tcp", "192.0.2.1", 5060)),
        ("sips:a@[2001:db8::5]", Address("tls", "2001:db8::5", 5061)),
    ],
)
def test_a_numeric_request_uri_is_a_destination(uri: str, address: Address) -> None:
    assert plan(World(), request(uri=uri, via=VIA)).destination == address


@pytest.mark.parametrize("dst", ["sctp:192.0.2.1:5060", "udp:host:5060", "udp:192.0.2.1:0", "udp"])
def test_a_destination_that_is_none_gets_a_503(dst: str) -> None:
    data = request(via=VIA, headers=(f"Route: <sip:{LINK};lr;dst={dst}>",))
    assert outbound.plan(make_edge(), data) == outbound.UNROUTABLE
    assert outbound.plan(make_edge(), data.replace(b"INVITE", b"ACK")) == Drop("ack_unroutable")


def test_hops_that_are_used_up_are_answered() -> None:
    assert outbound.plan(make_edge(), request(via=VIA, hops="0")) == Answer(483)


def test_the_public_record_route_is_topmost_towards_the_public() -> None:
    world = World()
    data = request(via=VIA, headers=(f"Route: <{world.edge.inner_route(world.peer)}>",))
    outer, inner = values(sent(world, data), "Record-Route")[0].split(", ")
    assert outer == f"<{world.edge.outer_route(world.peer, APPSERVER)}>"
    assert inner == f"<{world.edge.inner_route(world.peer)}>"


def test_a_request_in_a_dialog_loses_both_routes_and_gets_no_new_ones() -> None:
    world = World()
    inner = world.edge.inner_route(world.peer)
    outer = world.edge.outer_route(world.peer, APPSERVER)
    data = request(via=VIA, headers=(f"Route: <{inner}>", f"Route: <{outer}>"))
    out = sent(world, data)
    assert values(out, "Route") == values(out, "Record-Route") == []


def test_a_response_to_what_we_sent_comes_back_to_the_appserver() -> None:
    world = World()
    out = sent(world, request(uri="sip:a@203.0.113.7:5062", via=VIA))
    verdict = responses.from_public(world.edge, response_to(out))
    assert isinstance(verdict, ToAppserver)
    assert verdict.appserver == APPSERVER
    assert values(verdict.data, "Via") == [VIA]


def test_forged_responses_are_dropped() -> None:
    world = World()
    genuine = response_to(sent(world, request(uri="sip:a@203.0.113.7", via=VIA)))
    assert isinstance(responses.from_public(world.edge, genuine), ToAppserver)
    at = genuine.index(b"-t-") + 3
    for damaged in (
        genuine[:at] + b"x" + genuine[at + 1 :],
        genuine.replace(b".leg", b".lag"),
        genuine.replace(b"-t-", b"-u-", 1),
        response_to(request()),
    ):
        assert responses.from_public(world.edge, damaged) == Drop("response_forged")
    inward = response_to(world.forwarded(request()))
    assert responses.from_public(world.edge, inward) == Drop("response_forged")


def test_a_response_from_an_appserver_leaves_by_its_flow() -> None:
    world = World()
    for peer in (world.peer, make_peer(world.edge, transport="tcp")):
        answer = response_to(world.forwarded(request(), peer))
        fast = world.fast.response(answer)
        general = responses.from_link(world.edge, answer)
        assert fast is not None
        assert isinstance(general, Back)
        assert fast == (general.data, general.ref) == (general.data, peer.ref)
        assert values(fast[0], "Via")[0].startswith(
            "SIP/2.0/UDP 203.0.113.7:5062;branch=z9hG4bKabc"
        )


def test_vias_joined_in_one_line_are_taken_apart() -> None:
    world = World()
    answer = response_to(world.forwarded(request()))
    joined = answer.replace(b"\r\nVia: ", b"\r\nv: ", 1).replace(b"\r\nVia: ", b",\r\n ", 1)
    assert world.fast.response(joined) is None
    general = responses.from_link(world.edge, joined)
    assert isinstance(general, Back)
    assert values(general.data, "v")[0].startswith("SIP/2.0/UDP 203.0.113.7:5062;")


def test_a_connection_that_is_gone_has_a_fallback() -> None:
    world = World()
    for transport, expected in (
        ("TCP", Address("tcp", "203.0.113.7", 5099)),
        ("TLS", Address("tls", "203.0.113.7", 5099)),
        ("WSS", None),
    ):
        via = f"SIP/2.0/{transport} phone.invalid:5099;branch=z9hG4bKabc;rport"
        general = responses.from_link(world.edge, response_to(world.forwarded(request(via=via))))
        assert isinstance(general, Back)
        assert general.fallback == expected


@given(st.binary(max_size=300))
def test_no_bytes_bring_it_down(data: bytes) -> None:
    world = World()
    world.fast.response(data)
    responses.from_link(world.edge, data)
    responses.from_public(world.edge, data)
    found = outbound.plan(world.edge, data)
    if isinstance(found, outbound.Plan):
        outbound.write(world.edge, found, world.peer, APPSERVER)


@given(st.integers(0, 300), st.binary(max_size=12), st.integers(0, 30))
def test_no_damage_to_a_branch_brings_it_down(at: int, junk: bytes, cut: int) -> None:
    world = World()
    data = response_to(sent(world, request(uri="sip:a@203.0.113.7", via=VIA)))
    responses.from_public(world.edge, data[:at] + junk + data[at + cut :])
    data = response_to(world.forwarded(request()))
    responses.from_link(world.edge, data[:at] + junk + data[at + cut :])
