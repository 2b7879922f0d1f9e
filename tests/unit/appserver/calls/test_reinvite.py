"""Re-INVITEs: hold, glare, ACKs, and what crosses them."""

from __future__ import annotations

import pytest

from tandem.bus.call_events import CallChanged
from tandem.sip.message import Message, Request
from tests.support.sipworld import (
    ANSWER,
    OFFER,
    Phone,
    World,
    refuse,
    ring,
    silent,
    talk,
)

HOLD = OFFER + b"a=sendonly\r\n"


def end(world: World, alice: Phone) -> None:
    """Hang up; nothing may be left."""
    alice.bye()
    world.run(200)
    assert world.clean()
    assert len(world.records()) == 1


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_hold_and_resume_pass_end_to_end(who: str) -> None:
    world = World()
    alice, bob = talk(world)
    one, other = (alice, bob) if who == "alice" else (bob, alice)
    for body in (HOLD, OFFER):
        one.send("INVITE", body=body)
        world.run(1)
        assert other.of("INVITE")[-1].body == body
        assert one.responses[-1].body == ANSWER
        assert one.responses[-1].status == 200
    assert len(other.confirmed) == (3 if who == "alice" else 2)
    changes = [e for e in world.events if isinstance(e, CallChanged)]
    assert [(e.method, e.from_leg, e.status) for e in changes] == [
        ("INVITE", 0 if who == "alice" else 1, 200)
    ] * 2
    end(world, alice)


def test_a_late_offer_in_a_re_invite_passes_with_its_ack() -> None:
    world = World()
    alice, bob = talk(world)
    alice.ack_body = ANSWER
    alice.acks = False
    seq = alice.send("INVITE").request.cseq.number
    world.run(0.1)
    assert len(bob.confirmed) == 1
    alice.ack(1)  # the late ACK of the first INVITE
    world.run(0.1)
    assert len(bob.confirmed) == 1
    alice.ack(seq)
    world.run(1)
    assert bob.confirmed[-1].body == ANSWER
    assert bob.confirmed[-1].cseq.number == bob.of("INVITE")[-1].cseq.number
    end(world, alice)


def test_a_refused_re_invite_leaves_the_call_up() -> None:
    world = World()
    alice, bob = talk(world)
    bob.methods["INVITE"] = refuse(488)
    alice.send("INVITE", body=HOLD)
    world.run(1)
    assert alice.responses[-1].status == 488
    assert len(world.calls) == 1
    bob.methods.clear()
    alice.send("INVITE", body=OFFER)
    world.run(1)
    assert alice.responses[-1].status == 200
    end(world, alice)


def test_crossing_re_invites_get_491() -> None:
    world = World()
    alice, bob = talk(world)
    alice.methods["INVITE"] = bob.methods["INVITE"] = refuse(491)
    alice.send("INVITE", body=HOLD)
    bob.send("INVITE", body=HOLD)
    world.run(1)
    assert alice.responses[-1].status == 491
    assert bob.responses[-1].status == 491
    assert len(world.calls) == 1
    end(world, alice)


def test_our_own_glare_answer_is_491() -> None:
    world = World()
    alice, bob = talk(world)
    bob.methods["INVITE"] = silent
    alice.send("INVITE", body=HOLD)
    world.run(0.1)
    bob.send("INVITE", body=HOLD)
    world.run(0.1)
    assert bob.responses[-1].status == 491
    assert alice.of("INVITE") == []
    bob.answer(200, body=ANSWER)
    end(world, alice)


def test_overlapping_re_invites_get_500_with_retry_after() -> None:
    world = World()
    alice, bob = talk(world)
    bob.methods["INVITE"] = silent
    alice.send("INVITE", body=HOLD)
    world.run(0.1)
    alice.send("INVITE", body=OFFER)
    world.run(0.1)
    assert alice.responses[-1].status == 500
    assert 0 <= int(alice.responses[-1].first("retry-after") or "-1") <= 10
    bob.answer(200, body=ANSWER)
    world.run(1)
    end(world, alice)


