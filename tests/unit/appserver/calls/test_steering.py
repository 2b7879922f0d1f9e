"""Calls that a pilot steers: one fork after the other, and the ends of such a call."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, field, replace

import pytest

from services.appserver.domain.plan import Fork, Target
from services.appserver.handlers.calls.limits import MAX_LEGS, STEERED_SECONDS
from services.appserver.ports import Calls, Steering
from tandem.sip.message import Request
from tests.support.pilots import Captain, called, dial, leg, steered
from tests.support.sipworld import (
    ANSWER,
    OFFER,
    World,
    finish,
    hop_to,
    pair,
    pick_up,
    plan,
    refuse,
    ring,
    silent,
    target,
)


def fork(*names: str, ring_seconds: float = 0.0, max_seconds: int = 0) -> Fork:
    return Fork(tuple(target(name) for name in names), ring_seconds, max_seconds)


def test_the_b2bua_is_what_its_users_ask_for() -> None:
    steering: Steering = World().calls
    calls: Calls = World().calls
    assert not len(calls)
    assert not steering.ring("none", fork("bob"), 0.0)


def test_a_call_is_opened_without_ringing_anybody() -> None:
    world = World()
    alice, captain = steered(world)
    alice.call()
    world.run(1)
    assert alice.statuses("INVITE") == [100]
    assert captain.failures == []
    assert world.kinds() == ["call.started"]
    alice.cancel()
    finish(world)
    assert captain.ends == ["cancelled"]


def test_what_the_pilot_rings_is_answered_as_any_call() -> None:
    world = World()
    alice, captain = steered(world, fork("bob"))
    (bob,) = called(world, "bob")
    dial(world, alice, captain)
    assert alice.statuses("INVITE") == [100, 180, 200]
    assert (captain.answers, captain.failures) == (1, [])
    assert len(bob.confirmed) == 1
    alice.bye()
    finish(world)
    assert captain.ends == []
    (record,) = world.records()
    assert (record.status, record.answered_by) == (200, "sip:bob@bob.invalid")


def test_another_fork_is_rung_when_the_first_has_failed() -> None:
    world = World()
    alice, captain = steered(world, fork("bob", "carol"), fork("dave"))
    _, _, dave = called(world, bob=refuse(486), carol=refuse(404), dave=pick_up)
    dial(world, alice, captain)
    assert captain.statuses() == [[486, 404]]
    assert captain.timed_out == [False]
    assert alice.statuses("INVITE") == [100, 180, 200]
    assert len(dave.of("INVITE")) == 1
    alice.bye()
    finish(world)
    assert world.records()[0].legs == 3
    assert world.kinds().count("call.leg_failed") == 2


def test_the_caller_waits_while_nothing_rings() -> None:
    world = World()
    alice, captain = steered(world, fork("bob"), patient=True)
    called(world, bob=refuse(486))
    dial(world, alice, captain)
    world.run(30)
    assert alice.statuses("INVITE") == [100]
    assert captain.statuses() == [[486]]
    carol = world.phone("carol", behaviour=ring)
    captain.forks.append(fork("carol"))
    captain.next()
    world.run(1)
    carol.answer(200, body=ANSWER)
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 200
    alice.bye()
    finish(world)


def test_each_fork_has_its_own_early_dialogs_for_the_caller() -> None:
    world = World()
    alice, captain = steered(world, fork("bob", ring_seconds=5), fork("carol"))
    _, carol = called(world, bob=ring, carol=ring)
    dial(world, alice, captain)
    world.run(5)
    carol.answer(200, body=ANSWER)
    world.run(1)
    tags = [r.to.tag for r in alice.responses if r.status in (180, 200)]
    assert tags[0] != tags[1] == tags[2]
    alice.bye()
    world.run(1)
    assert len(carol.of("BYE")) == 1
    finish(world)


def test_the_ring_time_of_a_fork_ends_it() -> None:
    world = World()
    alice, captain = steered(world, fork("bob", ring_seconds=20), fork("carol"))
    bob, _ = called(world, bob=ring, carol=pick_up)
    dial(world, alice, captain)
    world.run(18)
    assert captain.failures == []
    world.run(2)
    assert captain.statuses() == [[408]]
    assert captain.timed_out == [True]
    assert len(bob.of("CANCEL")) == 1
    assert alice.statuses("INVITE")[-1] == 200
    alice.bye()
    finish(world)


def test_no_fork_rings_longer_than_the_switch_allows() -> None:
    world = World()
    alice, captain = steered(world, fork("bob", ring_seconds=4000))
    called(world, bob=ring)
    dial(world, alice, captain)
    world.run(180)
    assert captain.timed_out == [True]
    assert alice.statuses("INVITE")[-1] == 480
    finish(world)
    assert world.records()[0].end_reason == "not available"


def test_the_answer_of_a_fork_that_was_over_is_acked_and_hung_up() -> None:
    world = World()
    alice, captain = steered(world, fork("bob", ring_seconds=5), fork("carol"))
    bob, _ = called(world, bob=silent, carol=ring)
    dial(world, alice, captain)
    world.run(5)
    assert bob.of("CANCEL") == []
    bob.answer(200, body=ANSWER)
    world.run(1)
    assert len(bob.confirmed) == 1
    assert len(bob.of("BYE")) == 1
    assert captain.answers == 0
    alice.cancel()
    finish(world)


def test_a_6xx_ends_its_fork_and_not_the_call() -> None:
    world = World()
    alice, captain = steered(world, fork("bob", "carol"), fork("dave"))
    bob, _, _ = called(world, bob=ring, carol=refuse(603), dave=pick_up)
    dial(world, alice, captain)
    assert captain.statuses() == [[603, 487]]
    assert len(bob.of("CANCEL")) == 1
    assert alice.statuses("INVITE")[-1] == 200
    alice.bye()
    finish(world)


def test_the_pilot_refuses_with_its_own_words() -> None:
    world = World()
    alice, captain = steered(world)
    captain.refusal = (302, "Try there", ("Contact: <sip:carol@example.net>", "X-Own: a\r\nb: c"))
    dial(world, alice, captain)
    last = alice.responses[-1]
    assert (last.status, last.reason) == (302, "Try there")
    assert last.values("contact") == ["<sip:carol@example.net>"]
    assert last.first("b") is None
    finish(world)
    (record,) = world.records()
    assert (record.status, record.status_reason, record.end_reason) == (
        302,
        "Try there",
        "redirected",
    )
    assert captain.ends == []


def test_a_pilot_writes_no_header_of_a_hop_or_a_dialog() -> None:
    world = World()
    alice, captain = steered(world)
    lines = ("Contact: <sip:x@y>", "To: <sip:evil>", "Via: SIP/2.0/UDP evil", "no header", "a b: c")
    captain.refusal = (486, "Busy", (*lines, "Warning: 399 x"))
    alice.call()
    world.settle()
    world.calls.progress(captain.call_id, 183, "", lines, world.now)
    captain.next()
    world.run(1)
    for answer in alice.responses[1:]:
        assert answer.values("contact") == (["<sip:10.0.0.9:5090>"] if answer.status < 200 else [])
        assert "evil" not in "".join(answer.lines)
        assert not {"no header", "a b: c"} & set(answer.lines)
    assert alice.responses[-1].first("warning") == "399 x"
    finish(world)


def test_no_pilot_refuses_with_what_is_no_refusal() -> None:
    world = World()
    alice, captain = steered(world, patient=True)
    dial(world, alice, captain)
    for status in (100, 180, 200, 202, 700):
        assert world.calls.refuse(captain.call_id, status, "", (), world.now)
        assert world.calls.progress(captain.call_id, status, "", (), world.now) or status == 180
    world.run(1)
    assert alice.statuses("INVITE") == [100, 180]
    alice.cancel()
    finish(world)


def test_what_rings_is_cancelled_when_the_pilot_refuses() -> None:
    world = World()
    alice, captain = steered(world, fork("bob"))
    (bob,) = called(world, bob=ring)
    dial(world, alice, captain)
    world.calls.refuse(captain.call_id, 603, "", (), world.now)
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 603
    assert len(bob.of("CANCEL")) == 1
    finish(world)


def test_progress_makes_an_early_dialog_that_a_bye_ends() -> None:
    world = World()
    alice, captain = steered(world, patient=True)
    dial(world, alice, captain)
    call_id = captain.call_id
    assert world.calls.progress(call_id, 183, "Looking", ("X-Step: 1",), world.now)
    world.run(1)
    answer = alice.responses[-1]
    assert (answer.status, answer.reason, answer.first("x-step")) == (183, "Looking", "1")
    (early,) = alice.early.values()
    alice.send("BYE", dialog=early)
    world.run(1)
    assert alice.statuses("BYE") == [200]
    assert alice.statuses("INVITE")[-1] == 487
    assert captain.ends == ["cancelled"]
    assert not world.calls.ring(call_id, fork("alice"), world.now)
    finish(world)


def test_the_first_leg_goes_on_in_the_dialog_that_progress_made() -> None:
    world = World()
    alice, captain = steered(world, fork("bob"), patient=True)
    alice.call()
    world.settle()
    world.calls.progress(captain.call_id, 180, "", (), world.now)
    called(world, "bob")
    captain.next()
    world.run(1)
    assert len({r.to.tag for r in alice.responses if r.status > 100}) == 1
    alice.bye()
    finish(world)


def test_progress_after_a_fork_has_failed_is_in_a_dialog_that_is_known() -> None:
    world = World()
    alice, captain = steered(world, fork("bob", ring_seconds=3), patient=True)
    called(world, bob=ring)
    dial(world, alice, captain)
    world.run(4)
    world.calls.progress(captain.call_id, 182, "", (), world.now)
    world.run(1)
    alice.send("BYE", dialog=next(iter(alice.early.values())))
    world.run(1)
    assert alice.statuses("BYE") == [200]
    finish(world)


def test_who_demands_reliable_answers_gets_no_progress() -> None:
    world = World()
    alice, captain = steered(world, patient=True)
    dial(world, alice, captain, headers=("Require: 100rel",))
    assert world.calls.progress(captain.call_id, 180, "", (), world.now)
    world.run(1)
    assert alice.statuses("INVITE") == [100]
    alice.cancel()
    finish(world)


def test_what_was_said_last_is_said_again_every_minute() -> None:
    world = World()
    alice, captain = steered(world, patient=True)
    dial(world, alice, captain)
    world.calls.progress(captain.call_id, 180, "", (), world.now)
    world.run(130)
    assert alice.statuses("INVITE") == [100, 180, 180, 180]
    alice.cancel()
    finish(world)


def test_a_pilot_that_never_comes_back_holds_nobody_for_ever() -> None:
    world = World()
    alice, captain = steered(world, patient=True)
    dial(world, alice, captain)
    world.run(STEERED_SECONDS)
    assert alice.statuses("INVITE")[-1] == 480
    assert captain.ends == ["no answer"]
    finish(world)


def test_a_call_that_is_hung_up_tells_its_pilot() -> None:
    world = World()
    alice, captain = steered(world, fork("bob"))
    (bob,) = called(world, bob=ring)
    dial(world, alice, captain)
    world.calls.hang_up(captain.call_id, "operator", world.now)
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 480
    assert captain.ends == ["operator"]
    assert len(bob.of("CANCEL")) == 1
    finish(world)


def test_a_pilot_that_is_told_of_the_end_can_do_nothing_more() -> None:
    world = World()
    alice, captain = steered(world, fork("bob"))
    called(world, bob=ring)
    dial(world, alice, captain)
    call_id = captain.call_id
    alice.cancel()
    world.run(1)
    calls, now = world.calls, world.now
    assert not calls.ring(call_id, fork("bob"), now)
    assert not calls.progress(call_id, 180, "", (), now)
    assert not calls.refuse(call_id, 480, "", (), now)
    finish(world)


def test_only_one_fork_rings_at_a_time() -> None:
    world = World()
    alice, captain = steered(world, fork("bob"))
    called(world, bob=ring)
    carol = world.phone("carol")
    dial(world, alice, captain)
    assert not world.calls.ring(captain.call_id, fork("carol"), world.now)
    world.run(1)
    assert carol.requests == []
    alice.cancel()
    finish(world)


def test_a_call_rings_no_more_than_twenty_legs_over_all_its_forks() -> None:
    world = World()
    names = [f"phone{n}" for n in range(15)]
    alice, captain = steered(world, fork(*names), fork(*names), fork("phone0"))
    phones = called(world, **dict.fromkeys(names, refuse(486)))
    dial(world, alice, captain)
    world.run(1)
    assert sum(len(phone.of("INVITE")) for phone in phones) == MAX_LEGS
    assert captain.statuses() == [[486] * 15, [480] * 10 + [486] * 5, [480]]
    assert captain.failures[1][0].reason == "Too many legs in one call"
    assert alice.statuses("INVITE")[-1] == 480
    finish(world)
    assert world.records()[0].legs == MAX_LEGS


def test_a_target_without_a_way_has_failed() -> None:
    world = World()
    nowhere = Target("sip:x@y", ())
    alice, captain = steered(world, Fork((nowhere, target("bob"))), Fork((nowhere,)), Fork(()))
    called(world, bob=refuse(486))
    dial(world, alice, captain)
    assert captain.statuses() == [[480, 486], [480], []]
    assert captain.failures[0][0].reason == "No way leads there"
    assert alice.statuses("INVITE")[-1] == 480
    finish(world)


def test_a_fork_of_nobody_does_not_fail_before_ring_has_returned() -> None:
    world = World()
    alice, captain = steered(world, patient=True)
    alice.call()
    world.settle()
    assert world.calls.ring(captain.call_id, Fork(()), world.now)
    assert captain.failures == []
    world.run()
    assert captain.failures == [()]
    alice.cancel()
    finish(world)


def test_a_fork_is_no_wider_than_the_breadth_of_the_request() -> None:
    world = World()
    alice, captain = steered(world, fork("bob", "carol", "dave"), patient=True)
    phones = called(world, bob=refuse(486), carol=refuse(486), dave=refuse(486))
    dial(world, alice, captain, headers=("Max-Breadth: 2",))
    assert [len(phone.of("INVITE")) for phone in phones] == [1, 1, 0]
    assert phones[0].of("INVITE")[0].first("max-breadth") == "1"
    alice.cancel()
    finish(world)


def test_the_smallest_limit_of_call_fork_and_leg_holds() -> None:
    for of_call, of_fork, of_leg in ((50, 60, 70), (70, 50, 60), (0, 60, 50), (0, 50, 0)):
        world = World()
        one = Fork((leg("bob", max_seconds=of_leg),), max_seconds=of_fork)
        alice, captain = steered(world, one)
        world.switch.plan = plan(max_seconds=of_call)
        (bob,) = called(world, "bob")
        dial(world, alice, captain)
        world.run(48)
        assert bob.of("BYE") == []
        world.run(2)
        assert len(bob.of("BYE")) == 1
        finish(world)
        assert world.records()[0].end_reason == "duration limit"


def test_a_refused_call_never_reaches_its_pilot() -> None:
    world = World()
    alice, captain = steered(world, fork("bob"))
    alice.call()
    again = alice.outgoing
    assert again is not None
    bad = again.request.with_uri(again.request.uri)
    bad.remove("via")
    bad.set("Call-ID", "other")
    bad.set("Max-Forwards", "0")
    alice.layer.request(bad, again.hop, world.now)
    world.run(1)
    assert 483 in alice.statuses("INVITE")
    assert captain.ends == []
    assert len(world.calls) == 1
    alice.cancel()
    world.run(200)
    assert world.clean()


def test_a_lost_proxy_fails_what_rings_through_it() -> None:
    world = World()
    hops = (hop_to("bob"),)
    alice, captain = steered(world, Fork((Target("sip:bob@bob.invalid", hops),)), patient=True)
    called(world, bob=silent)
    dial(world, alice, captain)
    world.calls.proxy_lost(hops[0].proxy, world.now)
    world.run(1)
    assert captain.failures == [] or captain.statuses() == [[430]]
    alice.cancel()
    world.dead.add("bob")
    finish(world)


@pytest.mark.parametrize("status", [302, 401, 407, 408, 430, 486, 500, 503, 600])
def test_every_failure_of_a_leg_is_told(status: int) -> None:
    world = World()
    alice, captain = steered(world, fork("bob"))
    called(world, bob=refuse(status))
    dial(world, alice, captain)
    assert captain.statuses() == [[status]]
    assert captain.failures[0][0].target == target("bob")
    finish(world)


def test_the_pilot_is_let_go_when_the_call_is_over() -> None:
    world = World()
    alice, captain = steered(world, fork("bob"))
    called(world, "bob")
    dial(world, alice, captain)
    gc.collect()
    gc.disable()
    try:
        other = Captain(world)
        gone = weakref.ref(other)
        world.switch.pilot = other
        carol = world.phone("carol")
        carol.call()
        world.run(1)
        carol.cancel()
        world.run(100)
        world.switch.pilot = None
        del other
        assert gone() is None
    finally:
        gc.enable()
    alice.bye()
    world.run(200)
    assert world.clean()


# -- with a callback -------------------------------------------------------------------------------


@dataclass
class Watch:
    """A waiter that notes what it is told."""

    told: list[str] = field(default_factory=list)

    def ready(self, now: float) -> None:
        self.told.append("ready")

    def matched(self, request: Request, now: float) -> None:
        self.told.append("matched")

    def joined(self, now: float) -> None:
        self.told.append("joined")

    def gone(self, reason: str, now: float) -> None:
        self.told.append(reason)


def waits(world: World, captain: Captain) -> Watch:
    """The pilot's call waits for a callback."""
    watch = Watch()
    assert world.calls.wait(captain.call_id, watch, world.now)
    world.run(1)
    return watch


