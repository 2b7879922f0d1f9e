"""Setting calls up: the ordinary way, forks, CANCEL."""

from __future__ import annotations

from tests.support.sipworld import (
    ANSWER,
    OFFER,
    World,
    finish,
    fork,
    pair,
    ring,
    silent,
    talk,
)


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


def test_replaces_names_the_dialog_that_the_other_end_knows() -> None:
    """Attended transfer: Carol is asked to replace Alice, whom Bob knows by another dialog."""
    world = World()
    alice, bob = talk(world)
    seen = alice.dialog
    assert seen is not None
    value = f"{seen.call_id};to-tag={seen.remote_tag};from-tag={seen.local_tag};early-only"
    carol = world.phone("carol")
    carol.call(headers=(f"Replaces: {value}", "Require: replaces"))
    world.run(1)
    first, last = bob.of("INVITE")
    leg = world.calls.live()[0].b
    assert leg is not None
    assert last.tokens("require") == {"replaces"}
    assert last.values("replaces") == [
        f"{first.call_id};to-tag={leg.dialog.remote_tag};from-tag={first.from_.tag};early-only"
    ]


def test_replaces_of_a_dialog_elsewhere_passes_untouched() -> None:
    world = World()
    alice, bob = pair(world)
    alice.call(headers=("Replaces: x@y;to-tag=1;from-tag=2",))
    world.run(1)
    assert bob.of("INVITE")[0].values("replaces") == ["x@y;to-tag=1;from-tag=2"]
