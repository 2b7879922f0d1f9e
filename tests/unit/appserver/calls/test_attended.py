"""Attended transfers: a REFER whose Refer-To replaces a call."""

from __future__ import annotations

from typing import Any

from services.appserver.domain.plan import Fork
from tests.support.pilots import leg
from tests.support.sipworld import World, refuse, ring, silent
from tests.support.transfers import (
    ALICE,
    IVR,
    Transfer,
    Transferring,
    says,
    sdp,
    sipfrags,
)

SERVED: dict[str, Any] = {"transfer": Transfer.SERVE}


class Attended(Transferring):
    """The IVR talks to Alice in one call and to Dave in another, and refers Alice to Dave."""

    def __init__(self, world: World, **options: Any) -> None:
        super().__init__(world, **options)
        self.first = self.ivr.dialog
        self.dave = world.phone("dave", behaviour=says(sdp("dave", 7000)))
        self.dave.methods["INVITE"] = says(sdp("dave", 7000))
        captain = type(self.captain)(world, Fork((leg("dave", transfer=Transfer.SERVE),)))
        world.switch.pilot = captain
        self.ivr.dialog = None
        self.ivr.call("dave", body=IVR)
        world.settle()
        captain.id = next(c.id for c in world.calls.live() if c.id != self.old.id)
        captain.next()
        world.run(1)
        self.second = world.phones["ivr"].dialog

    def replaces(self, **changes: str) -> str:
        """A Refer-To that names the second call."""
        dialog = self.second
        assert dialog is not None
        tags = {"call": dialog.call_id, "to": dialog.remote_tag, "from": dialog.local_tag} | changes
        value = f"{tags['call']}%3Bto-tag%3D{tags['to']}%3Bfrom-tag%3D{tags['from']}"
        return f"<sip:dave@example.org?Replaces={value.replace('@', '%40')}>"

    def ask(self, to: str) -> None:
        """REFER in the first call."""
        self.ivr.send("REFER", headers=(f"Refer-To: {to}",), dialog=self.first)
        self.world.run(1)


def test_the_far_ends_of_two_calls_are_joined() -> None:
    world = World()
    made = Attended(world, **SERVED)
    made.ask(made.replaces())
    assert made.ivr.statuses("REFER") == [202]
    assert sipfrags(made.ivr)[-1] == ("200 OK", "terminated")
    assert len(made.ivr.of("BYE")) == 2
    assert made.alice.of("INVITE")[-1].body == sdp("dave", 7000)
    assert made.dave.of("INVITE")[-1].body == ALICE
    assert (made.alice.of("BYE"), made.dave.of("BYE")) == ([], [])
    assert made.referrals == []
    (new,) = world.calls.live()
    assert made.told == [*["transfer.started"] * 2, *["transfer.completed"] * 2]
    made.alice.send("INFO")
    world.run(1)
    assert len(made.dave.of("INFO")) == 1
    made.dave.bye()
    world.run(1)
    assert len(made.alice.of("BYE")) == 1
    made.finish()
    ends = sorted(record.end_reason for record in world.records())
    assert ends == ["callee hung up", "transferred", "transferred"]
    assert new.caller == "sip:alice@example.org"


def test_a_second_end_that_refuses_leaves_both_calls_as_they_were() -> None:
    world = World()
    made = Attended(world, **SERVED)
    made.dave.methods["INVITE"] = refuse(488)
    made.ask(made.replaces())
    assert sipfrags(made.ivr)[-1][0].startswith("488")
    assert [invite.body for invite in made.alice.of("INVITE")] == [sdp("dave", 7000), IVR]
    assert made.ivr.of("BYE") == []
    assert len(world.calls) == 2
    made.alice.bye()
    made.dave.bye()
    made.finish()


def test_a_first_end_that_refuses_changes_nothing() -> None:
    world = World()
    made = Attended(world, **SERVED)
    made.alice.methods["INVITE"] = refuse(488)
    made.ask(made.replaces())
    assert made.dave.of("INVITE")[1:] == []
    assert len(world.calls) == 2
    made.alice.bye()
    made.dave.bye()
    made.finish()


