"""Requests from outside, off and on the fast path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.proxy.domain.answers import build_answer
from services.proxy.domain.verdict import Answer, Drop, ToAppserver
from tandem.sip.message import parse_message
from tests.support.proxy import (
    APPSERVER,
    LINK,
    PUBLIC,
    World,
    make_edge,
    make_peer,
    request,
    values,
)

METHODS = ("INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "SUBSCRIBE", "MESSAGE", "OPTIONS")
VIAS = (
    "SIP/2.0/UDP 203.0.113.7:5062;branch=z9hG4bKabc;rport",
    "SIP/2.0/UDP 192.168.1.2:5060;rport;branch=z9hG4bKabc",
    "SIP/2.0/UDP 203.0.113.7:5062;branch=z9hG4bKabc",
    "SIP/2.0/TCP phone.example.net;branch=z9hG4bKa.b-c;rport",
)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("via", VIAS)
def test_the_fast_path_writes_what_the_general_way_writes(method: str, via: str) -> None:
    world = World()
    data = request(method, via=via, body="v=0\r\n\r\nRoute: <sip:trap>\r\n")
    fast = world.fast.request(data, world.peer)
    assert fast == (world.forwarded(data), APPSERVER)


@pytest.mark.parametrize(
    "data",
    [
        request(headers=("ROUTE: <sip:198.51.100.1;lr>",)),
        request(headers=("Proxy-Require : foo",)),
        request(headers=("replaces: a;to-tag=1;from-tag=2",)),
        request(via="SIP/2.0/UDP a;branch=z9hG4bKabc;rport, SIP/2.0/UDP b;branch=z9hG4bKd"),
        request(via="SIP/2.0/UDP a;branch=z9hG4bKabc;rport\r\n ;more"),
        request(via="SIP/2.0/UDP 192.168.1.2;branch=z9hG4bKabc"),
        request(via="SIP/2.0/UDP a;rport"),
        request(hops="0"),
        request(hops=None),
        request(hops=None, body="x\r\nMax-Forwards: 70\r\n"),
        request("OPTIONS", "sip:example.com"),
        request().replace(b"Call-ID", b"i"),
        request().replace(b"From", b"f"),
        request()[:-4],
    ],
)
def test_the_fast_path_leaves_what_is_out_of_the_ordinary(data: bytes) -> None:
    world = World()
    assert world.fast.request(data, world.peer) is None


def test_our_via_goes_on_top_and_the_source_into_the_clients() -> None:
    world = World()
    mine, theirs = values(world.forwarded(request()), "Via")
    assert mine.startswith(f"SIP/2.0/UDP {LINK};branch=z9hG4bK-t-{world.peer.ref.decode()}.")
    assert mine.endswith(".abc")
    assert theirs == (
        "SIP/2.0/UDP 203.0.113.7:5062;branch=z9hG4bKabc;rport=5062;received=203.0.113.7"
    )


def test_max_forwards_may_have_zeros_before_it() -> None:
    assert values(World().forwarded(request(hops="0068")), "Max-Forwards") == ["67"]
    assert World().general(request(hops="0000")) == Answer(483)


def test_a_version_that_we_do_not_speak_is_answered_even_where_the_via_names_it() -> None:
    data = request().replace(b"SIP/2.0", b"SIP/7.0")
    assert World().general(data) == Answer(505)


def test_a_request_cut_off_in_its_headers_is_answered_if_it_has_a_via() -> None:
    world = World()
    whole = request().rstrip()
    assert world.general(whole) == Answer(400, "No end of headers")
    answer = build_answer(whole, Answer(400), world.peer)
    assert answer is not None
    assert b";rport=5062;received=203.0.113.7" in answer
    assert world.general(whole[:30]) == Drop("unparseable")
    assert world.general(whole[: whole.index(b"Via:")]) == Drop("no_via")


def test_a_forged_received_is_replaced() -> None:
    via = "SIP/2.0/UDP 10.1.1.1;received=192.0.2.99;rport=99;branch=z9hG4bKabc"
    stamped = values(World().forwarded(request(via=via)), "Via")[1]
    assert stamped == ("SIP/2.0/UDP 10.1.1.1;rport=5062;received=203.0.113.7;branch=z9hG4bKabc")


def test_a_retransmission_an_ack_and_a_cancel_get_the_branch_of_the_invite() -> None:
    world = World()
    tops = {
        values(world.forwarded(request(method)), "Via")[0]
        for method in ("INVITE", "INVITE", "ACK", "CANCEL")
    }
    assert len(tops) == 1


def test_a_client_of_rfc_2543_gets_one_branch_for_all_of_a_transaction() -> None:
    world = World()
    via = "SIP/2.0/UDP 203.0.113.7:5062"
    tops = {
        values(world.forwarded(request(method, via=via)), "Via")[0]
        for method in ("INVITE", "ACK", "CANCEL")
    }
    assert len(tops) == 1
    other = request(via=via).replace(b"Call-ID: one", b"Call-ID: two")
    assert values(world.forwarded(other), "Via")[0] not in tops


def test_two_sources_with_one_branch_get_two() -> None:
    world = World()
    other = make_peer(world.edge, port=5063)
    one = values(world.forwarded(request()), "Via")[0]
    two = values(world.forwarded(request(), other), "Via")[0]
    assert one != two


def test_a_client_without_rport_gets_its_answers_at_the_port_that_it_names() -> None:
    world = World()
    top = values(
        world.forwarded(request(via="SIP/2.0/UDP 203.0.113.7:6000;branch=z9hG4bKx")), "Via"
    )
    name = world.edge.read_ref(top[0].partition("-t-")[2].partition(".")[0].encode())
    assert name is not None
    assert (name.host, name.port) == ("203.0.113.7", 6000)


def test_a_dialog_gets_two_record_routes_and_the_inner_one_is_topmost() -> None:
    world = World()
    (line,) = values(world.forwarded(request()), "Record-Route")
    inner, outer = line.split(", ")
    assert inner.endswith(f"@{LINK};lr>")
    assert outer.endswith(f"@{PUBLIC};lr>")
    flow = world.edge.key.open_flow(inner[5:].partition("@")[0])
    assert flow == world.peer.name
    assert world.edge.key.open_owner(outer[5:].partition("@")[0]) == APPSERVER


def test_the_transport_of_a_connection_is_named_in_the_outer_record_route() -> None:
    world = World()
    data = world.forwarded(request(), make_peer(world.edge, transport="tls"))
    assert values(data, "Record-Route")[0].endswith(f"@{PUBLIC};transport=tls;lr>")


def test_a_register_gets_a_path_and_a_bye_neither() -> None:
    world = World()
    (path,) = values(world.forwarded(request("REGISTER", "sip:example.com")), "Path")
    assert path.endswith(f"@{LINK};lr;ob>")
    assert world.peer.registered
    bye = world.forwarded(request("BYE"))
    assert values(bye, "Path") == values(bye, "Record-Route") == []


def test_a_request_in_a_dialog_goes_to_the_owner_without_our_routes() -> None:
    world = World(active=(APPSERVER, "10.0.0.8:7000", "10.0.0.7:7000"))
    for owner in world.appservers.active:
        inner = world.edge.inner_route(world.peer)
        outer = world.edge.outer_route(world.peer, owner)
        verdict = world.general(request("INVITE", headers=(f"Route: <{outer}>,<{inner}>",)))
        assert isinstance(verdict, ToAppserver)
        assert verdict.appserver == owner
        assert values(verdict.data, "Route") == values(verdict.data, "Record-Route") == []


def test_a_foreign_route_below_ours_stays() -> None:
    world = World()
    outer = world.edge.outer_route(world.peer, APPSERVER)
    routes = ("Route: " + f"<{outer}> , <sip:192.0.2.1;lr>", "route: <sip:192.0.2.2;lr>")
    kept = world.forwarded(request(headers=routes))
    assert values(kept, "Route") == ["<sip:192.0.2.1;lr>", "<sip:192.0.2.2;lr>"]


def test_the_owner_that_is_gone_is_replaced() -> None:
    world = World()
    outer = world.edge.outer_route(world.peer, "10.0.0.66:7000")
    assert world.forwarded(request("BYE", headers=(f"Route: <{outer}>",)))


@pytest.mark.parametrize(
    "route",
    [
        f"<sip:{LINK};lr;dst=udp:192.0.2.1:5060>",
        f"<sip:{PUBLIC};lr;dst=tcp:127.0.0.1:22>",
    ],
)
def test_nobody_outside_tells_where_we_send_to(route: str) -> None:
    verdict = World().general(request(headers=(f"Route: {route}",)))
    assert verdict == Answer(403, "Route not allowed")


def test_a_flow_token_alone_is_no_way_in() -> None:
    world = World()
    inner = world.edge.inner_route(world.peer)
    verdict = world.general(request(headers=(f"Route: <{inner}>",)))
    assert isinstance(verdict, Answer)
    assert verdict.status == 403


def test_a_forged_owner_token_is_no_token() -> None:
    world = World(active=(APPSERVER, "10.0.0.8:7000"))
    plain = world.general(request())
    assert isinstance(plain, ToAppserver)
    other = next(name for name in world.appservers.active if name != plain.appserver)
    forger = make_edge(type(world.edge.key)(b"another key"))
    outer = forger.outer_route(world.peer, other)
    verdict = world.general(request(headers=(f"Route: <{outer}>",)))
    assert isinstance(verdict, ToAppserver)
    assert verdict.appserver == plain.appserver


def test_max_forwards_is_counted_down_added_and_ends_at_zero() -> None:
    world = World()
    assert values(world.forwarded(request(hops="7")), "Max-Forwards") == ["6"]
    assert values(world.forwarded(request(hops=None)), "Max-Forwards") == ["70"]
    assert world.general(request(hops="0")) == Answer(483)
    assert world.general(request("ACK", hops="0")) == Drop("ack_483")


@pytest.mark.parametrize("hops", ["256", "-1", "x", "007000", "\N{SUPERSCRIPT TWO}"])
def test_a_malformed_max_forwards_is_refused(hops: str) -> None:
    assert World().general(request(hops=hops)) == Answer(400, "Malformed Max-Forwards")


def test_options_to_the_proxy_itself_are_answered() -> None:
    world = World()
    for uri in ("sip:example.com", f"sip:{PUBLIC}"):
        verdict = world.general(request("OPTIONS", uri, hops="0"))
        assert isinstance(verdict, Answer)
        assert verdict.status == 200
    assert world.forwarded(request("OPTIONS", "sip:bob@example.com"))
    assert world.forwarded(request("OPTIONS", "sip:elsewhere.example"))


def test_a_loop_is_refused_and_a_spiral_is_not() -> None:
    world = World()
    once = world.forwarded(request())
    assert world.general(once) == Answer(482)
    outer = world.edge.outer_route(world.peer, APPSERVER).encode()
    spiral = once.replace(b"Max-Forwards", b"Route: <" + outer + b">\r\nMax-Forwards")
    assert world.forwarded(spiral)
    elsewhere = once.replace(b"INVITE sip:bob@", b"INVITE sip:carol@")
    assert world.forwarded(elsewhere)


def test_an_extension_that_proxies_must_know_is_refused() -> None:
    verdict = World().general(request(headers=("Proxy-Require: gold,\r\n silver",)))
    assert verdict == Answer(420, headers=("Unsupported: gold, silver",))


def test_without_an_appserver_there_is_a_503_but_not_to_an_ack() -> None:
    world = World(active=())
    verdict = world.general(request())
    assert isinstance(verdict, Answer)
    assert (verdict.status, verdict.headers) == (503, ("Retry-After: 5",))
    assert world.general(request("ACK")) == Drop("ack_503")


@pytest.mark.parametrize("name", ["From", "To", "Call-ID", "CSeq"])
def test_a_missing_header_is_refused(name: str) -> None:
    world = World()
    data = request().replace(f"\r\n{name}:".encode(), b"\r\nX:")
    assert world.fast.request(data, world.peer) is None
    assert world.general(data) == Answer(400, f"Missing {name.lower()}")


def test_what_has_no_via_is_dropped() -> None:
    world = World()
    assert world.general(request().replace(b"Via:", b"X:")) == Drop("no_via")
    assert world.general(request().replace(b"SIP/2.0/UDP", b"SIP/2.0")) == Drop("no_via")


def test_another_version_gets_a_505() -> None:
    assert World().general(request().replace(b" SIP/2.0\r\n", b" SIP/3.0\r\n")) == Answer(505)


def test_compact_and_folded_headers_are_understood() -> None:
    world = World()
    data = (
        b"INVITE sip:bob@example.com SIP/2.0\r\n"
        b"i : one@203.0.113.7\r\nf: <sip:a@b>;tag=1\r\nt: <sip:c@d>\r\ncseq:\r\n 1 INVITE\r\n"
        b"v:  SIP / 2.0 / UDP\r\n 10.1.1.1 ; branch =\r\n z9hG4bKq ; rport ,\r\n"
        b"\tSIP/2.0/TCP [2001:db8::9]:5061;branch=z9hG4bKr\r\nMAX-FORWARDS: 12\r\n\r\n"
    )
    out = world.forwarded(data)
    assert b" ; branch =\r\n z9hG4bKq;rport=5062;received=203.0.113.7 ,\r\n\tSIP/2.0/TCP" in out
    assert b"MAX-FORWARDS: 11\r\n" in out
    message = parse_message(out)
    assert [via.branch for via in message.vias][1:] == ["z9hG4bKq", "z9hG4bKr"]
    assert message.vias[0].branch.endswith(".q")


def test_an_ipv6_phone_is_stamped_and_reached() -> None:
    world = World()
    phone = make_peer(world.edge, "2001:db8::7", 5060)
    out = world.forwarded(request(via="SIP/2.0/UDP [2001:db8::7];branch=z9hG4bKabc;rport"), phone)
    assert values(out, "Via")[1].endswith(";rport=5060;received=2001:db8::7")
    assert "@[2001:db8::1]:5060;lr" in values(out, "Record-Route")[0]
    assert world.edge.read_ref(phone.ref) == phone.name


def test_an_answer_carries_the_source_and_the_same_tag_each_time() -> None:
    world = World()
    data = request(hops="0")
    first = build_answer(data, Answer(483), world.peer)
    assert first is not None
    assert first == build_answer(data, Answer(483), world.peer)
    assert first.startswith(b"SIP/2.0 483 Too Many Hops\r\n")
    assert values(first, "Via")[0].endswith(";rport=5062;received=203.0.113.7")
    assert ";tag=" in values(first, "To")[0]
    assert build_answer(request("ACK"), Answer(483), world.peer) is None


@given(st.binary(max_size=300))
def test_no_bytes_bring_it_down(data: bytes) -> None:
    world = World()
    fast = world.fast.request(data, world.peer)
    assert fast is None or fast[1] == APPSERVER
    assert isinstance(world.general(data), (ToAppserver, Answer, Drop))


@given(st.integers(0, 330), st.binary(max_size=12), st.integers(0, 30))
def test_no_damage_brings_it_down(at: int, junk: bytes, cut: int) -> None:
    world = World()
    data = request(headers=("Route: <sip:198.51.100.1;lr>, <sip:x>",))
    data = data[:at] + junk + data[at + cut :]
    verdict = world.general(data)
    fast = world.fast.request(data, world.peer)
    if fast is not None:
        assert verdict == ToAppserver(*fast)
    if isinstance(verdict, Answer):
        build_answer(data, verdict, world.peer)
