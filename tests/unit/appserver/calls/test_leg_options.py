"""What the options of a leg change: when it rings, how long, and what its INVITE says."""

from __future__ import annotations

from services.appserver.domain.call import Call
from services.appserver.domain.plan import Fork, Transfer
from services.appserver.handlers.calls import Calls
from tests.support.pilots import called, dial, leg, steered
from tests.support.sipworld import (
    ANSWER,
    OFFER,
    World,
    finish,
    pick_up,
    refuse,
    ring,
    silent,
    target,
)

# -- delay -----------------------------------------------------------------------------------------


def test_a_delayed_leg_rings_after_the_others() -> None:
    world = World()
    alice, captain = steered(world, Fork((target("bob"), leg("carol", delay=10))))
    bob, carol = called(world, bob=ring, carol=ring)
    dial(world, alice, captain)
    world.run(8)
    assert (len(bob.of("INVITE")), len(carol.of("INVITE"))) == (1, 0)
    world.run(1)
    assert (len(bob.of("INVITE")), len(carol.of("INVITE"))) == (1, 1)
    carol.answer(200, body=ANSWER)
    world.run(1)
    assert len(bob.of("CANCEL")) == 1
    alice.bye()
    finish(world)


def test_a_delayed_leg_does_not_wait_when_nothing_else_rings() -> None:
    world = World()
    alice, captain = steered(world, Fork((leg("bob", delay=10), leg("carol", delay=20))))
    bob, carol = called(world, bob=ring, carol=ring)
    dial(world, alice, captain)
    assert (len(bob.of("INVITE")), len(carol.of("INVITE"))) == (1, 0)
    world.run(19)
    assert len(carol.of("INVITE")) == 1
    alice.cancel()
    finish(world)


def test_the_next_delayed_leg_rings_when_the_active_ones_have_failed() -> None:
    world = World()
    first = (target("bob"), leg("carol", delay=10), leg("dave", delay=10), leg("eve", delay=50))
    alice, captain = steered(world, Fork(first))
    bob, carol, dave, eve = called(world, bob=ring, carol=refuse(486), dave=ring, eve=ring)
    dial(world, alice, captain)
    world.run(2)
    bob.answer(486)
    world.run(1)
    assert [len(p.of("INVITE")) for p in (carol, dave, eve)] == [1, 1, 0]
    dave.answer(486)
    world.run(1)
    assert len(eve.of("INVITE")) == 1
    eve.answer(486)
    world.run(1)
    assert captain.statuses() == [[486] * 4]
    finish(world)


def test_what_was_not_rung_is_told_too() -> None:
    world = World()
    one = Fork((target("bob"), leg("carol", delay=90)), ring_seconds=20)
    alice, captain = steered(world, one)
    _, carol = called(world, bob=ring, carol=ring)
    dial(world, alice, captain)
    world.run(100)
    assert carol.requests == []
    assert captain.statuses() == [[408, 487]]
    assert captain.timed_out == [True]
    finish(world)
    assert world.records()[0].legs == 1


def test_a_6xx_and_an_answer_leave_the_delayed_alone() -> None:
    for behaviour in (refuse(603), pick_up):
        world = World()
        alice, captain = steered(world, Fork((target("bob"), leg("carol", delay=5))))
        _, carol = called(world, bob=behaviour, carol=ring)
        dial(world, alice, captain)
        world.run(10)
        assert carol.requests == []
        if captain.answers:
            alice.bye()
        finish(world)


# -- ring time -------------------------------------------------------------------------------------


def test_a_leg_has_a_ring_time_of_its_own() -> None:
    world = World()
    alice, captain = steered(world, Fork((leg("bob", ring_seconds=10), target("carol"))))
    bob, carol = called(world, bob=ring, carol=ring)
    dial(world, alice, captain)
    world.run(10)
    assert (len(bob.of("CANCEL")), len(carol.of("CANCEL"))) == (1, 0)
    assert captain.failures == []
    carol.answer(486)
    world.run(1)
    assert captain.statuses() == [[408, 486]]
    finish(world)


def test_the_ring_time_of_a_leg_begins_with_its_ringing() -> None:
    world = World()
    two = (target("bob"), leg("carol", delay=10, ring_seconds=10))
    alice, captain = steered(world, Fork(two))
    _, carol = called(world, bob=ring, carol=ring)
    dial(world, alice, captain)
    world.run(18)
    assert carol.of("CANCEL") == []
    world.run(2)
    assert len(carol.of("CANCEL")) == 1
    alice.cancel()
    finish(world)


def test_an_answer_ends_the_ring_time() -> None:
    world = World()
    alice, captain = steered(world, Fork((leg("bob", ring_seconds=10),)))
    (bob,) = called(world, "bob")
    dial(world, alice, captain)
    world.run(30)
    assert bob.of("BYE") == bob.of("CANCEL") == []
    alice.bye()
    finish(world)


