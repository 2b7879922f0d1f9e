"""Calls that come to nothing, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.appserver.domain.plan import Target
from services.appserver.handlers.calls import CallLimits
from tandem.sip.dialog import Dialog
from tandem.sip.message import Response
from tests.support.sipworld import (
    ANSWER,
    Phone,
    World,
    finish,
    fork,
    hop_to,
    pair,
    pick_up,
    plan,
    refuse,
    ring,
    target,
)


def test_local_final_answers_carry_a_to_tag() -> None:
    world = World()
    alice = world.phone("alice")
    alice.call()
    world.run(1)
    assert alice.statuses("INVITE") == [100, 480]
    assert alice.responses[-1].to.tag
    finish(world)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([486], 486),
        ([486, 603], 603),
        ([404, 503], 404),
        ([503], 500),
        ([503, 500], 500),
        ([480, 486], 486),
        ([486, 484], 484),
        ([302, 486], 302),
        ([401], 403),
        ([407, 486], 486),
        ([430], 480),
        ([600], 600),
        ([488, 480], 488),
    ],
)
def test_the_best_failure_is_passed_on(statuses: list[int], expected: int) -> None:
    world = World()
    alice, _ = fork(world, *(refuse(status) for status in statuses))
    alice.call()
    world.run(1)
    assert alice.statuses("INVITE")[-1] == expected
    finish(world)
    assert world.records()[0].status == expected


def test_a_6xx_stops_the_fork_at_once() -> None:
    world = World()
    alice, phones = fork(world, ring, refuse(603))
    alice.call()
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 603
    assert len(phones[0].of("CANCEL")) == 1
    finish(world)
    assert world.records()[0].end_reason == "declined"


def test_one_leg_that_fails_leaves_the_others_ringing() -> None:
    world = World()
    alice, phones = fork(world, refuse(486), ring)
    alice.call()
    world.run(1)
    assert alice.statuses("INVITE") == [100, 180]
    assert "call.leg_failed" in world.kinds()
    phones[1].answer(200, body=ANSWER)
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 200
    alice.bye()
    finish(world)


def test_challenges_of_a_called_phone_do_not_leak() -> None:
    world = World()
    challenge = 'WWW-Authenticate: Digest realm="x", nonce="y"'
    alice, _ = fork(world, refuse(401, challenge, challenge))
    alice.call()
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 403
    assert alice.responses[-1].first("www-authenticate") is None
    finish(world)


def test_a_503_loses_its_retry_after() -> None:
    world = World()
    alice, _ = fork(world, refuse(503, "Retry-After: 3600"))
    alice.call()
    world.run(1)
    assert alice.responses[-1].first("retry-after") is None
    finish(world)


def test_a_redirection_passes_with_its_contacts() -> None:
    world = World()
    alice = world.phone("alice")

    def redirect(phone: Phone, tx: object) -> None:
        phone.answer(302, headers=("Contact: <sip:carol@example.net>;q=0.5",))

    world.phone("bob", behaviour=redirect)
    world.switch.plan = plan(target("bob"))
    alice.call()
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 302
    assert "<sip:carol@example.net>;q=0.5" in alice.responses[-1].values("contact")
    finish(world)
    assert world.records()[0].end_reason == "redirected"


@pytest.mark.parametrize("status", [503, 430])
def test_a_way_that_fails_is_followed_by_the_next_hop(status: int) -> None:
    world = World()
    alice = world.phone("alice")
    world.phone("one", behaviour=refuse(status))
    two = world.phone("two")
    world.switch.plan = plan(target("one", "two"))
    alice.call()
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 200
    assert len(two.of("INVITE")) == 1
    alice.bye()
    finish(world)


def test_a_silent_way_is_followed_by_the_next_hop() -> None:
    world = World()
    alice = world.phone("alice")
    world.phone("one")
    world.phone("two")
    world.dead.add("one")
    world.switch.plan = plan(target("one", "two"))
    alice.call()
    world.run(40)
    assert alice.statuses("INVITE")[-1] == 200
    alice.bye()
    finish(world)


@pytest.mark.parametrize("status", [486, 603, 404])
def test_an_answer_of_the_callee_is_no_reason_for_another_hop(status: int) -> None:
    world = World()
    alice = world.phone("alice")
    world.phone("one", behaviour=refuse(status))
    two = world.phone("two")
    world.switch.plan = plan(target("one", "two"))
    alice.call()
    world.run(1)
    assert alice.statuses("INVITE")[-1] == status
    assert two.requests == []
    finish(world)


def test_a_phone_that_does_not_answer_at_all_is_not_reachable() -> None:
    world = World()
    alice, _ = pair(world)
    world.dead.add("bob")
    alice.call()
    world.run(40)
    assert alice.statuses("INVITE")[-1] == 408
    finish(world)
    assert world.records()[0].end_reason == "not reachable"


def test_a_call_rings_no_longer_than_the_limit() -> None:
    world = World(limits=CallLimits(ring_seconds=180))
    alice, bob = pair(world, ring)
    alice.call()
    world.run(179)
    assert alice.statuses("INVITE") == [100, 180]
    world.run(2)
    assert alice.statuses("INVITE")[-1] == 480
    assert len(bob.of("CANCEL")) == 1
    finish(world)
    (record,) = world.records()
    assert (record.end_reason, round(record.ring_duration)) == ("no answer", 180)


def test_an_invite_without_contact_is_refused() -> None:
    world = World()
    alice, _ = pair(world)
    tx = alice.call()
    stripped = tx.request.with_uri(tx.request.uri)
    stripped.remove("contact", "via")
    alice.layer.request(stripped, tx.hop, world.now)
    world.run(1)
    assert 400 in alice.statuses("INVITE")


def test_max_forwards_ends_loops() -> None:
    world = World()
    alice, bob = pair(world)
    tx = alice.call()
    again = tx.request.with_uri(tx.request.uri)
    again.remove("via")
    again.set("Max-Forwards", "0")
    again.set("Call-ID", "another")
    alice.layer.request(again, tx.hop, world.now)
    world.run(1)
    assert 483 in alice.statuses("INVITE")
    assert len(bob.of("INVITE")) == 1


def test_a_fork_shares_its_breadth_among_its_branches() -> None:
    world = World()
    alice, phones = fork(world, ring, ring)
    alice.call(headers=("Max-Breadth: 9",))
    world.run(1)
    assert [p.of("INVITE")[0].first("max-breadth") for p in phones] == ["4", "4"]
    alice.cancel()
    finish(world)


def test_a_fork_wider_than_its_breadth_is_refused() -> None:
    world = World()
    alice, _ = fork(world, ring, ring)
    alice.call(headers=("Max-Breadth: 1",))
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 440
    finish(world)


def test_no_more_than_twenty_legs_are_placed() -> None:
    world = World()
    alice, phones = fork(world, *([ring] * 25))
    alice.call()
    world.run(1)
    assert sum(bool(phone.of("INVITE")) for phone in phones) == 20
    alice.cancel()
    finish(world)


def test_a_target_without_a_way_is_passed_over() -> None:
    world = World()
    alice, bob = pair(world, pick_up)
    world.switch.plan = plan(Target("sip:nowhere@x", ()), Target("sip:b@b", (hop_to("bob"),)))
    alice.call()
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 200
    assert bob.of("INVITE")[0].uri == "sip:b@b"


def test_a_2xx_that_makes_no_sense_fails_its_leg() -> None:
    world = World()
    alice, bob = pair(world, ring)
    alice.call()
    world.run(1)
    tx = bob.incoming
    assert tx is not None
    lines = [
        *(line for line in tx.request.lines if line.split(":")[0] in ("Via", "From", "Call-ID")),
        f"To: {tx.request.first('to')};tag=odd",
        f"CSeq: {tx.request.cseq}",
        "Contact: <<broken",
    ]
    bob.layer.respond(tx, Response(200, "OK", lines), world.now)
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 502
    assert len(world.records()) == 1


def test_a_star_contact_is_refused() -> None:
    world = World()
    alice, bob = pair(world)
    alice.contact = "Contact: *"
    alice.call()
    world.run(1)
    assert alice.statuses("INVITE") == [400]
    assert bob.requests == []
    assert world.records() == []


def test_a_bye_of_the_callee_before_its_answer_ends_its_leg() -> None:
    world = World()
    alice, bob = pair(world, ring)
    alice.call()
    world.run(1)
    assert bob.incoming is not None
    bob.dialog = Dialog.from_request(bob.incoming.request, bob.incoming.tag or "")
    bob.bye()
    world.run(1)
    assert bob.statuses("BYE") == [200]
    assert alice.statuses("INVITE")[-1] == 480
    finish(world)


def test_nothing_on_the_way_of_a_busy_phone_reaches_the_next_caller() -> None:
    world = World()
    alice, _ = pair(world, refuse(486))
    for _ in range(3):
        alice.call()
        world.run(1)
    assert [r.status for r in world.records()] == [486] * 3
    assert len({r.call_id for r in world.records()}) == 3
    world.run(200)
    assert world.clean()


def on_connection(name: str) -> Target:
    """A phone that is reached over a connection alone."""
    one = target(name)
    return replace(one, hops=tuple(replace(hop, text=f"wss:{name}:5060") for hop in one.hops))


def test_what_rings_over_a_connection_has_failed_when_that_is_gone() -> None:
    world = World()
    alice, bob, carol = (world.phone(name) for name in ("alice", "bob", "carol"))
    bob.behaviour = carol.behaviour = ring
    world.switch.plan = plan(on_connection("bob"), on_connection("carol"))
    alice.call()
    world.run(1)
    world.calls.flow_closed("nobody's", world.now)
    world.calls.flow_closed("bob", world.now)
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 180
    world.calls.flow_closed("carol", world.now)
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 480
    world.dead.update(("bob", "carol"))
    world.run(60)
    (record,) = world.records()
    assert (record.status, record.end_reason) == (480, "not reachable")
    finish(world)


def test_what_rings_on_udp_rings_on_whatever_connection_is_gone() -> None:
    world = World()
    alice, bob = pair(world)
    bob.behaviour = ring
    alice.call()
    world.run(1)
    world.calls.flow_closed("bob", world.now)
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 180
    alice.cancel()
    finish(world)