def test_an_end_hangs_up_while_the_two_are_joined() -> None:
    world = World()
    made = Attended(world, **SERVED)
    made.alice.methods["INVITE"] = silent
    made.ask(made.replaces())
    made.dave.bye()
    world.run(1)
    assert len(world.calls) == 1
    made.alice.bye()
    made.finish()


def test_the_referrer_hangs_up_both_while_the_two_are_joined() -> None:
    world = World()
    made = Attended(world, **SERVED)
    made.alice.methods["INVITE"] = silent
    made.ask(made.replaces())
    made.ivr.send("BYE", dialog=made.first)
    made.ivr.send("BYE", dialog=made.second)
    world.run(0.2)
    assert (made.alice.of("BYE"), made.dave.of("BYE")) == ([], [])
    made.alice.answer(200, body=ALICE)
    world.run(1)
    assert made.dave.of("INVITE")[-1].body == ALICE
    made.alice.bye()
    world.run(1)
    assert len(made.dave.of("BYE")) == 1
    made.finish()


def test_two_left_alone_that_can_not_be_joined_are_hung_up() -> None:
    world = World()
    made = Attended(world, **SERVED)
    made.alice.methods["INVITE"] = silent
    made.ask(made.replaces())
    made.ivr.send("BYE", dialog=made.first)
    made.ivr.send("BYE", dialog=made.second)
    world.run(0.2)
    made.alice.answer(488)
    world.run(1)
    assert (len(made.alice.of("BYE")), len(made.dave.of("BYE"))) == (1, 1)
    made.finish()


def test_an_end_that_only_rings_is_waited_for_no_longer() -> None:
    world = World()
    made = Attended(world, **SERVED)
    made.alice.methods["INVITE"] = ring
    made.ask(made.replaces())
    world.run(40)
    assert len(made.alice.of("CANCEL")) == 1
    assert sipfrags(made.ivr)[-1][0].startswith("480")
    assert len(world.calls) == 2
    made.alice.bye()
    made.dave.bye()
    made.finish()


def test_two_left_alone_whose_phone_is_dead_are_let_go() -> None:
    """It rang, and then it lost its power: nobody would ever hang up."""
    world = World()
    made = Attended(world, **SERVED)
    made.dave.methods["INVITE"] = ring
    made.ask(made.replaces())
    made.ivr.send("BYE", dialog=made.first)
    made.ivr.send("BYE", dialog=made.second)
    world.run(0.2)
    world.dead.add("dave")
    world.run(200)
    assert len(made.alice.of("BYE")) == 1
    made.finish()


def test_a_call_of_its_own_can_not_be_replaced_by_itself() -> None:
    world = World()
    made = Attended(world, **SERVED)
    assert made.first is not None
    own = made.first
    changes = {"call": own.call_id, "to": own.remote_tag, "from": own.local_tag}
    made.ask(made.replaces(**changes))
    assert made.ivr.statuses("REFER") == [481]
    made.alice.bye()
    made.dave.bye()
    made.finish()


def test_a_call_that_is_to_be_replaced_while_it_rings_only_is_let_be() -> None:
    world = World()
    made = Attended(world, **SERVED)
    made.ask(made.replaces().replace(">", "%3Bearly-only>"))
    assert made.ivr.statuses("REFER") == [486]
    assert len(world.calls) == 2
    made.alice.bye()
    made.dave.bye()
    made.finish()


def test_a_call_of_other_customers_is_not_replaced() -> None:
    world = World()
    made = Attended(world, **SERVED)
    for call in world.calls.live():
        if call.id != made.old.id:
            call.owners = ("somebody",)
            world.calls._board.owners["somebody"] += 1
    made.ask(made.replaces())
    assert made.ivr.statuses("REFER") == [403]
    made.alice.bye()
    made.dave.bye()
    made.finish()


def test_a_call_that_is_none_of_ours_is_replaced_by_the_target() -> None:
    world = World()
    made = Transferring(world, **SERVED)
    to = "<sip:carol@example.org?Replaces=far%3Bto-tag%3D1%3Bfrom-tag%3D2>"
    made.refer(made.ivr, to)
    (invite,) = made.carol.of("INVITE")
    assert invite.first("replaces") == "far;to-tag=1;from-tag=2"
    assert "replaces" in invite.tokens("require")
    made.carol.bye()
    made.finish()