def test_a_cancelled_re_invite_leaves_the_call_up() -> None:
    world = World()
    alice, bob = talk(world)
    bob.methods["INVITE"] = silent
    alice.send("INVITE", body=HOLD)
    world.run(0.1)
    alice.cancel()
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 100
    bob.answer(180)
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 487
    assert len(world.calls) == 1
    end(world, alice)


def test_a_bye_that_crosses_a_re_invite_ends_both() -> None:
    world = World()
    alice, bob = talk(world)
    bob.methods["INVITE"] = silent
    alice.send("INVITE", body=HOLD)
    world.run(0.1)
    bob.bye()
    world.run(1)
    assert bob.statuses("BYE") == [200]
    assert alice.statuses("INVITE")[-1] == 487
    assert len(alice.of("BYE")) == 1
    world.run(200)
    assert world.clean()
    assert world.records()[0].end_reason == "callee hung up"


def test_info_passes_while_an_invite_is_in_progress() -> None:
    world = World()
    alice, bob = talk(world)
    bob.methods["INVITE"] = silent
    alice.send("INVITE", body=HOLD)
    world.run(0.1)
    alice.send("INFO")
    bob.send("INFO")
    world.run(0.1)
    assert alice.statuses("INFO") == bob.statuses("INFO") == [200]
    bob.answer(200, body=ANSWER)
    world.run(1)
    end(world, alice)


def test_a_200_to_a_re_invite_that_comes_again_gets_its_ack_again() -> None:
    world = World()
    alice, bob = talk(world)
    lost: list[Message] = []

    def lose(src: str, dst: str, message: Message) -> bool:
        if dst == "bob" and isinstance(message, Request) and message.method == "ACK" and not lost:
            lost.append(message)
            return True
        return False

    world.lose = lose
    alice.send("INVITE", body=HOLD)
    world.run(5)
    assert lost
    assert bob.confirmed[-1].cseq.number == bob.of("INVITE")[-1].cseq.number
    end(world, alice)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_refresh_with_too_small_an_interval_gets_422(method: str) -> None:
    world = World()
    alice, bob = talk(world)
    alice.send(method, body=OFFER, headers=("Session-Expires: 10",))
    world.run(1)
    assert alice.statuses(method)[-1] == 422
    assert alice.responses[-1].first("min-se") == "90"
    assert len(bob.of(method)) == (1 if method == "INVITE" else 0)
    end(world, alice)


def test_a_2xx_that_waits_for_the_callers_ack_is_acked_when_the_call_ends() -> None:
    world = World()
    alice, bob = talk(world)
    alice.acks = False
    alice.send("INVITE")
    world.run(0.1)
    before = len(bob.confirmed)
    bob.bye()
    world.run(1)
    assert len(bob.confirmed) == before + 1
    assert bob.statuses("BYE") == [200]
    world.run(200)
    assert world.clean()


def test_a_re_invite_without_an_ack_ends_the_call() -> None:
    world = World()
    alice, bob = talk(world)
    alice.acks = False
    alice.send("INVITE", body=HOLD)
    world.run(40)
    assert len(alice.of("BYE")) == len(bob.of("BYE")) == 1
    world.run(200)
    assert world.clean()
    assert world.records()[0].end_reason == "no acknowledgement"


def test_a_re_invite_that_nobody_answers_ends_the_call() -> None:
    world = World()
    alice, bob = talk(world)
    bob.methods["INVITE"] = silent
    world.dead.add("bob")
    alice.send("INVITE", body=HOLD)
    world.run(40)
    assert alice.statuses("INVITE")[-1] == 408
    world.run(200)
    assert world.clean()
    assert world.records()[0].end_reason == "callee vanished"


def test_answers_to_re_invites_keep_the_tags_of_their_dialog() -> None:
    world = World()
    alice, bob = talk(world)
    assert alice.dialog is not None
    bob.methods["INVITE"] = ring
    alice.send("INVITE", body=HOLD)
    world.run(0.1)
    assert alice.responses[-1].status == 180
    assert alice.responses[-1].to.tag == alice.dialog.remote_tag
    bob.answer(200, body=ANSWER)
    world.run(1)
    end(world, alice)
