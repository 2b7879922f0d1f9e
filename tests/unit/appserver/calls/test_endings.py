"""How calls end, and what bounds them."""

from __future__ import annotations

import json

import pytest

from services.appserver.domain.call import Call
from services.appserver.handlers.calls import CallLimits
from tandem.rpc.directory import Account
from tandem.sip.message import Request
from tandem.sip.transaction import Hop
from tests.support.sipworld import (
    ANSWER,
    OFFER,
    PROXY,
    Phone,
    World,
    pair,
    plan,
    ring,
    silent,
    talk,
    target,
)


def finish(world: World) -> None:
    """Nothing may be left once all transactions had their time."""
    world.run(200)
    assert world.clean()


def account(max_calls: int = 0) -> Account:
    return Account("1", "owner", "alice", "example.org", {}, max_calls=max_calls)


# -- limits ----------------------------------------------------------------------------------------


def test_more_calls_than_the_limit_get_503_with_retry_after() -> None:
    world = World(limits=CallLimits(max_calls=1))
    talk(world)
    carol = world.phone("carol")
    carol.call()
    world.run(1)
    assert carol.statuses("INVITE")[-1] == 503
    assert carol.responses[-1].first("retry-after")
    assert [r.status for r in world.records()] == [503]
    assert len(world.calls) == 1


@pytest.mark.parametrize(("calls", "status"), [(True, 480), (False, 486)])
def test_more_calls_than_a_customer_may_have_are_refused(calls: bool, status: int) -> None:
    world = World()
    talk(world)
    owner = account(max_calls=1)
    world.switch.plan = (
        plan(target("bob"), caller=owner) if calls else plan(target("bob"), callee=owner)
    )
    carol = world.phone("carol")
    carol.call()
    world.run(1)
    assert carol.statuses("INVITE")[-1] == status
    assert len(world.calls) == 1


def test_a_call_ends_at_its_limit() -> None:
    world = World()
    alice, bob = pair(world)
    world.switch.plan = plan(target("bob"), max_seconds=300)
    alice.call()
    world.run(299)
    assert len(world.calls) == 1
    world.run(2)
    assert len(alice.of("BYE")) == len(bob.of("BYE")) == 1
    assert alice.of("BYE")[0].first("reason")
    finish(world)
    (record,) = world.records()
    assert (record.end_reason, round(record.duration)) == ("duration limit", 300)


# -- session timers --------------------------------------------------------------------------------


def timed(world: World, seconds: int = 1800) -> tuple[Phone, Phone]:
    alice, bob = pair(world)
    bob.behaviour = lambda phone, tx: phone.answer(
        200, body=ANSWER, headers=(f"Session-Expires: {seconds};refresher=uac", "Require: timer")
    )
    alice.call(headers=(f"Session-Expires: {seconds}", "Supported: timer", "Min-SE: 90"))
    world.run(1)
    assert alice.responses[-1].status == 200
    return alice, bob


def test_session_timer_headers_pass_end_to_end() -> None:
    world = World()
    alice, bob = timed(world)
    invite = bob.of("INVITE")[0]
    assert (invite.first("session-expires"), invite.first("min-se")) == ("1800", "90")
    assert alice.responses[-1].first("session-expires") == "1800;refresher=uac"
    session = world.calls.live()[0].session
    assert session is not None
    assert (session.seconds, session.refresher) == (1800, 0)


def test_a_session_that_is_not_refreshed_ends() -> None:
    world = World()
    alice, bob = timed(world)
    world.run(1795)
    assert len(world.calls) == 1
    world.run(10)
    assert len(alice.of("BYE")) == len(bob.of("BYE")) == 1
    finish(world)
    assert world.records()[0].end_reason == "session expired"


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_refresh_keeps_the_session(method: str) -> None:
    world = World()
    alice, bob = timed(world)
    lines = ("Session-Expires: 1800;refresher=uac",)
    bob.methods["INVITE"] = lambda phone, tx: phone.answer(200, body=ANSWER, headers=lines)
    bob.methods["UPDATE"] = lambda phone, tx: phone.layer.reply(
        tx, 200, world.now, headers=(phone.contact, *lines)
    )
    for _ in range(4):
        world.run(900)
        alice.send(method, body=OFFER, headers=lines)
    world.run(1000)
    assert len(world.calls) == 1
    assert alice.of("OPTIONS") == []
    alice.bye()
    finish(world)


