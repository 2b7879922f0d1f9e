"""The fast ways of what belongs to a dialog, and of answers: they write what the general do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.proxy.domain import known as known_module
from services.proxy.domain import outbound, responses
from services.proxy.domain.fast_out import FastOut
from services.proxy.domain.known import Inward, KnownRoutes
from services.proxy.domain.verdict import ToAppserver
from tests.support.proxy import APPSERVER, LINK, World, make_peer, request, response_to, values

Change = Callable[[bytes], bytes]
LINK_VIA = f"SIP/2.0/UDP {APPSERVER};branch=z9hG4bKleg"
TRAP = "v=0\r\n\r\nRoute: <sip:trap>\r\nVia: trap\r\n"


def routes(world: World) -> tuple[str, str]:
    """The two that a phone got in Record-Route, topmost first."""
    return (
        f"<{world.edge.outer_route(world.peer, APPSERVER)}>",
        f"<{world.edge.inner_route(world.peer)}>",
    )


def with_lines(data: bytes, before: str, *lines: str) -> bytes:
    """The request with these lines before the header of that name."""
    head, mark, rest = data.partition(f"\r\n{before}:".encode())
    return head + "".join(f"\r\n{line}" for line in lines).encode() + mark + rest


# -- requests from outside -------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ACK", "BYE", "INVITE", "UPDATE"])
@pytest.mark.parametrize("before", ["Max-Forwards", "From", "CSeq", "Content-Length"])
@pytest.mark.parametrize("joined", [True, False])
def test_a_request_in_a_dialog_is_known_from_the_second_time_on(
    method: str, before: str, joined: bool
) -> None:
    world = World()
    outer, inner = routes(world)
    lines = (f"Route: {outer}, {inner}",) if joined else (f"Route: {outer}", f"Route: {inner}")
    data = with_lines(request(method, body=TRAP), before, *lines)
    assert world.fast.request(data, world.peer) is None
    assert world.fast.in_dialog(data, world.peer) is None
    general = world.forwarded(data)
    assert values(general, "Route") == values(general, "Record-Route") == []
    if before != "CSeq":  # a Route within what is matched in one piece is left
        assert world.fast.in_dialog(data, world.peer) == (general, APPSERVER)


def test_the_owner_of_a_dialog_gets_it_whatever_the_call_id_says() -> None:
    others = tuple(f"10.0.0.{n}:7000" for n in range(20, 30))
    world = World((APPSERVER, *others))
    data = with_lines(request("BYE"), "From", f"Route: {', '.join(routes(world))}")
    world.forwarded(data)
    hits = set()
    for n in range(20):
        hit = world.fast.in_dialog(data.replace(b"one@", b"%d@" % n), world.peer)
        assert hit is not None
        hits.add(hit[1])
    assert hits == {APPSERVER}
    world.appservers.set_active(others)
    assert world.fast.in_dialog(data, world.peer) == (world.forwarded_to(data, world.peer))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\r\nFrom:", b"\r\n , <sip:else.example;lr>\r\nFrom:"),
        lambda data: data.replace(b"\r\nCSeq:", b"\r\nroute : <sip:else.example;lr>\r\nCSeq:"),
        lambda data: data.replace(b"Content-Length", b"Route: <sip:e;lr>\r\nContent-Length"),
        lambda data: data.replace(b"lr>\r\n", b"lr>, <sip:else.example;lr>\r\n"),
        lambda data: data.replace(b"Route: ", b"Route:"),
        lambda data: data.replace(b"Max-Forwards: 70", b"Max-Forwards: 0"),
        lambda data: data[: data.index(b"\r\n\r\n")],
    ],
)
def test_routes_that_are_not_all_known_go_the_general_way(change: Change) -> None:
    world = World()
    data = with_lines(request("BYE"), "From", f"Route: {', '.join(routes(world))}")
    world.forwarded(data)
    assert world.fast.in_dialog(data, world.peer) is not None
    assert world.fast.in_dialog(change(data), world.peer) is None


def test_routes_that_no_key_of_ours_signed_are_not_learnt() -> None:
    world = World()
    outer, inner = routes(world)
    for lines in (f"<sip:{world.edge.link};lr>", f"{outer}, <sip:else.example;lr>"):
        world.general(with_lines(request("BYE"), "From", f"Route: {lines}"))
    world.general(with_lines(request("BYE"), "From", f"Route: {inner}"))
    assert world.edge.known.inward == {}


def test_what_is_known_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_module, "MAX_KNOWN", 2)
    known = KnownRoutes()
    for n in range(3):
        known.keep_inward(b"%d" % n, Inward("a", b""))
    known.keep_inward(b"x" * (known_module.MAX_KEY + 1), Inward("a", b""))
    assert list(known.inward) == [b"1", b"2"]


# -- requests of appservers ------------------------------------------------------------------


def both_ways(world: World, data: bytes) -> tuple[bytes | None, bytes]:
    """What the fast way writes the second time, and the general."""
    fast = FastOut(world.edge)
    plan = outbound.plan(world.edge, data)
    assert isinstance(plan, outbound.Plan), plan
    general = outbound.write(world.edge, plan, world.peer, APPSERVER)
    assert general is not None
    passage = fast.plan(data)
    if passage is None:
        return None, general
    assert (passage.method, passage.destination) == (plan.method, plan.destination)
    return fast.write(passage, world.peer, APPSERVER), general


@pytest.mark.parametrize("method", ["INVITE", "ACK", "BYE", "NOTIFY", "CANCEL"])
@pytest.mark.parametrize(
    "route",
    [
        "",
        "Route: {inner}",
        "Route: {inner}, {outer}",
        "Route: {inner}\r\nRoute: {outer}",
        "Route: {inner}\r\nRoute: {outer}, <sip:else.example;lr>\r\nRoute: <sip:more.example;lr>",
        "Route: <sip:{link};lr;dst=tls:192.0.2.1:5061;sni=a.example>",
        "Route: <sip:192.0.2.1;lr>",
        "Route: {outer}, <sip:192.0.2.1;lr>",
    ],
)
@pytest.mark.parametrize("early", [True, False])
def test_a_request_to_where_one_went_before_is_known(method: str, route: str, early: bool) -> None:
    world = World()
    outer, inner = routes(world)
    line = route.format(inner=inner, outer=outer, link=LINK)
    data = request(method, "sip:a@203.0.113.7:5062", via=LINK_VIA, body=TRAP)
    if not early:
        data = data.replace(b"Max-Forwards: 70\r\n", b"", 1)
        data = data.replace(b"Content-Length", b"Max-Forwards: 70\r\nContent-Length", 1)
    if line:
        data = with_lines(data, "Max-Forwards" if early else "From", line)
    assert FastOut(world.edge).plan(data) is None
    fast, general = both_ways(world, data)
    assert fast == general


def test_a_route_that_leaves_it_to_the_request_uri_is_not_learnt() -> None:
    world = World()
    outer, _ = routes(world)
    data = request("BYE", "sip:a@203.0.113.7:5062", via=LINK_VIA)
    fast, _ = both_ways(world, with_lines(data, "From", f"Route: {outer}"))
    assert fast is None


@pytest.mark.parametrize(
    "data",
    [
        request(uri="sip:a@192.0.2.1", via=LINK_VIA, headers=("ROUTE : <sip:192.0.2.2;lr>",)),
        request(uri="sip:a@192.0.2.1", via=LINK_VIA + ", SIP/2.0/UDP b;branch=z9hG4bKd"),
        request(uri="sip:a@192.0.2.1", via="SIP/2.0/UDP a;branch=1"),
        request(uri="sip:a@192.0.2.1", via=LINK_VIA, headers=("Max-Forwards: 3",)),
        request(uri="sip:a@192.0.2.1", via=LINK_VIA, headers=(" folded",)),
        request(uri="sip:a@192.0.2.1", via=LINK_VIA, hops=None),
        request(uri="sip:a@192.0.2.1", via=LINK_VIA, hops="0"),
        request(uri="sip:a@192.0.2.1", via=LINK_VIA)[:-4],
    ],
)
def test_requests_out_of_the_ordinary_go_the_general_way(data: bytes) -> None:
    world = World()
    outbound.plan(world.edge, request(uri="sip:a@192.0.2.1", via=LINK_VIA))
    assert FastOut(world.edge).plan(request(uri="sip:a@192.0.2.1", via=LINK_VIA)) is not None
    assert FastOut(world.edge).plan(data) is None


# -- answers from outside --------------------------------------------------------------------


def answer(world: World) -> bytes:
    """A response to a request that we sent."""
    data = request(uri="sip:a@203.0.113.7:5062", via=LINK_VIA)
    _, out = both_ways(world, data)
    return response_to(out)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data,
        lambda data: data.replace(b"\r\nVia: SIP/2.0/UDP 10", b", SIP/2.0/UDP 10"),
        lambda data: data.replace(b"\r\nVia: SIP/2.0/UDP 10", b",SIP/2.0/UDP 10"),
        lambda data: data.replace(b";rport;", b";rport=5060;received=198.51.100.1;"),
        lambda data: data.replace(b".leg\r\n", b".leg;received=198.51.100.1\r\n"),
    ],
)
def test_an_answer_is_passed_on_as_by_the_general_way(change: Change) -> None:
    world = World()
    data = change(answer(world))
    general = responses.from_public(world.edge, data)
    assert isinstance(general, ToAppserver)
    assert world.fast.answer(data) == (general.data, general.appserver)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"-t-M", b"-t-N"),
        lambda data: data.replace(b".leg\r\n", b".lag\r\n"),
        lambda data: data.replace(b";rport;", b";branch=z9hG4bKx;"),
        lambda data: data.replace(b";rport;", b';x="a,b";'),
        lambda data: data[: data.index(b"\r\n\r\n")],
        lambda data: data.replace(b"\r\nVia: SIP/2.0/UDP 10", b"\r\nX: SIP/2.0/UDP 10"),
    ],
)
def test_an_answer_that_is_not_plainly_ours_goes_the_general_way(change: Change) -> None:
    world = World()
    data = answer(world)
    assert change(data) != data
    assert world.fast.answer(change(data)) is None


@given(st.integers(0, 400), st.binary(max_size=12), st.integers(0, 30))
def test_damage_is_seen_alike_by_both_ways(at: int, junk: bytes, cut: int) -> None:
    world = World()
    plain = with_lines(request("BYE"), "From", f"Route: {', '.join(routes(world))}")
    world.forwarded(plain)
    data = plain[:at] + junk + plain[at + cut :]
    hit = world.fast.in_dialog(data, world.peer)
    if hit is not None:
        assert hit == world.forwarded_to(data, world.peer)
    data = answer(world)
    data = data[:at] + junk + data[at + cut :]
    found = world.fast.answer(data)
    if found is not None:
        general = responses.from_public(world.edge, data)
        assert isinstance(general, ToAppserver)
        assert found == (general.data, general.appserver)


@given(st.integers(0, 300), st.binary(max_size=12), st.integers(0, 30))
def test_damage_on_the_link_is_seen_alike_by_both_ways(at: int, junk: bytes, cut: int) -> None:
    world = World()
    data = request("BYE", "sip:a@203.0.113.7:5062", via=LINK_VIA)
    outbound.plan(world.edge, data)
    data = data[:at] + junk + data[at + cut :]
    fast = FastOut(world.edge)
    passage = fast.plan(data)
    if passage is not None:
        peer = make_peer(world.edge)
        plan = outbound.plan(world.edge, data)
        assert isinstance(plan, outbound.Plan)
        assert fast.write(passage, peer, APPSERVER) == outbound.write(
            world.edge, plan, peer, APPSERVER
        )
