"""Calls under loss, duplication and reordering: whatever happens, each ends in exactly one record
and leaves nothing behind."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from services.appserver.domain.plan import Credentials, Fork
from services.appserver.handlers.calls.attempt import Attempt
from services.appserver.handlers.calls.branch import Branch
from services.appserver.handlers.calls.connect import Bridging
from services.appserver.handlers.calls.live import LiveCall, Party
from services.appserver.handlers.calls.offering import Offering
from services.appserver.handlers.calls.relay import Relay
from services.appserver.handlers.calls.side import Side
from tandem.rpc.programs import Customer
from tandem.sip.dialog import Dialog
from tandem.sip.digest import Challenge
from tandem.sip.transaction import ServerTransaction
from tests.support.pilots import Captain, leg
from tests.support.sipworld import (
    ANSWER,
    OFFER,
    Phone,
    Weather,
    World,
    pair,
    pick_up,
    plan,
    refuse,
    ring,
    target,
)

WEATHERS = {
    "lossy": Weather(loss=0.25),
    "doubling": Weather(doubling=0.5),
    "reordering": Weather(delay=0.7),
    "all": Weather(loss=0.2, doubling=0.2, delay=0.5),
}


def hang_up(world: World, phone: Phone) -> None:
    if phone.dialog is not None:
        phone.bye()


def talk_and_hang_up(world: World) -> None:
    alice, _ = pair(world)
    alice.call()
    world.run(40)
    hang_up(world, alice)


def callee_hangs_up_at_once(world: World) -> None:
    alice, bob = pair(world)
    alice.call()
    world.run(5)
    hang_up(world, bob)


def both_hang_up(world: World) -> None:
    alice, bob = pair(world)
    alice.call()
    world.run(20)
    hang_up(world, alice)
    hang_up(world, bob)


def cancel(world: World) -> None:
    alice, _ = pair(world, ring)
    alice.call()
    world.run(3)
    alice.cancel()


def cancel_against_answer(world: World) -> None:
    alice, bob = pair(world, ring)
    alice.call()
    world.run(5)
    alice.cancel()
    if bob.incoming is not None:
        bob.answer(200, body=ANSWER)
    world.run(40)
    hang_up(world, alice)


def fork_race(world: World) -> None:
    alice = world.phone("alice")
    names = ("one", "two", "three")
    phones = [world.phone(name, behaviour=ring) for name in names]
    world.switch.plan = plan(*(target(name) for name in names))
    alice.call()
    world.run(8)
    for phone in phones:
        if phone.incoming is not None:
            phone.answer(200, body=ANSWER)
    world.run(40)
    hang_up(world, alice)


def hold_against_hold(world: World) -> None:
    alice, bob = pair(world)
    alice.call()
    world.run(40)
    for phone in (alice, bob):
        if phone.dialog is not None:
            phone.send("INVITE", body=OFFER)
    world.run(40)
    hang_up(world, bob)


def bye_against_hold(world: World) -> None:
    alice, bob = pair(world)
    alice.call()
    world.run(40)
    if alice.dialog is not None and bob.dialog is not None:
        alice.send("INVITE", body=OFFER)
        bob.bye()


def failover_then_busy(world: World) -> None:
    alice = world.phone("alice")
    world.phone("one", behaviour=refuse(503))
    world.phone("two", behaviour=refuse(486))
    world.switch.plan = plan(target("one", "two"), target("two"))
    alice.call()


def late_offer(world: World) -> None:
    alice, bob = pair(world, lambda phone, tx: phone.answer(200, body=OFFER))
    alice.ack_body = ANSWER
    alice.call(body=b"")
    world.run(40)
    hang_up(world, bob)


class Wanderer(Captain):
    """Rings one fork after the other of whatever call there is."""

    def next(self) -> None:
        for call in self.world.calls.live():
            if not self.forks:
                self.world.calls.refuse(call.id, 480, "", (), self.world.now)
            else:
                self.world.calls.ring(call.id, self.forks.pop(0), self.world.now)


def steer(world: World, *forks: Fork) -> Phone:
    """Alice calls, and these are rung in turn."""
    alice = world.phone("alice")
    world.switch.pilot = pilot = Wanderer(world, *forks)
    alice.call()
    world.run(3)
    pilot.next()
    return alice


def _door(phone: Phone, tx: ServerTransaction) -> None:
    """A provider that asks for credentials."""
    if tx.request.first("authorization"):
        pick_up(phone, tx)
    else:
        challenge = Challenge("tel", phone.world.token())
        phone.answer(401, headers=(f"WWW-Authenticate: {challenge}",))


def forks_one_after_the_other(world: World) -> None:
    behaviours = {"one": refuse(486), "two": ring, "three": pick_up}
    for name, behaviour in behaviours.items():
        world.phone(name, behaviour=behaviour)
    late = Fork((target("three"), leg("two", delay=4, ring_seconds=5)), ring_seconds=30)
    alice = steer(world, Fork((target("one"), leg("two", ring_seconds=7))), late)
    world.run(60)
    hang_up(world, alice)


def nobody_answers_any_fork(world: World) -> None:
    for name, behaviour in {"one": refuse(603), "two": ring}.items():
        world.phone(name, behaviour=behaviour)
    both = Fork((target("two"), target("one")))
    steer(world, both, Fork((target("two"),), ring_seconds=4), both)


def cancel_between_forks(world: World) -> None:
    world.phone("one", behaviour=refuse(486))
    alice = steer(world, Fork((target("one"),)), Fork((leg("one", delay=2),)))
    world.run(1)
    alice.cancel()


def provider_with_digest(world: World) -> None:
    phone = world.phone("one", behaviour=_door)
    phone.methods["BYE"] = _door_inside
    ours = Credentials("user", "secret")
    alice = steer(world, Fork((leg("one", credentials=ours),)))
    world.run(40)
    hang_up(world, alice)


def _door_inside(phone: Phone, tx: ServerTransaction) -> None:
    value = tx.request.first("authorization") or ""
    stale = "nc=00000002" not in value
    if stale:
        challenge = Challenge("tel", phone.world.token(), stale=True)
        line = f"WWW-Authenticate: {challenge}"
        phone.layer.reply(tx, 401, phone.world.now, headers=(line,))
    else:
        phone.layer.reply(tx, 200, phone.world.now)


def connect(world: World, *forks: Fork) -> None:
    """We ring Alice, and then these in turn."""
    pilot = Wanderer(world, *forks)
    first = Fork((target("alice"),))
    assert world.calls.connect(Customer("owner"), first, lambda now: pilot.next(), pilot, world.now)


def connected(world: World) -> None:
    for name in ("alice", "bob"):
        world.phone(name)
    connect(world, Fork((target("bob"),)))
    world.run(60)
    for phone in (world.phones["alice"], world.phones["bob"]):
        if phone.dialog is None and phone.incoming is not None:
            phone.dialog = Dialog.from_request(phone.incoming.request, phone.incoming.tag or "")
        hang_up(world, phone)


STORIES: tuple[Callable[[World], None], ...] = (
    talk_and_hang_up, callee_hangs_up_at_once, both_hang_up, cancel, cancel_against_answer,
    fork_race, hold_against_hold, bye_against_hold, failover_then_busy, late_offer,
    forks_one_after_the_other, nobody_answers_any_fork, cancel_between_forks,
    provider_with_digest, connected,
)  # fmt: skip


@pytest.mark.parametrize("weather", WEATHERS)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_every_call_ends_in_one_record_and_leaves_nothing(
    story: Callable[[World], None], weather: str
) -> None:
    for seed in range(6):
        world = World(seed=seed, weather=WEATHERS[weather])
        story(world)
        world.run(60)
        world.dead.update(world.phones)  # who did not hear of the end is gone now
        world.run(300)
        started = world.kinds().count("call.started")
        assert len(world.records()) == started <= 1, (story, seed)
        assert world.clean(), (story.__name__, seed)


def _random_act(world: World, phones: tuple[Phone, Phone]) -> None:
    """Anything that a phone may do, also what it should not do just then."""
    phone = world.random.choice(phones)
    act = world.random.randrange(10)
    if act == 0 and phone.outgoing is not None:
        phone.cancel()
    elif act == 1 and phone.incoming is not None:
        phone.answer(world.random.choice((180, 183, 200, 200, 302, 486, 491, 603)), body=ANSWER)
    elif act == 2 and phone.early:
        early = world.random.choice(list(phone.early.values()))
        method = world.random.choice(("PRACK", "UPDATE", "BYE", "INVITE"))
        phone.send(method, dialog=early, headers=("RAck: 1 1 INVITE",))
    elif phone.dialog is not None:
        method = world.random.choice(
            ("INVITE", "INVITE", "INFO", "UPDATE", "REFER", "OPTIONS", "BYE", "PRACK", "NOTIFY")
        )
        phone.send(method, body=OFFER)
    world.run(world.random.choice((0.0, 0.1, 0.6, 3.0, 20.0)))


@pytest.mark.parametrize("weather", [None, "doubling", "all"])
def test_whatever_phones_do_every_call_ends_in_one_record(weather: str | None) -> None:
    for seed in range(40):
        world = World(seed=seed, weather=WEATHERS[weather] if weather else None)
        alice, bob = pair(world, world.random.choice((ring, pick_up)))
        bob.methods["INVITE"] = world.random.choice((pick_up, ring))
        alice.call(body=world.random.choice((b"", OFFER)))
        for _ in range(25):
            _random_act(world, (alice, bob))
        world.dead.update(world.phones)
        world.run(500)
        assert len(world.records()) == world.kinds().count("call.started") <= 1, seed
        assert world.clean(), seed


def _any_forks() -> tuple[Fork, ...]:
    ours = Credentials("user", "secret")
    first = leg("bob", ring_seconds=20, mangle=True, credentials=ours)
    return Fork((first,)), Fork((leg("bob", delay=3),)), Fork((target("bob"), target("bob")))


@pytest.mark.parametrize("weather", [None, "lossy", "all"])
@pytest.mark.parametrize("begun_by", ["alice", "us"])
def test_whatever_phones_do_in_steered_calls_leaves_nothing(
    begun_by: str, weather: str | None
) -> None:
    for seed in range(20):
        world = World(seed=seed, weather=WEATHERS[weather] if weather else None)
        alice, bob = pair(world, world.random.choice((ring, pick_up, _door)))
        for phone in (alice, bob):
            phone.methods["INVITE"] = world.random.choice((pick_up, ring))
        if begun_by == "alice":
            steer(world, *_any_forks())
        else:
            connect(world, *_any_forks())
        for _ in range(25):
            _random_act(world, (world.phones["alice"], bob))
        world.dead.update(world.phones)
        world.run(1500)
        assert len(world.records()) == world.kinds().count("call.started") <= 1, seed
        assert world.clean(), seed


@pytest.mark.parametrize("loss", ["INVITE", "ACK", "BYE", "CANCEL"])
@pytest.mark.parametrize("dst", ["switch", "bob", "alice"])
def test_the_first_of_each_request_may_get_lost(loss: str, dst: str) -> None:
    world = World()
    seen: set[str] = set()

    def lose(src: str, to: str, message: object) -> bool:
        method = getattr(message, "method", "")
        if method == loss and to == dst and method not in seen:
            seen.add(method)
            return True
        return False

    world.lose = lose
    alice, bob = pair(world)
    alice.call()
    world.run(10)
    assert len(bob.confirmed) >= 1
    hang_up(world, alice)
    world.run(300)
    assert world.clean()
    assert [r.end_reason for r in world.records()] == ["caller hung up"]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_what_has_ended_needs_no_garbage_collector(story: Callable[[World], None]) -> None:
    gc.collect()
    gc.disable()
    try:
        world = World()
        story(world)
        world.run(300)
        assert world.clean()
        kinds = (Party, LiveCall, Side, Attempt, Branch, Relay, Offering, Bridging)
        assert [each for each in gc.get_objects() if isinstance(each, kinds)] == []
    finally:
        gc.enable()