def test_an_interval_that_is_too_small_gets_422() -> None:
    world = World()
    alice, bob = pair(world)
    alice.call(headers=("Session-Expires: 30",))
    world.run(1)
    assert alice.statuses("INVITE") == [422]
    assert alice.responses[-1].first("min-se") == "90"
    assert bob.requests == []


def test_a_422_of_the_callee_passes_with_its_min_se() -> None:
    world = World()
    alice, _ = pair(world, lambda phone, tx: phone.answer(422, headers=("Min-SE: 600",)))
    alice.call(headers=("Session-Expires: 100",))
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 422
    assert alice.responses[-1].first("min-se") == "600"


# -- probes ----------------------------------------------------------------------------------------


def test_ends_without_a_session_timer_are_probed() -> None:
    world = World(limits=CallLimits(probe_seconds=60))
    alice, bob = talk(world)
    world.run(190)
    assert len(alice.of("OPTIONS")) == len(bob.of("OPTIONS")) == 3
    alice.bye()
    finish(world)


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_phone_that_vanished_ends_the_call(who: str) -> None:
    world = World()
    alice, bob = talk(world)
    world.dead.add(who)
    world.run(120)
    other = bob if who == "alice" else alice
    assert len(other.of("BYE")) == 1
    finish(world)
    (record,) = world.records()
    assert record.end_reason == ("caller vanished" if who == "alice" else "callee vanished")


def test_a_phone_that_knows_of_no_call_ends_it() -> None:
    world = World()
    alice, bob = talk(world)
    bob.methods["OPTIONS"] = lambda phone, tx: phone.layer.reply(tx, 481, world.now)
    world.run(70)
    assert len(alice.of("BYE")) == 1
    finish(world)


def test_a_phone_that_does_not_know_options_is_there_all_the_same() -> None:
    world = World()
    alice, bob = talk(world)
    bob.methods["OPTIONS"] = lambda phone, tx: phone.layer.reply(tx, 501, world.now)
    world.run(200)
    assert len(world.calls) == 1
    alice.bye()
    finish(world)


def test_a_flow_that_is_gone_ends_the_call_at_the_third_probe() -> None:
    world = World()
    talk(world)
    world.flow_gone.add("bob")
    world.run(130)
    assert len(world.calls) == 1
    world.run(60)
    assert len(world.calls) == 0
    finish(world)


# -- from outside ----------------------------------------------------------------------------------


def test_a_call_can_be_hung_up_by_its_id() -> None:
    world = World()
    alice, bob = talk(world)
    (call,) = world.calls.live()
    assert world.calls.hang_up(call.id, "hung up by an operator", world.now)
    assert not world.calls.hang_up(call.id, "again", world.now)
    world.run(1)
    assert len(alice.of("BYE")) == len(bob.of("BYE")) == 1
    assert world.records()[0].end_reason == "hung up by an operator"
    finish(world)


def test_a_ringing_call_can_be_hung_up_by_its_id() -> None:
    world = World()
    alice, bob = pair(world, ring)
    alice.call()
    world.run(1)
    world.calls.hang_up(world.calls.live()[0].id, "hung up by an operator", world.now)
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 480
    assert len(bob.of("CANCEL")) == 1
    finish(world)


def test_closing_ends_all_calls_with_a_record_each() -> None:
    world = World()
    alice, bob = talk(world)
    carol, dave = world.phone("carol"), world.phone("dave", behaviour=ring)
    world.switch.plan = plan(target("dave"))
    carol.call()
    world.run(1)
    world.calls.close(world.now)
    world.run(1)
    assert len(alice.of("BYE")) == len(bob.of("BYE")) == 1
    assert carol.statuses("INVITE")[-1] == 503
    assert len(dave.of("CANCEL")) == 1
    assert [r.end_reason for r in world.records()] == ["server stopped"] * 2
    finish(world)


