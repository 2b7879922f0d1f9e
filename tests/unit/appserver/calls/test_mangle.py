"""Private addresses in session descriptions, replaced by the one that the message came from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.appserver.domain.mangle import public, sdp_hosts
from services.appserver.domain.plan import Fork, Target
from tandem.sip.transaction import ServerTransaction
from tests.support.pilots import called, dial, leg, steered
from tests.support.sipphone import Phone
from tests.support.sipworld import World, finish

HERS, HIS = "203.0.113.7", "198.51.100.20"


def sdp(address: str, name: str = "a") -> bytes:
    return (
        f"v=0\r\no={name} 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        f"m=audio 4000 RTP/AVP 0\r\nc=IN IP4 {address}\r\na=x:c=IN IP4 {address}\r\n"
    ).encode()


def mangled(inside: str, outside: str, name: str = "a") -> bytes:
    """`sdp(inside)` as the other end is to get it."""
    tail = f"a=x:c=IN IP4 {inside}\r\n".encode()
    return sdp(outside, name)[: -len(f"a=x:c=IN IP4 {outside}\r\n")] + tail


@pytest.mark.parametrize("address", ["10.1.2.3", "172.31.0.1", "192.168.1.9", "100.64.0.1"])
def test_private_addresses_are_replaced_in_their_lines_alone(address: str) -> None:
    assert public(sdp(address), HERS) == mangled(address, HERS)


@pytest.mark.parametrize("address", ["0.0.0.0", "8.8.8.8", "172.32.0.1", "224.2.1.1", "host.x"])
def test_other_addresses_stay(address: str) -> None:
    assert public(sdp(address), HERS) == sdp(address)


def test_a_ttl_and_another_family_stay() -> None:
    body = b"v=0\r\nc=IN IP4 10.0.0.1/127\r\nc=IN IP6 fd00::1\r\n"
    assert public(body, HERS) == b"v=0\r\nc=IN IP4 203.0.113.7/127\r\nc=IN IP6 fd00::1\r\n"
    assert public(body, "2001:db8::1") == (
        b"v=0\r\nc=IN IP4 10.0.0.1/127\r\nc=IN IP6 2001:db8::1\r\n"
    )


@pytest.mark.parametrize("body", [b"", b"<x>c=IN IP4 10.0.0.1</x>", b"hello"])
def test_what_is_no_session_description_stays(body: bytes) -> None:
    assert public(body, HERS) == body


def test_without_an_address_nothing_changes() -> None:
    assert public(sdp("10.0.0.1"), "") == public(sdp("10.0.0.1"), "self") == sdp("10.0.0.1")


@given(st.binary(max_size=200))
def test_no_body_makes_trouble(rest: bytes) -> None:
    assert public(b"v=0\r\nc=IN IP4 " + rest, HERS)[:3] == b"v=0"


@pytest.mark.parametrize(
    ("caller", "callee", "expected"),
    [
        ("udp:203.0.113.7:5060", "tcp:198.51.100.20:5060", (HERS, HIS)),
        ("udp:203.0.113.7:5060", "udp:203.0.113.7:1024", ("", "")),
        ("udp:192.168.1.4:5060", "udp:198.51.100.20:5060", ("", HIS)),
        ("udp:[2001:db8::1]:5060", "self", ("2001:db8::1", "")),
        ("", "udp:name.example:5060", ("", "")),
    ],
)
def test_whose_addresses_are_replaced(caller: str, callee: str, expected: tuple[str, str]) -> None:
    assert sdp_hosts(caller, callee) == expected


def behind_nat(**options: bool) -> tuple[World, Phone, Phone]:
    """Alice and Bob in a call, each behind a NAT of their own."""
    world = World()
    one = leg("bob", **options)
    hops = tuple(replace(hop, text=f"udp:{HIS}:5060") for hop in one.hops)
    alice, captain = steered(world, Fork((Target(one.uri, hops, one.account, one.options),)))
    world.addresses["alice"] = HERS

    def answers(phone: Phone, tx: ServerTransaction) -> None:
        phone.answer(183, body=sdp("192.168.5.5", "early"))
        phone.answer(200, body=sdp("192.168.5.5"))

    (bob,) = called(world, bob=answers)
    dial(world, alice, captain, body=sdp("10.0.0.1"))
    return world, alice, bob


def test_offer_and_answers_are_mangled_in_both_directions() -> None:
    world, alice, bob = behind_nat(mangle=True)
    assert bob.of("INVITE")[0].body == mangled("10.0.0.1", HERS)
    early, final = [r for r in alice.responses if r.status in (183, 200)]
    assert early.body == mangled("192.168.5.5", HIS, "early")
    assert final.body == mangled("192.168.5.5", HIS)
    assert final.number("content-length") == len(final.body)
    alice.bye()
    finish(world)


def test_so_is_what_they_say_later() -> None:
    world, alice, bob = behind_nat(mangle=True)
    bob.methods["INVITE"] = lambda phone, tx: phone.answer(200, body=sdp("192.168.5.6"))
    alice.send("INVITE", body=sdp("10.0.0.2"))
    world.run(1)
    assert bob.of("INVITE")[1].body == mangled("10.0.0.2", HERS)
    assert alice.responses[-1].body == mangled("192.168.5.6", HIS)
    bob.send("UPDATE", body=sdp("192.168.5.7"))
    world.run(1)
    assert alice.of("UPDATE")[0].body == mangled("192.168.5.7", HIS)
    alice.bye()
    finish(world)


def test_so_is_an_answer_in_an_ack() -> None:
    world, alice, bob = behind_nat(mangle=True)
    bob.methods["INVITE"] = lambda phone, tx: phone.answer(200, body=sdp("192.168.5.6"))
    alice.ack_body = sdp("10.0.0.3")
    alice.acks = False
    alice.send("INVITE")
    world.run(1)
    alice.ack(2)
    world.run(1)
    assert bob.confirmed[-1].body == mangled("10.0.0.3", HERS)
    alice.bye()
    finish(world)


@pytest.mark.parametrize("options", [{}, {"mangle": False}])
def test_without_the_option_bodies_pass_untouched(options: dict[str, bool]) -> None:
    world, alice, bob = behind_nat(**options)
    assert bob.of("INVITE")[0].body == sdp("10.0.0.1")
    assert alice.responses[-1].body == sdp("192.168.5.5")
    alice.bye()
    finish(world)


def test_it_is_part_of_the_calls_value() -> None:
    world, alice, _ = behind_nat(mangle=True)
    (value,) = world.calls.live()
    again = type(value).from_dict(value.to_dict())
    assert again.a is not None
    assert again.b is not None
    assert (again.a.sdp_host, again.b.sdp_host) == (HERS, HIS)
    alice.bye()
    finish(world)
