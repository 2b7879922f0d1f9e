"""Pilots that follow an answered call to its end."""

from __future__ import annotations

import gc
import weakref

import pytest

from services.appserver.domain.legs import LegRef
from services.appserver.domain.plan import Fork
from services.appserver.domain.transfers import HANDOVER
from tests.support.pilots import Captain, called, dial, steered
from tests.support.sipphone import Phone
from tests.support.sipworld import World, finish, ring, target
from tests.support.transfers import Transferring, TransferStarted


class Follower(Captain):
    """Goes on after the answer, with a pilot of its own that hears of the end."""

    def __init__(self, world: World, *forks: Fork) -> None:
        super().__init__(world, *forks)
        self.after = Captain(world)
        self.follows = False

    def answered(self, now: float) -> None:
        super().answered(now)
        self.follows = self.world.calls.follow(self.call_id, self.after)


def up(world: World) -> tuple[Phone, Phone, Follower]:
    """Alice talks to Bob."""
    alice, _ = steered(world)
    follower = Follower(world, Fork((target("bob"),)))
    world.switch.pilot = follower
    (bob,) = called(world, "bob")
    dial(world, alice, follower)
    assert follower.follows
    return alice, bob, follower


@pytest.mark.parametrize("who", [0, 1])
def test_it_is_told_once_who_hung_up(who: int) -> None:
    world = World()
    alice, bob, follower = up(world)
    assert follower.after.ends == []
    (alice, bob)[who].bye()
    finish(world)
    assert follower.after.ends == [("caller hung up", "callee hung up")[who]]
    assert (follower.answers, follower.ends) == (1, [])


def test_it_is_told_that_the_call_was_ended() -> None:
    world = World()
    _, _, follower = up(world)
    assert world.calls.hang_up(follower.call_id, "operator", world.now)
    finish(world)
    assert follower.after.ends == ["operator"]


def test_it_is_told_that_the_call_goes_on_as_another() -> None:
    world = World()
    made = Transferring(world)
    follower = Captain(world)
    assert world.calls.follow(made.old.id, follower)
    made.begin()
    world.run(1)
    assert follower.ends == ["transferred"]
    made.carol.bye()
    made.finish()
    assert follower.ends == ["transferred"]


def test_a_transfer_that_comes_to_nothing_is_none_of_its_business() -> None:
    world = World()
    made = Transferring(world, carol=ring)
    follower = Captain(world)
    world.calls.follow(made.old.id, follower)
    made.begin()
    world.calls.refuse(made.new, 480, "", (), world.now)
    world.run(1)
    assert follower.ends == []
    made.ivr.bye()
    made.finish()
    assert follower.ends == ["callee hung up"]


def test_a_call_that_is_not_up_is_not_followed() -> None:
    world = World()
    alice, captain = steered(world, Fork((target("bob"),)))
    world.phone("bob", behaviour=ring)
    dial(world, alice, captain)
    follower = Captain(world)
    assert not world.calls.follow("nothing", follower)
    assert not world.calls.follow(captain.call_id, follower)
    alice.cancel()
    finish(world)
    assert follower.ends == []


def test_who_asked_for_a_transfer_is_told() -> None:
    world = World()
    made = Transferring(world)
    captain = made.captain
    new = world.calls.transfer(LegRef(made.old.id, 1), "sip:carol@x", captain, world.now, HANDOVER)
    started = made.event(TransferStarted)
    assert (started.new_call_id, started.kind, started.by) == (new, "blind", "dialplan")
    world.calls.refuse(new, 480, "", (), world.now)
    made.alice.bye()
    world.run(400)


def test_a_follower_is_let_go_with_the_call() -> None:
    world = World()
    alice, _, follower = up(world)
    alice.bye()
    finish(world)
    gone = weakref.ref(follower.after)
    follower.after = Captain(world)
    gc.collect()
    assert gone() is None
