"""Requests of one INVITE transaction stay together, whatever changes around them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.proxy.domain import dispatch as module
from services.proxy.domain.dispatch import GENERATION_SECONDS
from tandem.bus.hints import Hint
from tests.support.proxy import World, request

ONE, TWO, THREE = "10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000"
WALL = 1_700_000_000.0
BOB = "sip:bob@example.com"


def hint(number: str = "h1", appserver: str = TWO, **more: object) -> Hint:
    made = Hint(
        id=number, node="n", appserver=appserver, customer="c", users=("bob",),
        expires_at=9e9,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def message(number: int, method: str = "INVITE", **more: str) -> bytes:
    via = more.pop("via", f"SIP/2.0/UDP 203.0.113.7:5062;branch=z9hG4bKb{number};rport")
    return request(method, more.pop("uri", BOB), via=via).replace(b"one@", b"c%d@" % number)


def way(world: World, data: bytes) -> str:
    """Where it goes: by the fast way and the general one alike."""
    hit = world.fast.request(data, world.peer)
    general = world.forwarded_to(data)
    if hit is not None:
        assert hit == general
    return general[1]


NUMBERS = range(60)


@pytest.mark.parametrize("after", [(ONE, TWO, THREE), (ONE, THREE), (TWO,)])
@pytest.mark.parametrize("via", ["", "SIP/2.0/UDP 203.0.113.7:5062;rport"])
def test_a_transaction_under_way_stays_where_it_is(after: tuple[str, ...], via: str) -> None:
    world = World((ONE, TWO))
    more = {"via": via} if via else {}
    before = {n: way(world, message(n, **more)) for n in NUMBERS}
    draining = {ONE, TWO} - set(after)
    world.appservers.set(dict.fromkeys(after, 100), draining)
    for n, appserver in before.items():
        for method in ("INVITE", "CANCEL", "ACK"):
            assert way(world, message(n, method, **more)) == appserver
    fresh = {way(world, message(n, **more)) for n in range(1000, 1100)}
    assert fresh == set(after)


def test_what_was_under_way_to_a_dead_one_goes_to_another_and_stays_there() -> None:
    world = World((ONE, TWO, THREE))
    for n in NUMBERS:
        way(world, message(n))
    world.appservers.set_active((ONE, TWO))
    again = {n: way(world, message(n)) for n in NUMBERS}
    assert set(again.values()) == {ONE, TWO}
    world.appservers.set({ONE: 100, TWO: 1})
    assert {n: way(world, message(n, "CANCEL")) for n in NUMBERS} == again


def test_what_is_remembered_is_forgotten_in_time() -> None:
    world = World((ONE,))
    way(world, message(1))
    world.dispatch.tick(GENERATION_SECONDS)
    world.appservers.set({TWO: 100}, [ONE])
    assert way(world, message(1, "CANCEL")) == ONE
    world.dispatch.tick(2 * GENERATION_SECONDS)
    assert way(world, message(1, "CANCEL")) == ONE
    world.dispatch.tick(3 * GENERATION_SECONDS)
    assert way(world, message(1, "CANCEL")) == TWO
    world.dispatch.tick(4 * GENERATION_SECONDS)
    assert len(world.dispatch) == 0


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GENERATION_SIZE", 100)
    world = World((ONE, TWO))
    for n in range(1000):
        way(world, message(n))
        world.dispatch.tick(1.0)
    assert 100 <= len(world.dispatch) <= 400


def test_requests_without_a_transaction_to_keep_leave_nothing_behind() -> None:
    world = World((ONE, TWO))
    for method in ("OPTIONS", "REGISTER", "MESSAGE", "ACK", "CANCEL"):
        way(world, message(1, method))
    assert len(world.dispatch) == 0


changes = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(0, 5)),
        st.tuples(
            st.just("set"),
            st.dictionaries(st.sampled_from((ONE, TWO, THREE)), st.integers(0, 3), min_size=1),
        ),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(changes)
def test_a_cancel_goes_where_its_invite_went_last_as_long_as_that_lives(
    steps: list[tuple[str, object]],
) -> None:
    world = World((ONE, TWO))
    went: dict[int, str] = {}
    for kind, value in steps:
        if kind == "set":
            assert isinstance(value, dict)
            world.appservers.set(value)
        elif world.appservers.active:
            assert isinstance(value, int)
            hit = world.fast.request(message(value), world.peer)
            assert hit is not None
            if value in went and went[value] in world.appservers.alive:
                assert hit[1] == went[value]
            went[value] = hit[1]
    for number, appserver in went.items():
        if appserver in world.appservers.alive and world.appservers.active:
            assert way(world, message(number, "CANCEL")) == appserver


def hashed_to(world: World, appserver: str, start: int = 10_000) -> int:
    """The number of a call that goes there by its hash."""
    numbers = range(start, start + 10_000)
    return next(n for n in numbers if world.appservers.pick(b"c%d@203.0.113.7" % n) == appserver)


def test_a_hinted_call_goes_to_who_waits_and_stays_there_after_the_hint() -> None:
    world = World((ONE, TWO))
    n = hashed_to(world, ONE)
    world.dispatch.hints.add(hint(), WALL)
    assert way(world, message(n)) == TWO
    world.dispatch.hints.withdraw("h1")
    assert not world.dispatch.hints.users
    for method in ("INVITE", "ACK", "CANCEL"):
        assert way(world, message(n, method)) == TWO
    assert way(world, message(n + 100_000, uri="sip:carol@example.com")) in (ONE, TWO)


def test_a_retransmission_of_an_ordinary_call_is_no_call_for_the_hint() -> None:
    world = World((ONE, TWO))
    n = hashed_to(world, ONE)
    assert way(world, message(n)) == ONE
    world.dispatch.hints.add(hint(), WALL)
    assert way(world, message(n)) == ONE
    assert world.dispatch.hints.matched == 0


def test_a_hint_is_for_invites_that_begin_a_dialog_alone() -> None:
    world = World((ONE, TWO))
    n = hashed_to(world, ONE)
    world.dispatch.hints.add(hint(), WALL)
    for method in ("OPTIONS", "MESSAGE", "CANCEL", "ACK", "REGISTER"):
        assert way(world, message(n, method)) == ONE
    assert (
        way(world, message(n).replace(b"To: <sip:bob@example.com>", b"To: <sip:b@c>;tag=9")) == ONE
    )
    n = hashed_to(world, ONE, n + 1)
    assert way(world, message(n).replace(b"To: <", b'To: "a;tag=b" <')) == TWO


def test_a_hint_of_one_that_is_gone_counts_for_nothing() -> None:
    world = World((ONE,))
    world.dispatch.hints.add(hint(), WALL)
    assert way(world, message(1)) == ONE
    world.appservers.set({ONE: 100}, [TWO])  # it drains, and still waits
    assert way(world, message(2)) == TWO


def test_the_caller_is_from_or_else_who_is_asserted() -> None:
    def went(line: bytes, *more: bytes) -> str:
        world = World((ONE, TWO))
        world.dispatch.hints.add(hint(pattern="+4930*"), WALL)
        data = message(hashed_to(world, ONE))
        data = data.replace(b"From: <sip:alice@example.com>;tag=1", line)
        lines = b"".join(each + b"\r\n" for each in more)
        return world.forwarded_to(data.replace(b"Content-Length", lines + b"Content-Length"))[1]

    assert went(b"From: <sip:alice@example.com>;tag=1") == ONE
    assert went(b"From: <sip:+49301234@provider.example>;tag=1") == TWO
    assert went(b"From: 4930@x <sip:49301234;phone-context=x@p.example>;tag=1") == TWO
    assert went(b'From: "sip:4930@x" <sip:alice@p.example>;tag=1') == ONE
    assert went(b"From: <tel:+49301234>;tag=1") == TWO
    assert went(b"From: <sip:%2B49301234@p.example>;tag=1") == TWO
    asserted = b"P-Asserted-Identity: <sip:49301@p.example>"
    assert went(b"From: <sip:anonymous@anonymous.invalid>;tag=1", asserted) == TWO
    assert went(b"From: <sip:p.example>;tag=1", asserted) == TWO
    assert went(b"From: <sip:alice@p.example>;tag=1", asserted) == ONE


def test_who_replaces_a_call_gets_to_where_that_is() -> None:
    """Its other end is known there alone; what belongs to the same transaction follows."""
    world = World((ONE, TWO, THREE))
    for n in NUMBERS:
        there = way(world, message(n))
        call_id = b"c%d@" % n + message(n).partition(b"c%d@" % n)[2].partition(b"\r\n")[0]
        line = b"\r\nrePLaces: " + call_id + b";to-tag=1;from-tag=2\r\nMax-Forwards:"
        replacing = message(n + 1000).replace(b"\r\nMax-Forwards:", line)
        assert way(world, replacing) == way(world, replacing) == there
        for method in ("CANCEL", "ACK"):
            assert way(world, message(n + 1000, method)) == there