async def test_stopping_writes_the_records_and_leaves_people_talking() -> None:
    world = World()
    alice, bob = talk(world)
    await world.calls.stop()
    world.run(1)
    assert alice.of("BYE") == bob.of("BYE") == []
    assert [r.end_reason for r in world.records()] == ["server stopped"]
    assert len(world.calls) == 0


# -- taken up from its value -----------------------------------------------------------------------


def taken_up(world: World) -> World:
    """The same world with a new switch, which has the calls by their values alone."""
    values = [json.dumps(call.to_dict()) for call in world.calls.live()]
    fresh = World(seed=99)
    fresh.now, fresh.deadlines = world.now, world.deadlines
    switch = fresh.switch
    switch._world = world
    switch.layer.deadlines = world.deadlines
    world.switch, world.calls = switch, fresh.calls
    fresh._tokens = 1_000_000
    for value in values:
        assert world.calls.restore(Call.from_dict(json.loads(value)), world.now)
        assert not world.calls.restore(Call.from_dict(json.loads(value)), world.now)
    return fresh


def test_a_call_is_the_same_after_a_round_trip() -> None:
    world = World()
    timed(world)
    (call,) = world.calls.live()
    assert Call.from_dict(json.loads(json.dumps(call.to_dict()))) == call


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_call_that_was_taken_up_can_be_held_and_ended(who: str) -> None:
    world = World()
    alice, bob = talk(world)
    other_world = taken_up(world)
    one, other = (alice, bob) if who == "alice" else (bob, alice)
    one.send("INVITE", body=OFFER)
    world.run(1)
    assert one.responses[-1].status == 200
    assert other.of("INVITE")[-1].body == OFFER
    one.bye()
    world.run(1)
    assert len(other.of("BYE")) == 1
    (record,) = other_world.records()
    assert record.status == 200


def test_a_call_that_still_rings_can_not_be_taken_up() -> None:
    world = World()
    alice, _ = pair(world, ring)
    alice.call()
    world.run(1)
    (value,) = world.calls.live()
    assert not world.calls.restore(value, world.now)


# -- strays ----------------------------------------------------------------------------------------


def test_a_2xx_again_after_its_transaction_gets_its_ack() -> None:
    world = World()
    alice, bob = talk(world)
    answer = bob.incoming
    assert answer is not None
    world.run(40)
    before = len(bob.confirmed)
    world.send("bob", "switch", answer.last)
    world.run(1)
    assert len(bob.confirmed) == before + 1
    assert bob.of("BYE") == []
    alice.bye()
    finish(world)


def test_a_2xx_of_no_call_is_acked_and_byed() -> None:
    world = World()
    alice, bob = talk(world)
    answer = bob.incoming
    assert answer is not None
    alice.bye()
    finish(world)
    before = len(bob.confirmed)
    world.send("bob", "switch", answer.last)
    world.run(1)
    assert len(bob.confirmed) == before + 1
    assert len(bob.of("BYE")) == 2
    finish(world)
    assert len(world.records()) == 1


def test_stray_answers_to_other_requests_are_dropped() -> None:
    world = World()
    alice, bob = pair(world, silent)
    alice.call()
    world.run(1)
    bob.answer(486)
    world.run(1)
    tx = bob.incoming
    assert tx is not None
    world.run(100)
    wires = len(world.wire)
    world.send("bob", "switch", tx.last)
    world.run(1)
    assert len(world.wire) == wires + 1


def test_an_ack_of_no_call_is_dropped() -> None:
    world = World()
    alice, bob = talk(world)
    assert alice.dialog is not None
    ack: Request = alice.dialog.request("ACK", seq=77)
    alice.layer.send_ack(ack, Hop(PROXY, False))
    world.run(1)
    assert len(bob.confirmed) == 1