def test_a_steered_call_may_be_joined_to_a_callback() -> None:
    world = World()
    alice, captain = steered(world, fork("bob", ring_seconds=3), patient=True)
    called(world, bob=ring)
    dial(world, alice, captain)
    watch = waits(world, captain)
    assert not world.calls.ring(captain.call_id, fork("bob"), world.now)
    world.switch.plan = replace(plan(), joins=captain.call_id)
    provider = world.phone("provider")
    provider.call("alice", body=OFFER.replace(b"4000", b"6000"))
    world.run(1)
    assert watch.told == ["matched", "joined"]
    assert (captain.answers, captain.ends, captain.failures) == (1, [], [])
    alice.bye()
    finish(world)


def test_a_caller_who_gives_up_waiting_ends_it_for_both() -> None:
    world = World()
    alice, captain = steered(world, patient=True)
    dial(world, alice, captain)
    watch = waits(world, captain)
    alice.cancel()
    finish(world)
    assert watch.told == captain.ends == ["cancelled"]


def test_a_callback_without_common_media_ends_it_for_both() -> None:
    world = World()
    alice, captain = steered(world, patient=True)
    dial(world, alice, captain)
    watch = waits(world, captain)
    world.switch.plan = replace(plan(), joins=captain.call_id)
    world.phone("provider").call("alice", body=OFFER.replace(b"AVP 0", b"AVP 8"))
    world.run(1)
    assert watch.told == ["matched", "media not acceptable"]
    assert captain.ends == ["media not acceptable"]
    finish(world)


