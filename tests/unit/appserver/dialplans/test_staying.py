"""Dialplans that stay beside an answered call: signals, transfers, and how they end."""

from __future__ import annotations

from typing import Any

import pytest

from services.appserver.handlers.dialplans.runs import MAX_STAYING, Runs
from tandem.bus.call_events import CallRecord
from tandem.bus.dialplan_events import DialplanAsked, DialplanEnded, DialplanFailed
from tandem.bus.transfer_events import TransferCompleted, TransferFailed, TransferStarted
from tandem.dialplan.script import Language
from tandem.dialplan.world import DialplanError
from tandem.sip.message import Request
from tests.support.appserver import Phone
from tests.support.flights import JOE, Tower, dialplan, limited
from tests.unit.appserver.dialplans.test_transfers import Tall

STAY = 'print(sys.dial("bob@example.com", stay=True))\n'
MENU = f"""{STAY}
while number := sys.wait_for_signal("k", 60):
    print(sys.transfer(f"{{number}}@example.com"), sys.last_status)
sys.hang_up()
"""


class Staying(Tall):
    """A call of alice's to bob, beside which the dialplan stays."""

    def __init__(self, source: str = MENU, **settings: Any) -> None:
        Tower.__init__(self, dialplan(source), **settings)
        self.dave = Phone(self.site, "dave", host="203.0.113.9")

    async def __aenter__(self) -> Staying:
        await super().__aenter__()
        await self.dave.registered()
        return self

    async def started(self) -> str:
        """The id of the call that is up."""
        await self.pick_up()
        (call,) = self.site.app.calls.live()
        return call.id

    async def told(self, body: str) -> None:
        """The application hands this over, once it is waited for."""
        await self.until(lambda: len(self.signals))
        assert self.signals.put(JOE, "k", body, keep=False) == (1, False)

    @property
    def signals(self) -> Any:
        return self.site.app.signals

    async def bye(self, phone: Phone, to: Request) -> None:
        """Who answered hangs up."""
        lines = [
            *phone.vias(),
            f"From: {to.first('to')};tag=bobs",
            f"To: {to.first('from')}",
            f"Call-ID: {to.call_id}",
            "CSeq: 1 BYE",
            "Max-Forwards: 69",
        ]
        self.sent += await self.site.send(Request("BYE", "sip:switch@example.com", lines))

    @property
    def end(self) -> Any:
        (found,) = self.events(DialplanEnded)
        return found

    def records(self) -> list[str]:
        return [record.end_reason for record in self.events(CallRecord)]


async def test_a_signal_brings_the_caller_to_somebody_else() -> None:
    async with Staying() as tower:
        old = await tower.started()
        await tower.told("dave")
        invite = await tower.rung()
        assert invite.uri.startswith("sip:dave@")
        assert invite.from_.uri.user == "alice"
        (started,) = tower.events(TransferStarted)
        assert (started.call_id, started.by, started.leg) == (old, "dialplan", 1)
        assert started.destination == "dave@example.com"
        assert tower.records() == []
        await tower.answer(invite, 200)
        await tower.answer(await tower.rung(), 200)  # alice is told where her sound goes
        assert len(await tower.requests("BYE")) == 1
        await tower.ended()
        assert tower.events(TransferCompleted)[0].call_id == old
        assert tower.records() == ["transferred"]
        assert (tower.end.reason, tower.end.status, tower.end.uses) == ("transferred", 0, 3)
        assert tower.logs == ["answered"]
        (asked,) = tower.events(DialplanAsked)
        assert (asked.what, asked.target, asked.result) == ("signal", "k", "4 characters")
        engine = tower.site.app.dialplans
        assert engine is not None
        assert engine.counters.answered == 1
        assert [call.id for call in tower.site.app.calls.live()] == [started.new_call_id]


async def test_an_incoming_dialplan_stays_with_a_caller_of_ours() -> None:
    """Who stays is reached through ourselves: his call and carol's are joined in this process."""
    async with Staying('sys.dial("carol@example.com")') as tower:
        tower.programs.add(dialplan(MENU, "in", "owner-carol"))
        await tower.pick_up()
        await tower.until(lambda: len(tower.signals))
        assert tower.signals.put("owner-carol", "k", "dave", keep=False) == (1, False)
        invite = await tower.rung()
        assert (str(invite.from_.uri), invite.uri[:9]) == ("sip:alice@example.com", "sip:dave@")
        await tower.answer(invite, 200)
        await tower.answer(await tower.rung(), 200)
        await tower.ended()
        assert tower.records() == ["transferred"]
        ends = {event.dialplan: event.reason for event in tower.events(DialplanEnded)}
        assert ends == {"main": "answered", "in": "transferred"}
        assert len(tower.site.app.calls) == 2


async def test_nobody_there_leaves_the_call_and_the_script() -> None:
    async with Staying() as tower:
        old = await tower.started()
        await tower.told("dave")
        await tower.answer(await tower.rung(), 486)
        await tower.until(lambda: len(tower.signals))
        assert tower.logs == ["answered", "failed 486"]
        (failed,) = tower.events(TransferFailed)
        assert (failed.call_id, failed.status) == (old, 486)
        await tower.told("nobody")
        await tower.until(lambda: tower.logs[-1] == "failed 404")
        await tower.told("dave")
        assert (await tower.rung()).uri.startswith("sip:dave@")
        assert old in {call.id for call in tower.site.app.calls.live()}


