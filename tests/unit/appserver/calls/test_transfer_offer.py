"""The re-INVITE of who stays in a transfer: refused, in a glare, and who hangs up during it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from services.appserver.domain.plan import Fork
from tests.support.pilots import leg
from tests.support.sipphone import Phone
from tests.support.sipworld import World, refuse, ring, silent
from tests.support.transfers import (
    ALICE,
    CAROL,
    IVR,
    TransferFailed,
    Transferring,
    says,
    untouched,
)


def test_an_end_that_refuses_the_new_sound_keeps_the_old_call() -> None:
    world = World()
    made = Transferring(world)
    made.alice.methods["INVITE"] = refuse(488)
    made.begin(seconds=1)
    assert len(made.carol.of("BYE")) == 1
    assert made.event(TransferFailed).status == 488
    assert made.captain.ends
    untouched(made)


def test_an_end_that_is_gone_by_then_ends_it_all() -> None:
    world = World()
    made = Transferring(world)
    made.alice.methods["INVITE"] = refuse(481)
    made.begin(seconds=1)
    assert (len(made.carol.of("BYE")), len(made.ivr.of("BYE"))) == (1, 1)
    made.finish()
    assert made.reasons()["old"] == (200, "caller vanished")


def glaring(times: int, body: bytes) -> tuple[list[float], object]:
    """491 for so many times."""
    seen: list[float] = []

    def behave(phone: Phone, tx: object) -> None:
        seen.append(phone.world.now)
        if len(seen) <= times:
            phone.answer(491)
        else:
            phone.answer(200, body=body)

    return seen, behave


@pytest.mark.parametrize(("number", "least", "most"), [(1, 0.0, 2.1), (0, 2.1, 4.0)])
def test_a_glare_is_tried_again_after_the_rfcs_time(number: int, least: float, most: float) -> None:
    world = World()
    made = Transferring(world)
    stayer, body = (made.alice, ALICE) if number else (made.ivr, IVR)
    seen, behave = glaring(2, body)
    stayer.methods["INVITE"] = behave  # type: ignore[assignment]
    made.begin(number)
    world.run(9)
    assert len(seen) == 3
    gaps = [b - a for a, b in pairwise(seen)]
    assert all(least <= gap <= most for gap in gaps)
    assert made.reasons() == {"old": (200, "transferred")}
    stayer.bye()
    made.finish()


def test_a_glare_without_end_is_the_end() -> None:
    world = World()
    made = Transferring(world)
    made.alice.methods["INVITE"] = refuse(491)
    made.begin()
    world.run(40)
    assert made.told[-1] == "transfer.failed"
    assert len(made.carol.of("BYE")) == 1
    untouched(made)


def test_addresses_pass_as_before_when_it_came_to_nothing() -> None:
    """They were to be replaced for the new party, which is elsewhere."""
    world = World()
    world.addresses["alice"] = "203.0.113.7"
    made = Transferring(world)
    made.captain.forks = [Fork((leg("carol", mangle=True),))]
    alice = ALICE.replace(b"192.0.2.9", b"192.168.1.9")
    made.alice.send("INVITE", body=alice)
    world.run(1)
    made.alice.methods["INVITE"] = refuse(488)
    made.begin()
    assert b"IP4 203.0.113.7" in made.carol.of("INVITE")[0].body
    made.alice.send("INVITE", body=alice)
    world.run(1)
    assert made.ivr.of("INVITE")[-1].body == alice
    untouched(made)


def test_an_invite_of_the_others_under_way_is_waited_for() -> None:
    world = World()
    made = Transferring(world, carol=ring)
    made.begin()
    made.ivr.methods["INVITE"] = silent
    made.alice.send("INVITE", body=ALICE)
    world.run(0.1)
    made.carol.answer(200, body=CAROL)
    world.run(0.2)
    assert made.alice.of("INVITE") == []
    made.ivr.answer(200, body=IVR)
    world.run(2)
    assert made.alice.of("INVITE")[-1].body == CAROL
    assert made.reasons() == {"old": (200, "transferred")}
    made.alice.bye()
    made.finish()


def test_the_new_party_hangs_up_while_the_end_is_told() -> None:
    world = World()
    made = Transferring(world)
    made.alice.methods["INVITE"] = silent
    made.begin(seconds=0.2)
    made.carol.bye()
    world.run(1)
    assert made.carol.statuses("BYE") == [200]
    assert made.reasons()["new"][1] == "callee hung up"
    made.alice.methods["INVITE"] = says(ALICE)
    made.alice.answer(200, body=ALICE)  # it had answered before the CANCEL came
    world.run(3)
    assert made.alice.of("INVITE")[-1].body == IVR
    untouched(made)


def test_who_is_transferred_hangs_up_while_being_told() -> None:
    world = World()
    made = Transferring(world)
    made.alice.methods["INVITE"] = silent
    made.begin(seconds=0.2)
    made.alice.bye()
    world.run(1)
    assert (len(made.carol.of("BYE")), len(made.ivr.of("BYE"))) == (1, 1)
    made.finish()
    assert made.reasons()["old"] == (200, "caller hung up")


def test_the_transferor_hangs_up_while_the_end_is_told() -> None:
    world = World()
    made = Transferring(world)
    made.alice.methods["INVITE"] = silent
    made.begin(seconds=0.2)
    made.ivr.bye()
    world.run(0.2)
    made.alice.answer(200, body=ALICE)
    world.run(1)
    assert made.captain.answers == 1
    made.alice.bye()
    world.run(1)
    assert len(made.carol.of("BYE")) == 1
    made.finish()
    assert made.reasons() == {"old": (200, "transferred"), "new": (200, "caller hung up")}