@pytest.mark.parametrize("rang_before", [True, False])
def test_when_no_callback_came_the_pilot_goes_on(rang_before: bool) -> None:
    world = World()
    first = (fork("bob", ring_seconds=3),) if rang_before else ()
    alice, captain = steered(world, *first, patient=True)
    _, carol = called(world, bob=ring, carol=pick_up)
    dial(world, alice, captain)
    world.run(3)
    world.calls.progress(captain.call_id, 182, "", (), world.now)
    watch = waits(world, captain)
    assert world.calls.stop_waiting(captain.call_id, world.now)
    assert not world.calls.stop_waiting(captain.call_id, world.now)
    assert world.calls.progress(captain.call_id, 180, "", (), world.now)
    captain.forks.append(fork("carol"))
    captain.next()
    world.run(1)
    assert watch.told == []
    assert alice.statuses("INVITE")[-1] == 200
    assert len(carol.confirmed) == 1
    alice.bye()
    finish(world)


def test_a_call_that_nobody_steers_is_not_given_back() -> None:
    world = World()
    alice, bob = pair(world, ring)
    alice.call()
    world.run(1)
    (call,) = world.calls.live()
    assert not world.calls.stop_waiting(call.id, world.now)
    assert world.calls.wait(call.id, Watch(), world.now)
    assert not world.calls.stop_waiting(call.id, world.now)
    assert world.calls.waiting(call.id)
    alice.cancel()
    finish(world)
    assert len(bob.of("CANCEL")) == 1
