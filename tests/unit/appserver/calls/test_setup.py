"""Setting calls up: forks, provisional answers, failures, CANCEL."""

from __future__ import annotations

import pytest

from services.appserver.domain.plan import Target
from services.appserver.handlers.calls import CallLimits
from tandem.sip.build import response_to
from tandem.sip.dialog import Dialog
from tandem.sip.message import Message, Request, Response
from tests.support.sipworld import (
    ANSWER,
    OFFER,
    Phone,
    World,
    hop_to,
    pair,
    pick_up,
    plan,
    refuse,
    ring,
    silent,
    talk,
    target,
)


def fork(world: World, *behaviours: object) -> tuple[Phone, list[Phone]]:
    """Alice, and as many phones rung at once as there are behaviours."""
    alice = world.phone("alice")
    names = [f"phone{n}" for n in range(len(behaviours))]
    phones = [
        world.phone(name, behaviour=behaviour)
        for name, behaviour in zip(names, behaviours, strict=True)
    ]
    world.switch.plan = plan(*(target(name) for name in names))
    return alice, phones


def finish(world: World) -> None:
    """Nothing may be left once all transactions had their time."""
    world.run(200)
    assert world.clean()
    assert len(world.records()) == 1


def test_an_invite_rings_is_answered_and_the_caller_hangs_up() -> None:
    world = World()
    alice, bob = talk(world)
    assert alice.statuses("INVITE") == [100, 180, 200]
    assert alice.responses[-1].body == ANSWER
    assert bob.of("INVITE")[0].body == OFFER
    assert len(bob.confirmed) == 1
    alice.bye()
    world.run(1)
    assert len(bob.of("BYE")) == 1
    finish(world)
    (record,) = world.records()
    assert (record.status, record.end_reason) == (200, "caller hung up")
    assert record.answered_by == "sip:bob@bob.invalid"
    assert record.caller == "sip:alice@example.org"
    assert record.progress_status == 180


def test_the_events_of_a_call_come_in_order_with_its_one_id() -> None:
    world = World()
    alice, _ = talk(world)
    alice.bye()
    world.run(1)
    assert world.kinds() == [
        "call.started", "call.forwarded", "call.progress", "call.answered", "call.ended",
        "call.record",
    ]  # fmt: skip
    assert len({event.call_id for event in world.events}) == 1
    assert all(event.owners == ("owner",) for event in world.events)


def test_trying_is_sent_at_once() -> None:
    world = World()
    alice, _ = pair(world, silent)
    alice.call()
    world.settle()
    assert alice.statuses("INVITE") == [100]


def test_each_leg_has_its_own_dialog_and_the_callers_name_passes() -> None:
    world = World()
    alice, bob = pair(world)
    alice.call(headers=("Subject: Grüße", "X-Own: 1", "Authorization: Digest secret"))
    world.run(1)
    theirs, ours = bob.of("INVITE")[0], alice.outgoing
    assert ours is not None
    assert theirs.call_id != ours.request.call_id
    assert theirs.from_.tag != ours.request.from_.tag
    assert theirs.from_.display == "Alice"
    assert theirs.first("subject") == "Grüße"
    assert theirs.first("x-own") == "1"
    assert theirs.first("authorization") is None
    assert theirs.max_forwards == 69
    assert theirs.values("contact") == ["<sip:10.0.0.9:5090>"]


def test_a_folded_line_passes_with_its_folds() -> None:
    world = World()
    alice, bob = pair(world)
    alice.call(headers=("Subject: first\r\n  second",))
    world.run(1)
    assert bob.of("INVITE")[0].first("subject") == "first second"


def test_local_final_answers_carry_a_to_tag() -> None:
    world = World()
    alice = world.phone("alice")
    alice.call()
    world.run(1)
    assert alice.statuses("INVITE") == [100, 480]
    assert alice.responses[-1].to.tag
    finish(world)


def test_the_first_2xx_wins_and_the_others_are_cancelled() -> None:
    world = World()
    alice, phones = fork(world, ring, ring, ring)
    alice.call()
    world.run(1)
    phones[1].answer(200, body=ANSWER)
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 200
    assert [len(phone.of("CANCEL")) for phone in phones] == [1, 0, 1]
    alice.bye()
    world.run(1)
    assert [len(phone.of("BYE")) for phone in phones] == [0, 1, 0]
    finish(world)
    assert world.records()[0].legs == 3


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


def test_cancel_before_any_provisional_waits_for_one() -> None:
    world = World()
    alice, bob = pair(world, silent)
    alice.call()
    world.run(0.1)
    alice.cancel()
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 487
    assert bob.of("CANCEL") == []
    bob.answer(180)
    world.run(1)
    assert len(bob.of("CANCEL")) == 1
    finish(world)
    assert world.records()[0].end_reason == "cancelled"


def test_the_callers_cancel_reaches_every_leg() -> None:
    world = World()
    alice, phones = fork(world, ring, ring)
    alice.call()
    world.run(1)
    alice.cancel()
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 487
    assert alice.statuses("CANCEL") == []
    assert [len(phone.of("CANCEL")) for phone in phones] == [1, 1]
    finish(world)
    (record,) = world.records()
    assert (record.status, record.end_reason) == (487, "cancelled")


def test_a_cancel_that_crosses_the_2xx_changes_nothing() -> None:
    world = World()
    alice, bob = pair(world, ring)
    alice.call()
    world.run(1)
    bob.answer(200, body=ANSWER)
    alice.cancel()
    world.run(1)
    assert alice.statuses("INVITE")[-1] in (200, 487)
    if alice.statuses("INVITE")[-1] == 200:
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


def test_names_in_utf8_and_long_uris_and_bodies_pass() -> None:
    world = World()
    alice, bob = pair(world)
    body = OFFER + b"a=x-long:" + b"y" * 20_000 + b"\r\n"
    user = "u" * 2_000
    alice.display = "Zoë Müller \U0001f600"
    alice.call(user=user, body=body)
    world.run(1)
    invite = bob.of("INVITE")[0]
    assert invite.body == body
    assert invite.from_.display == "Zoë Müller \U0001f600"
    assert invite.to.uri.user == user


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


def test_an_odd_session_timer_in_a_2xx_does_not_harm_the_call() -> None:
    world = World()
    odd = ("Session-Expires: soon",)
    alice, _ = pair(world, lambda phone, tx: phone.answer(200, body=ANSWER, headers=odd))
    alice.call()
    world.run(1)
    assert alice.statuses("INVITE")[-1] == 200
    alice.bye()
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
