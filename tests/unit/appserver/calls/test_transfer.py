"""Blind transfers by order: the target is rung first, the old call is kept until it answers."""

from __future__ import annotations

import pytest

from services.appserver.domain.call import Call
from services.appserver.domain.leg import MAX_SDP
from services.appserver.domain.legs import LegRef
from services.appserver.domain.plan import Fork, Transfer
from services.appserver.domain.transfers import Refusal, Refused
from services.appserver.handlers.calls import CallLimits
from tandem.rpc.directory import Account
from tests.support.pilots import leg
from tests.support.sipworld import World, plan, refuse, ring, silent, target
from tests.support.transfers import (
    ALICE,
    CAROL,
    IVR,
    TransferCompleted,
    TransferFailed,
    Transferring,
    TransferStarted,
    says,
    sdp,
    untouched,
)


def test_the_target_is_rung_first_and_takes_the_place_of_the_leg() -> None:
    world = World()
    made = Transferring(world, carol=ring)
    made.begin()
    (invite,) = made.carol.of("INVITE")
    assert invite.body == ALICE
    assert str(invite.from_.uri) == "sip:alice@example.org"
    assert (made.alice.of("INVITE"), made.alice.of("BYE"), made.ivr.of("BYE")) == ([], [], [])
    assert {call.id for call in world.calls.live()} == {made.old.id, made.new}
    made.carol.answer(200, body=CAROL)
    world.run(1)
    (again,) = made.alice.of("INVITE")
    assert again.body == CAROL
    assert (len(made.ivr.of("BYE")), len(made.alice.of("BYE"))) == (1, 0)
    assert "Transferred" in (made.ivr.of("BYE")[0].first("reason") or "")
    assert len(made.carol.of("INVITE")) == 1
    assert made.captain.answers == 1
    assert made.reasons() == {"old": (200, "transferred")}
    started = made.event(TransferStarted)
    assert (started.call_id, started.new_call_id, started.leg) == (made.old.id, made.new, 1)
    assert made.event(TransferCompleted).new_call_id == made.new
    made.alice.send("INFO")
    made.carol.bye()
    world.run(1)
    assert len(made.carol.of("INFO")) == 1
    assert len(made.alice.of("BYE")) == 1
    made.finish()
    assert made.reasons()["new"] == (200, "callee hung up")
    record = next(r for r in world.records() if r.call_id == made.new)
    assert (record.caller, record.destination) == ("sip:alice@example.org", "sip:1234@x")
    assert record.answered_by == "sip:carol@carol.invalid"


def test_the_callers_leg_may_go_too() -> None:
    world = World()
    made = Transferring(world)
    made.begin(0)
    world.run(1)
    assert made.carol.of("INVITE")[0].body == IVR
    assert made.ivr.of("INVITE")[-1].body == CAROL
    assert (len(made.alice.of("BYE")), len(made.ivr.of("BYE"))) == (1, 0)
    made.ivr.bye()
    world.run(1)
    assert len(made.carol.of("BYE")) == 1
    made.finish()
    assert made.reasons() == {"old": (200, "transferred"), "new": (200, "caller hung up")}


def test_a_call_on_hold_is_offered_open() -> None:
    world = World()
    made = Transferring(world)
    made.alice.send("INVITE", body=sdp("alice", 4000, "sendonly"))
    world.run(1)
    made.begin()
    assert made.carol.of("INVITE")[0].body == ALICE
    made.carol.bye()
    made.finish()


def test_an_end_that_moves_is_told_to_the_new_party() -> None:
    world = World()
    made = Transferring(world)
    made.alice.methods["INVITE"] = says(sdp("alice", 4002))
    made.begin(seconds=1)
    assert [invite.body for invite in made.carol.of("INVITE")] == [ALICE, sdp("alice", 4002)]
    made.alice.bye()
    made.finish()


def test_an_end_of_which_nothing_is_known_gets_the_targets_offer() -> None:
    world = World()
    made = Transferring(world)
    assert made.old.a is not None
    made.old.a.sdp = b""
    made.begin(seconds=1)
    (invite,) = made.carol.of("INVITE")
    assert invite.body == b""
    assert made.alice.of("INVITE")[0].body == CAROL
    assert made.carol.confirmed[-1].body == ALICE
    made.carol.bye()
    made.finish()
    assert made.reasons()["old"] == (200, "transferred")