async def test_a_transfer_that_makes_no_sense_begins_nothing() -> None:
    source = STAY + 'try:\n    sys.transfer("[")\nexcept ValueError:\n    print("refused")\n'
    async with Staying(source) as tower:
        old = await tower.started()
        await tower.ended()
        assert tower.logs == ["answered", "refused"]
        assert tower.events(TransferStarted) == []
        assert [call.id for call in tower.site.app.calls.live()] == [old]


async def test_who_hangs_up_ends_the_script() -> None:
    async with Staying() as tower:
        await tower.started()
        await tower.until(lambda: len(tower.signals))
        await tower.bye(tower.bob, tower.invite)
        await tower.ended()
        assert tower.end.reason == "callee hung up"
        assert tower.records() == ["callee hung up"]
        assert len(tower.signals) == 0
        assert tower.events(DialplanFailed) == []


async def test_who_is_to_go_may_leave_while_somebody_rings() -> None:
    async with Staying() as tower:
        old = await tower.started()
        await tower.told("dave")
        invite = await tower.rung()
        await tower.bye(tower.bob, tower.invite)
        assert tower.records() == ["transferred"]
        await tower.answer(invite, 200)
        await tower.answer(await tower.rung(), 200)
        await tower.ended()
        assert tower.events(TransferCompleted)[0].call_id == old
        assert tower.end.reason == "transferred"
        assert len(tower.site.app.calls) == 1


async def test_the_caller_is_alone_if_nobody_comes_then() -> None:
    async with Staying() as tower:
        await tower.started()
        await tower.told("dave")
        invite = await tower.rung()
        await tower.bye(tower.bob, tower.invite)
        tower.sent.clear()
        await tower.answer(invite, 486)
        assert len(await tower.requests("BYE")) == 1
        await tower.ended()
        assert tower.events(TransferFailed)[0].status == 486
        assert tower.logs == ["answered"]
        assert len(tower.site.app.calls) == 0


async def test_a_script_hangs_up() -> None:
    async with Staying(STAY + "sys.hang_up()\nprint('never')") as tower:
        await tower.pick_up()
        await tower.ended()
        assert tower.records() == ["dialplan hung up"]
        assert len(await tower.requests("BYE")) == 2
        assert tower.end.reason == "dialplan hung up"
        assert tower.logs == ["answered"]


@pytest.mark.parametrize(
    ("source", "reason"), [("pass", "answered"), ("x = 1 / 0", "failed"), ("sys.x()", "failed")]
)
async def test_a_call_goes_on_without_its_script(source: str, reason: str) -> None:
    async with Staying(STAY + source) as tower:
        old = await tower.started()
        await tower.ended()
        assert (tower.end.reason, tower.end.status) == (reason, 0)
        assert [call.id for call in tower.site.app.calls.live()] == [old]
        assert len(tower.events(DialplanFailed)) == (reason == "failed")
        await tower.bye(tower.bob, tower.invite)
        assert tower.records() == ["callee hung up"]


async def test_a_call_that_an_operator_ends_ends_the_transfer_and_the_script() -> None:
    async with Staying() as tower:
        old = await tower.started()
        await tower.told("dave")
        await tower.rung()
        tower.site.app.calls.hang_up(old, "operator", 0.0)
        await tower.ended()
        assert (tower.end.reason, tower.logs) == ("operator", ["answered"])
        assert sorted(tower.records()) == ["operator", "operator"]


async def test_a_script_that_stays_keeps_no_other_call_from_its_own() -> None:
    async with Staying() as tower:
        tower.programs.add(limited(dialplan(MENU), 1))
        await tower.started()
        await tower.until(lambda: len(tower.signals))
        engine = tower.site.app.dialplans
        assert engine is not None
        assert len(engine) == 1
        assert engine.admits(limited(dialplan(MENU), 1))


def test_scripts_that_stay_have_a_limit_of_their_own() -> None:
    runs = Runs(MAX_STAYING + 3)
    one = limited(dialplan("pass"), 1)
    places = []
    for _ in range(MAX_STAYING):
        assert runs.admits(one)
        place = runs.enter(one)
        assert not runs.admits(one)
        place.check()
        place.stay()
        places.append(place)
    with pytest.raises(DialplanError, match="stay with their calls"):
        runs.enter(one).check()
    assert (len(runs), runs.admits(dialplan("pass"))) == (MAX_STAYING + 1, True)
    for place in places:
        place.leave()
    assert (len(runs), runs.staying) == (1, {})


def test_a_script_that_keeps_a_process_goes_on_to_count() -> None:
    runs = Runs(10)
    ruby = limited(dialplan("pass", language=Language.RUBY), 1)
    place = runs.enter(ruby)
    place.stay()
    assert not runs.admits(ruby)
    place.leave()
    assert (len(runs), runs.admits(ruby)) == (0, True)
