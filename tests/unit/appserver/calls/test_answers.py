"""Provisional answers, early dialogs, 2xx and their ACKs."""

from __future__ import annotations

import pytest

from tandem.sip.build import response_to
from tandem.sip.message import Message, Request
from tests.support.sipworld import (
    ANSWER,
    OFFER,
    World,
    finish,
    fork,
    pair,
    plan,
    refuse,
    ring,
    silent,
    talk,
    target,
)


def test_early_dialogs_of_a_fork_stay_distinct_for_the_caller() -> None:
    world = World()
    alice, _ = fork(world, ring, ring)
    alice.call()
    world.run(1)
    tags = [r.to.tag for r in alice.responses if r.status == 180]
    assert len(tags) == len(set(tags)) == 2


def test_a_late_2xx_on_a_cancelled_fork_is_acked_and_byed() -> None:
    world = World()
    alice, phones = fork(world, ring, ring)
    world.lose = lambda src, dst, message: (
        isinstance(message, Request) and (message.method == "CANCEL")
    )
    alice.call()
    world.run(1)
    phones[0].answer(200, body=ANSWER)
    world.run(1)
    phones[1].answer(200, body=ANSWER)
    world.run(5)
    assert len(phones[1].confirmed) >= 1
    assert len(phones[1].of("BYE")) == 1
    assert phones[0].of("BYE") == []
    alice.bye()
    finish(world)


def test_a_second_2xx_of_a_fork_beyond_us_is_acked_and_byed() -> None:
    world = World()
    alice, bob = pair(world, ring)
    alice.call()
    world.run(1)
    bob.answer(200, body=ANSWER)
    first = bob.dialog
    bob.answer(200, body=ANSWER, tag="second-fork")
    world.run(3)
    byes = bob.of("BYE")
    assert [bye.to.tag for bye in byes] == ["second-fork"]
    assert len({ack.to.tag for ack in bob.confirmed}) == 2
    bob.dialog = first
    alice.bye()
    finish(world)


def test_a_bye_in_the_early_dialog_cancels_the_call() -> None:
    world = World()
    alice, bob = pair(world, ring)
    alice.call()
    world.run(1)
    (early,) = alice.early.values()
    alice.send("BYE", dialog=early)
    world.run(1)
    assert alice.statuses("BYE") == [200]
    assert alice.statuses("INVITE")[-1] == 487
    assert len(bob.of("CANCEL")) == 1
    finish(world)


def test_early_media_passes_with_its_body() -> None:
    world = World()
    alice, bob = pair(world, silent)
    alice.call()
    world.run(0.1)
    bob.answer(183, body=ANSWER)
    world.run(0.1)
    assert alice.responses[-1].status == 183
    assert alice.responses[-1].body == ANSWER
    bob.answer(200)
    world.run(1)
    alice.bye()
    finish(world)


def test_a_reliable_provisional_is_pracked_end_to_end() -> None:
    world = World()
    alice, bob = pair(world, silent)
    alice.call(headers=("Supported: 100rel",))
    world.run(0.1)
    bob.answer(183, body=ANSWER, headers=("Require: 100rel", "RSeq: 7"))
    world.run(0.1)
    progress = alice.responses[-1]
    assert (progress.first("rseq"), progress.tokens("require")) == ("7", {"100rel"})
    (early,) = alice.early.values()
    early.local_seq = 40
    alice.send("PRACK", dialog=early, headers=("RAck: 7 1 INVITE",))
    world.run(0.1)
    invite = bob.of("INVITE")[0]
    assert bob.of("PRACK")[0].first("rack") == f"7 {invite.cseq.number} INVITE"
    assert alice.statuses("PRACK") == [200]
    bob.answer(200)
    world.run(1)
    alice.bye()
    finish(world)


def test_rack_names_the_invite_of_the_other_leg_after_a_failover() -> None:
    world = World()
    alice = world.phone("alice")
    world.phone("one", behaviour=refuse(503))
    two = world.phone("two", behaviour=silent)
    world.switch.plan = plan(target("one", "two"))
    alice.call(headers=("Supported: 100rel",))
    world.run(0.1)
    two.answer(180, headers=("Require: 100rel", "RSeq: 3"))
    world.run(0.1)
    (early,) = alice.early.values()
    alice.send("PRACK", dialog=early, headers=("RAck: 3 1 INVITE",))
    world.run(0.1)
    assert two.of("INVITE")[0].cseq.number == 2
    assert two.of("PRACK")[0].first("rack") == "3 2 INVITE"
    alice.cancel()
    finish(world)


def test_update_passes_in_an_early_dialog_both_ways() -> None:
    world = World()
    alice, bob = pair(world, silent)
    alice.call()
    world.run(0.1)
    bob.answer(183, body=ANSWER)
    world.run(0.1)
    (early,) = alice.early.values()
    alice.send("UPDATE", dialog=early, body=OFFER)
    world.run(0.1)
    assert alice.statuses("UPDATE") == [200]
    assert bob.of("UPDATE")[0].body == OFFER
    assert bob.of("UPDATE")[0].values("contact") == ["<sip:10.0.0.9:5090>"]
    alice.cancel()
    finish(world)