def test_a_silent_leg_that_rang_enough_is_cancelled_once_it_answers_anything() -> None:
    world = World()
    alice, captain = steered(world, Fork((leg("bob", ring_seconds=5),)), patient=True)
    (bob,) = called(world, bob=silent)
    dial(world, alice, captain)
    world.run(5)
    assert captain.statuses() == [[408]]
    bob.answer(180)
    world.run(1)
    assert len(bob.of("CANCEL")) == 1
    alice.cancel()
    finish(world)


# -- what the INVITE says --------------------------------------------------------------------------


def test_from_and_headers_of_a_leg_take_the_place_of_the_callers() -> None:
    world = World()
    one = leg(
        "bob",
        from_value='"Office" <sip:100@provider.example>',
        headers=(
            *("X-Own: 2", "X-New: a\r\nEvil: 1", "Via: SIP/2.0/UDP evil", "Contact: <sip:e>"),
            *("no header", ": x"),
        ),
    )
    alice, captain = steered(world, Fork((one, target("carol"))))
    bob, carol = called(world, bob=pick_up, carol=ring)
    dial(world, alice, captain, headers=("X-Own: 1", "Subject: s"))
    invite = bob.of("INVITE")[0]
    assert invite.from_.display == "Office"
    assert str(invite.from_.uri) == "sip:100@provider.example"
    assert invite.from_.tag
    assert invite.values("x-own") == ["2"]
    assert invite.values("x-new") == ["a  Evil: 1"]
    assert invite.first("subject") == "s"
    assert invite.first("evil") is None
    assert invite.values("contact") == ["<sip:10.0.0.9:5090>"]
    assert all("evil" not in via for via in invite.values("via"))
    assert carol.of("INVITE")[0].values("x-own") == ["1"]
    assert carol.of("INVITE")[0].from_.display == "Alice"
    alice.bye()
    world.run(1)
    assert bob.of("BYE")[0].from_.display == "Office"
    finish(world)


def test_a_leg_may_carry_a_body_of_its_own() -> None:
    world = World()
    one = leg("bob", body=b"<x/>", content_type="application/xml")
    alice, captain = steered(world, Fork((one, target("carol"))))
    bob, carol = called(world, bob=ring, carol=ring)
    dial(world, alice, captain)
    assert bob.of("INVITE")[0].body == b"<x/>"
    assert bob.of("INVITE")[0].values("content-type") == ["application/xml"]
    assert carol.of("INVITE")[0].body == OFFER
    alice.cancel()
    finish(world)


def test_a_provider_finds_itself_in_to() -> None:
    world = World()
    alice, captain = steered(world, Fork((leg("bob", provider="tel"),)))
    (bob,) = called(world, "bob")
    dial(world, alice, captain)
    assert str(bob.of("INVITE")[0].to.uri) == "sip:bob@bob.invalid"
    alice.bye()
    finish(world)


# -- transfer --------------------------------------------------------------------------------------


def test_a_leg_without_transfers_refuses_a_refer_of_either_end() -> None:
    world = World()
    alice, captain = steered(world, Fork((leg("bob", transfer=Transfer.REFUSE),)))
    (bob,) = called(world, "bob")
    dial(world, alice, captain)
    for phone, other in ((alice, bob), (bob, alice)):
        phone.send("REFER", headers=("Refer-To: <sip:carol@example.org>",))
        world.run(1)
        assert phone.statuses("REFER") == [603]
        assert other.of("REFER") == []
    alice.bye()
    finish(world)


def test_what_a_leg_may_do_is_part_of_its_value() -> None:
    world = World()
    one = leg("bob", transfer=Transfer.SERVE, provider="tel")
    alice, captain = steered(world, Fork((one,)))
    called(world, "bob")
    dial(world, alice, captain)
    (value,) = world.calls.live()
    again = Call.from_dict(value.to_dict())
    assert again.b is not None
    assert (again.b.transfer, again.b.provider) == (Transfer.SERVE, "tel")
    assert again == value
    assert isinstance(world.calls, Calls)
    alice.bye()
    finish(world)


def test_a_value_of_an_older_version_is_understood() -> None:
    world = World()
    alice, captain = steered(world, Fork((target("bob"),)))
    called(world, "bob")
    dial(world, alice, captain)
    data = world.calls.live()[0].to_dict()
    for side in ("a", "b"):
        for key in ("transfer", "provider"):
            del data[side][key]
    again = Call.from_dict(data)
    assert again.b is not None
    assert again.b.transfer is Transfer.PASS
    alice.bye()
    finish(world)
