"""Setting calls up."""

from __future__ import annotations

from tests.support.sipworld import ANSWER, OFFER, World, pair


def test_an_invite_rings_is_answered_and_either_side_can_hang_up() -> None:
    world = World()
    alice, bob = pair(world)
    alice.call()
    world.run(1)
    assert alice.statuses("INVITE") == [100, 180, 200]
    assert alice.responses[-1].body == ANSWER
    assert bob.of("INVITE")[0].body == OFFER
    assert len(bob.confirmed) == 1
    alice.bye()
    world.run(1)
    assert len(bob.of("BYE")) == 1
    world.run(64)
    assert world.clean()
    (record,) = world.records()
    assert (record.status, record.end_reason) == (200, "caller hung up")