def test_a_late_offer_passes_with_the_ack() -> None:
    world = World()
    alice, bob = pair(world)
    alice.ack_body = ANSWER
    bob.behaviour = lambda phone, tx: phone.answer(200, body=OFFER)
    alice.call(body=b"")
    world.run(1)
    assert bob.confirmed[0].body == ANSWER
    assert bob.confirmed[0].first("content-type") == "application/sdp"
    assert bob.confirmed[0].cseq.number == bob.of("INVITE")[0].cseq.number
    alice.bye()
    finish(world)


@pytest.mark.parametrize("late_offer", [False, True])
def test_a_200_that_comes_again_gets_its_ack_again(late_offer: bool) -> None:
    world = World()
    alice, bob = pair(world)
    alice.ack_body = ANSWER if late_offer else b""
    lost: list[Message] = []

    def lose(src: str, dst: str, message: Message) -> bool:
        is_ack = isinstance(message, Request) and message.method == "ACK"
        if is_ack and dst == "bob" and len(lost) < 2:
            lost.append(message)
            return True
        return False

    world.lose = lose
    alice.call(body=b"" if late_offer else OFFER)
    world.run(10)
    assert len(bob.confirmed) == 1
    assert bob.confirmed[0].body == alice.ack_body
    alice.bye()
    finish(world)


def test_a_200_is_sent_again_until_its_ack_comes() -> None:
    world = World()
    alice, bob = pair(world)
    alice.acks = False
    alice.call()
    world.run(3)
    assert alice.statuses("INVITE").count(200) >= 3
    alice.acks = True
    world.run(4)
    count = alice.statuses("INVITE").count(200)
    world.run(60)
    assert alice.statuses("INVITE").count(200) == count
    assert len(bob.confirmed) == 1
    alice.bye()
    finish(world)


def test_without_an_ack_both_ends_get_a_bye() -> None:
    world = World()
    alice, bob = pair(world)
    alice.acks = False
    alice.call()
    world.run(40)
    assert len(alice.of("BYE")) == len(bob.of("BYE")) == 1
    finish(world)
    assert world.records()[0].end_reason == "no acknowledgement"


def test_a_bye_to_the_caller_waits_for_its_ack() -> None:
    world = World()
    alice, bob = pair(world)
    alice.acks = False
    alice.call()
    world.run(0.1)
    bob.bye()
    world.run(1)
    assert bob.statuses("BYE") == [200]
    assert alice.of("BYE") == []
    alice.ack()
    world.run(1)
    assert len(alice.of("BYE")) == 1
    finish(world)


def test_bye_and_ack_do_not_copy_the_route_of_the_invite() -> None:
    world = World()
    alice, bob = talk(world)
    alice.bye()
    world.run(1)
    assert bob.confirmed[0].values("route") == []
    assert bob.of("BYE")[0].values("route") == []
    assert bob.of("BYE")[0].uri == "sip:bob@bob.invalid"


def test_a_flood_of_early_dialogs_is_bounded() -> None:
    world = World()
    alice, bob = pair(world, silent)
    alice.call()
    world.run(0.1)
    for number in range(100):
        bob.answer(180, tag=f"fork{number}")
    world.run(0.1)
    assert alice.statuses("INVITE").count(180) == 100
    assert world.calls.dialogs <= 2 * 20
    bob.answer(200, body=ANSWER, tag="fork99")
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 200
    alice.bye()
    finish(world)


def test_a_180_without_a_to_tag_passes() -> None:
    world = World()
    alice, bob = pair(world, silent)
    alice.call()
    world.run(0.1)
    tx = bob.incoming
    assert tx is not None
    bob.layer.respond(tx, response_to(tx.request, 180), world.now)
    world.run(0.1)
    assert alice.statuses("INVITE") == [100, 180]
    assert world.calls.dialogs == 0
    bob.answer(200, body=ANSWER)
    world.run(1)
    assert alice.responses[-1].to.tag == alice.responses[1].to.tag
    alice.bye()
    finish(world)


def test_an_odd_session_timer_in_a_2xx_does_not_harm_the_call() -> None:
    world = World()
    odd = ("Session-Expires: soon",)
    alice, _ = pair(world, lambda phone, tx: phone.answer(200, body=ANSWER, headers=odd))
    alice.call()
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 200
    alice.bye()
    finish(world)


def test_a_bye_stands_for_an_ack_that_got_lost() -> None:
    world = World()
    alice, bob = pair(world)
    alice.acks = False
    alice.call()
    world.run(0.1)
    alice.bye()
    world.run(10)
    assert alice.statuses("INVITE").count(200) == 1
    assert len(bob.of("BYE")) == 1
    finish(world)