@pytest.mark.parametrize("status", [486, 603, 404])
def test_a_target_that_refuses_changes_nothing(status: int) -> None:
    world = World()
    made = Transferring(world, carol=refuse(status))
    made.captain.refusal = (status, "No", ())
    made.begin(seconds=1)
    assert made.event(TransferFailed).status == status
    assert made.reasons()["new"][0] == status
    assert made.alice.of("INVITE") == []
    untouched(made)


def test_a_target_that_does_not_answer_changes_nothing() -> None:
    world = World()
    made = Transferring(world, carol=ring)
    made.captain.forks = [Fork((target("carol"),), ring_seconds=20)]
    made.begin()
    world.run(30)
    assert len(made.carol.of("CANCEL")) == 1
    assert made.told == ["transfer.started", "transfer.failed"]
    untouched(made)


def test_the_next_target_may_answer() -> None:
    world = World()
    made = Transferring(world, carol=refuse(486))
    dave = world.phone("dave", behaviour=says(CAROL))
    made.captain.forks.append(Fork((target("dave"),)))
    made.begin(seconds=1)
    assert len(dave.confirmed) == 1
    dave.bye()
    made.finish()
    assert made.reasons() == {"old": (200, "transferred"), "new": (200, "callee hung up")}


def test_who_is_transferred_hangs_up_while_the_target_rings() -> None:
    world = World()
    made = Transferring(world, carol=ring)
    made.begin()
    made.alice.bye()
    world.run(1)
    assert (len(made.ivr.of("BYE")), len(made.carol.of("CANCEL"))) == (1, 1)
    assert made.reasons() == {"old": (200, "caller hung up"), "new": (487, "caller hung up")}
    assert made.captain.ends == ["caller hung up"]
    made.finish()


def test_a_transferor_that_hangs_up_in_mid_transfer_has_its_transfer() -> None:
    world = World()
    made = Transferring(world, carol=ring)
    made.begin()
    made.ivr.bye()
    world.run(1)
    assert made.ivr.statuses("BYE") == [200]
    assert made.alice.of("BYE") == []
    assert made.reasons() == {"old": (200, "transferred")}
    made.alice.send("INVITE", body=ALICE)  # a session refresh, with nobody at the other end
    world.run(1)
    assert made.alice.statuses("INVITE")[-1] == 200
    made.carol.answer(200, body=CAROL)
    world.run(1)
    assert made.alice.of("INVITE")[-1].body == CAROL
    made.alice.bye()
    world.run(1)
    assert len(made.carol.of("BYE")) == 1
    made.finish()
    assert made.reasons()["new"] == (200, "caller hung up")


def test_the_target_fails_after_the_transferor_has_left() -> None:
    world = World()
    made = Transferring(world, carol=ring)
    made.begin()
    made.ivr.bye()
    world.run(1)
    made.carol.answer(486)
    world.run(1)
    assert len(made.alice.of("BYE")) == 1
    made.finish()
    assert made.reasons()["new"][0] == 480


def test_who_waits_alone_hangs_up() -> None:
    world = World()
    made = Transferring(world, carol=ring)
    made.begin()
    made.ivr.bye()
    world.run(1)
    made.alice.bye()
    world.run(1)
    assert made.alice.statuses("BYE") == [200]
    assert len(made.carol.of("CANCEL")) == 1
    made.finish()
    assert made.reasons()["new"] == (487, "caller hung up")


def test_an_operator_ends_the_attempt_or_the_call() -> None:
    world = World()
    made = Transferring(world, carol=ring)
    made.begin()
    assert world.calls.hang_up(made.new, "by operator", world.now)
    world.run(1)
    assert len(made.carol.of("CANCEL")) == 1
    untouched(made)


def test_an_operator_ends_the_old_call() -> None:
    world = World()
    made = Transferring(world, carol=ring)
    made.begin()
    assert world.calls.hang_up(made.old.id, "by operator", world.now)
    world.run(1)
    assert [len(p.of("BYE")) for p in (made.alice, made.ivr)] == [1, 1]
    assert len(made.carol.of("CANCEL")) == 1
    made.finish()


async def test_a_node_that_stops_writes_both_records() -> None:
    world = World()
    made = Transferring(world, carol=ring)
    made.begin()
    await world.calls.stop()
    world.run(1)
    assert len(made.carol.of("CANCEL")) == 1
    assert made.reasons() == {"old": (200, "server stopped"), "new": (503, "server stopped")}
    assert made.told == ["transfer.started", "transfer.failed"]


