"""Transfers under loss, duplication and reordering, and whatever phones do meanwhile: each call
ends in exactly one record, and nothing is left behind."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from services.appserver.domain.legs import LegRef
from services.appserver.domain.plan import Fork, Transfer
from services.appserver.domain.transfers import Refused
from services.appserver.handlers.calls.attempt import Attempt
from services.appserver.handlers.calls.branch import Branch
from services.appserver.handlers.calls.live import LiveCall, Party
from services.appserver.handlers.calls.moving import Move
from services.appserver.handlers.calls.notifier import Notifier
from services.appserver.handlers.calls.offering import Offering
from services.appserver.handlers.calls.relay import Relay
from services.appserver.handlers.calls.reoffer import Reoffer
from services.appserver.handlers.calls.side import Side
from services.appserver.ports import Pilot, Referral
from tests.support.pilots import Captain, leg
from tests.support.sipphone import Phone
from tests.support.sipworld import ANSWER, OFFER, Weather, World, pick_up, refuse, ring, target

WEATHERS = {
    "lossy": Weather(loss=0.2),
    "doubling": Weather(doubling=0.5),
    "all": Weather(loss=0.15, doubling=0.2, delay=0.5),
}


class Crew(Captain):
    """Rings what is to be rung for any call that can be; it steers several."""

    over = False

    def next(self) -> None:
        for call in self.world.calls.live():
            if self.forks and self.world.calls.ring(call.id, self.forks[0], self.world.now):
                self.forks.pop(0)
                return
        for call in self.world.calls.live():
            self.world.calls.refuse(call.id, 480, "", (), self.world.now)


def stage(world: World, *forks: Fork) -> Crew:
    """Alice talks to Bob; who is transferred is rung by these forks."""
    for name in ("alice", "bob", "carol"):
        world.phone(name)
    crew = Crew(world, Fork((leg("bob", transfer=Transfer.SERVE),)), *forks)
    world.switch.pilot = crew

    def refer(referral: Referral) -> Pilot:
        made = Crew(world, *forks)
        world.deadlines.at(world.now, lambda now: made.next())
        return made

    world.switch.calls._board.refer = refer
    world.phones["alice"].call()
    world.run(3)
    crew.next()
    world.run(40)
    return crew


CAROL = Fork((target("carol"),))


def transfer(world: World, number: int = 1) -> None:
    for call in world.calls.live():
        pilot = Crew(world, CAROL)
        try:
            world.calls.transfer(LegRef(call.id, number), "sip:x@x", pilot, world.now)
        except Refused:
            continue
        pilot.next()


def hang_up(world: World) -> None:
    for phone in world.phones.values():
        if phone.dialog is not None:
            phone.bye()


def by_order(world: World) -> None:
    stage(world)
    transfer(world)
    world.run(60)
    hang_up(world)


def refused(world: World) -> None:
    stage(world)
    world.phones["carol"].behaviour = refuse(486)
    transfer(world)
    world.run(60)
    hang_up(world)


def not_taken(world: World) -> None:
    stage(world)
    world.phones["alice"].methods["INVITE"] = refuse(488)
    transfer(world)
    world.run(60)
    hang_up(world)


def left_at_once(world: World) -> None:
    stage(world)
    transfer(world)
    if world.phones["bob"].dialog is not None:
        world.phones["bob"].bye()
    world.run(60)
    hang_up(world)


def by_refer(world: World) -> None:
    stage(world, CAROL)
    bob = world.phones["bob"]
    if bob.dialog is not None:
        bob.send("REFER", headers=("Refer-To: <sip:carol@example.org>",))
    world.run(60)
    hang_up(world)


STORIES = (by_order, refused, not_taken, left_at_once, by_refer)


def check(world: World, what: object) -> None:
    """Nothing is left, and each call has its record."""
    world.dead.update(world.phones)
    world.run(1500)
    ids = [record.call_id for record in world.records()]
    assert len(ids) == len(set(ids)) == world.kinds().count("call.started"), what
    assert world.kinds().count("transfer.started") == sum(
        world.kinds().count(kind) for kind in ("transfer.completed", "transfer.failed")
    ), what
    assert world.clean(), what


@pytest.mark.parametrize("weather", WEATHERS)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_every_call_ends_in_one_record(story: Callable[[World], None], weather: str) -> None:
    for seed in range(6):
        world = World(seed=seed, weather=WEATHERS[weather])
        story(world)
        world.run(60)
        check(world, (story.__name__, seed))


def act(world: World) -> None:
    """Anything that a phone may do, or somebody who asks for a transfer."""
    phone: Phone = world.random.choice(list(world.phones.values()))
    what = world.random.randrange(12)
    if what == 0:
        transfer(world, world.random.choice((0, 1, 2)))
    elif what == 1 and phone.incoming is not None:
        phone.answer(world.random.choice((180, 183, 200, 200, 302, 486, 491, 603)), body=ANSWER)
    elif what == 2 and phone.dialog is not None:
        phone.send("REFER", headers=("Refer-To: <sip:carol@example.org>",))
    elif what == 3:
        calls = world.calls.live()
        if len(calls) > 1:
            one, two = world.random.sample(calls, 2)
            try:
                world.calls.join(LegRef(one.id, 1), LegRef(two.id, 0), world.now)
            except Refused:
                return
    elif what == 4 and phone.name == "alice":
        phone.dialog = None
        phone.call()
    elif what == 5:
        for call in world.calls.live():
            world.calls.ring(call.id, CAROL, world.now)
    elif phone.dialog is not None:
        names = ("INVITE", "INVITE", "INFO", "UPDATE", "OPTIONS", "BYE", "NOTIFY")
        phone.send(world.random.choice(names), body=OFFER)
    world.run(world.random.choice((0.0, 0.1, 0.6, 3.0, 20.0)))


@pytest.mark.parametrize("weather", [None, "doubling", "all"])
def test_whatever_phones_do_each_call_ends_in_one_record(weather: str | None) -> None:
    for seed in range(40):
        world = World(seed=seed, weather=WEATHERS[weather] if weather else None)
        stage(world, CAROL)
        for phone in world.phones.values():
            phone.methods["INVITE"] = world.random.choice((pick_up, pick_up, ring))
        world.phones["carol"].behaviour = world.random.choice((pick_up, ring))
        for _ in range(25):
            act(world)
        check(world, seed)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_what_has_ended_needs_no_garbage_collector(story: Callable[[World], None]) -> None:
    gc.collect()
    gc.disable()
    try:
        world = World()
        story(world)
        world.run(300)
        assert world.clean()
        kinds = (
            *(Party, LiveCall, Side, Attempt, Branch, Relay, Offering, Move, Notifier, Reoffer),
        )
        assert [each for each in gc.get_objects() if isinstance(each, kinds)] == []
    finally:
        gc.enable()