def test_closing_all_calls_ends_both() -> None:
    world = World()
    made = Transferring(world, carol=ring)
    made.begin()
    world.calls.close(world.now)
    world.run(1)
    assert [len(p.of("BYE")) for p in (made.alice, made.ivr)] == [1, 1]
    made.finish()


def test_a_restored_call_knows_what_its_ends_said() -> None:
    world = World()
    made = Transferring(world)
    again = Call.from_dict(made.old.to_dict())
    assert again.a is not None
    assert again.b is not None
    assert (again.a.sdp, again.b.sdp) == (ALICE, IVR)
    made.alice.bye()
    made.finish()


def test_a_description_that_is_too_long_is_not_kept() -> None:
    world = World()
    made = Transferring(world)
    made.alice.send("INVITE", body=ALICE + b"a=x:" + b"y" * MAX_SDP + b"\r\n")
    world.run(1)
    assert made.old.a is not None
    assert made.old.a.sdp == b""
    made.alice.bye()
    made.finish()


def test_an_offer_of_the_new_party_has_to_wait_while_the_end_is_told() -> None:
    world = World()
    made = Transferring(world)
    made.alice.methods["INVITE"] = silent
    made.begin(seconds=0.2)
    made.carol.send("INVITE", body=CAROL)
    world.run(0.2)
    assert made.carol.statuses("INVITE") == [491]
    made.alice.answer(200, body=ALICE)
    world.run(1)
    made.carol.bye()
    made.finish()


# -- what is refused -------------------------------------------------------------------------------


def refused(made: Transferring, call_id: str, number: int) -> Refusal:
    with pytest.raises(Refused) as caught:
        made.world.calls.transfer(LegRef(call_id, number), "sip:x@x", made.captain, made.world.now)
    return caught.value.refusal


def test_what_can_not_be_transferred_is_refused_at_once() -> None:
    world = World(limits=CallLimits(max_calls=2))
    made = Transferring(world, carol=ring)
    assert refused(made, "nothing", 0) is Refusal.NO_LEG
    assert refused(made, made.old.id, 7) is Refusal.NO_LEG
    made.begin()
    assert refused(made, made.old.id, 1) is Refusal.NOT_NOW
    assert refused(made, made.old.id, 0) is Refusal.NOT_NOW
    assert refused(made, made.new, 0) is Refusal.NO_LEG
    made.alice.bye()
    made.finish()


def test_a_full_node_refuses() -> None:
    made = Transferring(World(limits=CallLimits(max_calls=1)))
    assert refused(made, made.old.id, 1) is Refusal.OVERLOADED
    made.alice.bye()
    made.finish()


def test_a_transfer_may_be_the_one_call_too_many_of_its_customer() -> None:
    world = World()
    made = Transferring(world, carol=ring)
    owner = Account("1", "owner", "dave", "example.org", {}, max_calls=2)
    world.switch.pilot = None
    world.switch.plan = plan(leg("bob", transfer=Transfer.CALLEE), caller=owner)
    dave, bob = world.phone("dave"), world.phone("bob")
    dave.call()
    world.run(1)
    made.begin()
    (other,) = [call.id for call in world.calls.live() if call.id not in (made.old.id, made.new)]
    assert refused(made, other, 1) is Refusal.TOO_MANY_CALLS
    made.refer(bob)
    assert bob.statuses("REFER") == [480]
    assert len(world.calls.live()) == 3
    for caller in (dave, made.alice):
        caller.bye()
    made.finish()


def test_a_limit_on_the_duration_goes_on() -> None:
    world = World()
    made = Transferring(world, max_seconds=100)
    world.run(60)
    made.begin(seconds=1)
    world.run(36)
    assert made.alice.of("BYE") == []
    world.run(5)
    assert len(made.alice.of("BYE")) == 1
    made.finish()
    assert made.reasons()["new"] == (200, "duration limit")


def test_a_call_is_transferred_again_and_again() -> None:
    world = World()
    made = Transferring(world)
    made.begin(seconds=1)
    first = made.new
    dave = world.phone("dave", behaviour=says(sdp("dave", 7000)))
    made.old = next(call for call in world.calls.live() if call.id == first)
    made.captain = type(made.captain)(world, Fork((target("dave"),)))
    assert made.old.b is not None
    made.begin(made.old.b.number, seconds=1)
    assert len(made.carol.of("BYE")) == 1
    assert made.alice.of("INVITE")[-1].body == sdp("dave", 7000)
    dave.bye()
    world.run(1)
    assert len(made.alice.of("BYE")) == 1
    made.finish()
    assert made.reasons()["old"] == (200, "transferred")
