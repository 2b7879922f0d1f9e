"""What is asked of calls from outside: dialplans and dial strings ring for a transfer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from services.appserver.domain.call import Call
from services.appserver.domain.leg import Leg
from services.appserver.domain.legs import LegRef
from services.appserver.domain.plan import SELF
from services.appserver.domain.transfers import Refusal, Refused
from services.appserver.handlers.dialplans.lookups import Lookups
from services.appserver.handlers.transfers import DialplanTransfers, facts
from services.appserver.ports import Referral
from tandem.bus.call_events import CallRecord
from tandem.bus.dialplan_events import DialplanAsked, DialplanEnded, DialplanLog, DialplanStarted
from tandem.bus.transfer_events import TransferCompleted, TransferFailed, TransferStarted
from tandem.rpc.programs import Customer, Provider
from tandem.sip.message import Request, Response
from tandem.sip.uri import Uri
from tests.support.appserver import Phone, account
from tests.support.flights import JOE, Tower, dialplan, limited

MAIN = 'sys.dial("bob@example.com")'
TRANSFER = 'if req.user == "1234":\n    sys.dial("dave@example.com")\n'


class Tall(Tower):
    """A call of alice's to bob that is up."""

    def __init__(self, *made: Any, **settings: Any) -> None:
        super().__init__(dialplan(MAIN), *made, **settings)

    @property
    def transfers(self) -> DialplanTransfers:
        found = self.site.app.transfers
        assert isinstance(found, DialplanTransfers)
        return found

    async def up(self) -> str:
        """The id of the call."""
        await self.pick_up()
        await self.ended()
        self.sent.clear()
        (call,) = self.site.app.calls.live()
        return call.id

    async def pick_up(self) -> None:
        """Alice calls, bob answers."""
        await self.call()
        self.invite = await self.rung()
        await self.answer(self.invite, 200)
        accepted = await self.final()
        assert accepted.status == 200
        ack = Request(
            "ACK",
            "sip:switch@example.com",
            [
                *self.alice.vias(),
                *accepted.raw_lines("from", "to", "call-id"),
                f"CSeq: {accepted.cseq.number} ACK",
                "Max-Forwards: 69",
            ],
        )
        self.sent += await self.site.send(ack)

    async def requests(self, method: str) -> list[Request]:
        """Wait for some that left."""

        def look() -> list[Request]:
            return [m for m in self.sent if isinstance(m, Request) and m.method == method]

        found: list[Request] = await self.until(look)
        return found


async def refusal(work: Any) -> Refusal:
    with pytest.raises(Refused) as caught:
        await work
    return caught.value.refusal


async def test_a_dialplan_rings_who_takes_the_legs_place() -> None:
    async with Tall(dialplan(TRANSFER, "transfer")) as tower:
        dave = Phone(tower.site, "dave", host="203.0.113.9")
        await dave.registered()
        old = await tower.up()
        new = await tower.transfers.blind(JOE, LegRef(old, 1), "1234", "transfer")
        invite = await tower.rung()
        assert invite.uri.startswith("sip:dave@")
        assert invite.from_.uri.user == "alice"
        (started,) = [e for e in tower.events(DialplanStarted) if e.dialplan == "transfer"]
        assert (started.call_id, started.direction) == (new, "out")
        assert tower.events(TransferStarted)[0].new_call_id == new
        await tower.answer(invite, 200)
        again = await tower.rung()  # alice is told where her sound goes
        await tower.answer(again, 200)
        assert len(await tower.requests("BYE")) == 1
        assert tower.events(TransferCompleted)[0].call_id == old
        await tower.ended()
        assert tower.events(DialplanEnded)[-1].reason == "answered"
        assert [r.end_reason for r in tower.events(CallRecord)] == ["transferred"]


@pytest.mark.parametrize(
    ("source", "status"),
    [("pass", 480), ('sys.respond(486, "Engaged")', 486), ("sys.dail('x')", 500)],
)
async def test_a_script_that_rings_nobody_changes_nothing(source: str, status: int) -> None:
    async with Tall(dialplan(source, "transfer")) as tower:
        old = await tower.up()
        new = await tower.transfers.blind(JOE, LegRef(old, 1), "1234", "transfer")
        await tower.ended()
        (failed,) = tower.events(TransferFailed)
        assert (failed.call_id, failed.new_call_id, failed.status) == (old, new, status)
        assert [call.id for call in tower.site.app.calls.live()] == [old]


async def test_a_script_is_told_who_stays_and_what_is_asked_for() -> None:
    source = 'sys.log(f"{req.user} {req.from_user} {req.uri}")'
    async with Tall(dialplan(source, "transfer")) as tower:
        old = await tower.up()
        await tower.transfers.blind(JOE, LegRef(old, 1), '12"34', "transfer")
        await tower.ended()
        assert tower.logs == ["12%2234 alice sip:12%2234@example.com"]


async def test_what_can_not_begin_is_refused() -> None:
    busy = limited(dialplan("pass", "busy"), 0)
    async with Tall(dialplan(TRANSFER, "transfer"), busy) as tower:
        old = await tower.up()
        blind, leg = tower.transfers.blind, LegRef(old, 1)
        assert await refusal(blind(JOE, leg, "1", "nothing")) is Refusal.NO_DIALPLAN
        assert await refusal(blind(JOE, leg, "1", "busy")) is Refusal.TOO_MANY_RUNS
        none = LegRef("nothing", 1)
        assert await refusal(blind(JOE, none, "1", "transfer")) is Refusal.NO_LEG
        assert await refusal(blind(JOE, LegRef(old, 5), "1", "transfer")) is Refusal.NO_LEG
        assert await refusal(tower.transfers.direct(JOE, leg, "[")) is Refusal.BAD_DESTINATION
        assert await refusal(tower.transfers.dual(JOE, leg, none)) is Refusal.NO_LEG
        assert tower.events(TransferStarted) == []


async def test_a_dial_string_rings_who_takes_the_legs_place() -> None:
    async with Tall() as tower:
        old = await tower.up()
        new = await tower.transfers.direct(JOE, LegRef(old, 0), "nobody@example.com | alice@local")
        invite = await tower.rung()
        assert invite.uri.startswith("sip:alice@")
        await tower.answer(invite, 603)
        await tower.until(lambda: tower.events(TransferFailed))
        assert tower.events(TransferFailed)[0].status == 603
        assert tower.events(TransferFailed)[0].new_call_id == new
        assert len(tower.site.app.calls) == 1


async def test_a_dialplan_runs_for_nobody() -> None:
    source = """sys.log(req.user)
try:
    sys.dial("bob@local")
except Exception as error:
    sys.log(str(error))
"""
    async with Tall(dialplan(source, "webcallback")) as tower:
        run = await tower.transfers.run_dialplan(JOE, "webcallback", "555")
        await tower.ended()
        logs = tower.events(DialplanLog)
        assert {event.call_id for event in logs} == {run}
        assert logs[0].said == "555"
        assert "use sys.callback" in logs[1].said
        assert tower.events(CallRecord) == []


async def test_a_web_callback_rings_both_ends() -> None:
    source = 'sys.callback("bob@local", req.user + "@local")'
    async with Tall(dialplan(source, "webcallback")) as tower:
        await tower.transfers.run_dialplan(JOE, "webcallback", "alice")
        invite = await tower.rung()
        assert invite.uri.startswith("sip:bob@")
        await tower.answer(invite, 486)
        await tower.ended()
        assert tower.events(DialplanAsked)[-1].result == "486 Busy Here"


async def test_two_dial_strings_are_joined() -> None:
    async with Tall() as tower:
        call = await tower.transfers.connect(JOE, "bob@local", "alice@local")
        assert [each.id for each in tower.site.app.calls.live()] == [call]
        await tower.answer(await tower.rung(), 486)
        await tower.ended()
        assert await refusal(tower.transfers.connect(JOE, "[", "bob@local")) is (
            Refusal.BAD_DESTINATION
        )
        assert await refusal(tower.transfers.connect(JOE, "nobody@local", "bob@local")) is (
            Refusal.BAD_DESTINATION
        )


async def test_calls_that_begin_here_obey_the_limit_of_their_customer() -> None:
    source = 'sys.callback("bob@local", "dave@local")'
    async with Tall(dialplan(source, "webcallback")) as tower:
        tower.programs.customers[JOE] = Customer(JOE, 1)
        call = await tower.up()
        connect = tower.transfers.connect(JOE, "bob@local", "alice@local")
        assert await refusal(connect) is Refusal.TOO_MANY_CALLS
        await tower.transfers.run_dialplan(JOE, "webcallback", "1")
        await tower.ended()
        said = "as many calls of the customer are under way as may be"
        assert tower.events(DialplanAsked)[-1].result == said
        assert [each.id for each in tower.site.app.calls.live()] == [call]


async def test_a_call_does_not_begin_while_nobody_can_say_what_its_customer_may() -> None:
    async with Tall() as tower:
        tower.programs.away = True
        connect = tower.transfers.connect(JOE, "bob@local", "alice@local")
        assert await refusal(connect) is Refusal.OVERLOADED


async def test_a_node_that_drains_begins_no_calls() -> None:
    async with Tall(dialplan("pass", "webcallback")) as tower:
        tower.site.app.drain(True)
        run = tower.transfers.run_dialplan(JOE, "webcallback", "1")
        assert await refusal(run) is Refusal.OVERLOADED
        connect = tower.transfers.connect(JOE, "bob@local", "bob@local")
        assert await refusal(connect) is Refusal.OVERLOADED


# -- REFER -----------------------------------------------------------------------------------------


SERVED = 'sys.dial("bob@example.com[tr=c]")'
OUTSIDE = 'sys.dial("999@prov[tr=c]")'
PROV = Provider(
    id="p1", owner=JOE, name="prov", server="sip:sip.prov.example", username="u", password="p"
)


def ends_of(call: Call) -> tuple[Leg, Leg]:
    assert call.a is not None
    assert call.b is not None
    return call.a, call.b


class Referring(Tall):
    """A call of alice's to bob, in which either may transfer."""

    def __init__(self, *made: Any, main: str = SERVED, **settings: Any) -> None:
        Tower.__init__(self, dialplan(main), *made, **settings)

    async def refer(self, to: str) -> None:
        """bob does."""
        invite = self.invite
        lines = [
            *self.bob.vias(),
            f"From: {invite.first('to')};tag=bobs",
            f"To: {invite.first('from')}",
            f"Call-ID: {invite.call_id}",
            "CSeq: 7 REFER",
            "Max-Forwards: 69",
            "Contact: <sip:bob@192.168.1.2>",
            f"Refer-To: {to}",
        ]
        request = Request("REFER", "sip:switch@example.com", lines)
        self.sent += await self.site.send(request)
        accepted = next(m for m in self.sent if isinstance(m, Response))
        assert accepted.status == 202

    async def told(self) -> str:
        """What bob is told at last."""
        await self.until(lambda: self.events(TransferFailed) or self.events(TransferCompleted))
        for _ in range(2):
            self.site.advance(0.2)
            for notify in await self.requests("NOTIFY"):
                self.sent.remove(notify)
                if "terminated" in (notify.first("subscription-state") or ""):
                    return notify.body.decode().strip()
                await self.answer(notify, 200)
        raise AssertionError("no last NOTIFY")


async def test_the_target_of_a_phone_is_routed_as_its_own_calls_are() -> None:
    async with Referring() as tower:
        await tower.up()
        await tower.refer("<sip:alice@example.com>")
        invite = await tower.rung()
        assert invite.uri.startswith("sip:alice@")
        assert invite.first("referred-by") == "<sip:bob@example.com>"
        await tower.answer(invite, 486)
        assert await tower.told() == "SIP/2.0 486 Busy Here"


async def test_the_target_of_a_phone_outside_is_resolved() -> None:
    async with Referring() as tower:
        await tower.up()
        await tower.refer("<sip:999@sip.prov.example>")
        invite = await tower.rung()
        assert invite.uri == "sip:999@sip.prov.example"
        assert "dst=udp:198.51.100.4:5060" in (invite.first("route") or "")
        await tower.answer(invite, 603)
        assert (await tower.told()).startswith("SIP/2.0 603")


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("<sip:1900@prov>", "SIP/2.0 403"),  # a provider's name is for dialplans alone
        ("<sip:nobody@example.com>", "SIP/2.0 4"),
        ("<tel:5551234>", "SIP/2.0 4"),
    ],
)
async def test_a_target_that_leads_nowhere_is_told(to: str, said: str) -> None:
    async with Referring() as tower:
        await tower.up()
        await tower.refer(to)
        assert (await tower.told()).startswith(said)
        assert len(tower.site.app.calls) == 1


async def test_a_fault_of_ours_ends_the_transfer_and_not_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*given: Any) -> None:
        raise RuntimeError("a fault")

    async with Referring() as tower:
        await tower.up()
        monkeypatch.setattr(Lookups, "account", fail)
        await tower.refer("<sip:alice@example.com>")
        assert (await tower.told()).startswith("SIP/2.0 500")
        assert len(tower.site.app.calls) == 1
        assert tower.site.app.counters.errors == 1
        tower.site.app.counters.errors = 0


async def test_the_ends_of_one_call_are_not_joined_though_it_is_two_here() -> None:
    """carol's dialplan rings bob: alice's call comes back to ourselves. Without the two, two ends
    would be left that are nobody's."""
    plan = dialplan('sys.dial("bob@local")', "in", "owner-carol")
    async with Referring(plan, main='sys.dial("carol@example.com")') as tower:
        await tower.pick_up()
        await tower.ended()
        hers, his = sorted(tower.site.app.calls.live(), key=lambda call: call.created_at)
        assert [(leg.proxy == SELF) for call in (hers, his) for leg in ends_of(call)] == [
            False, True, True, False,
        ]  # fmt: skip
        ends = LegRef(hers.id, 0), LegRef(his.id, 1)
        for first, second in (ends, ends[::-1]):
            assert await refusal(tower.transfers.dual(JOE, first, second)) is Refusal.NOT_NOW
        assert len(tower.site.app.calls) == 2


async def test_who_asks_for_a_call_and_gives_up_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = asyncio.Event()

    async def slow(*given: Any) -> None:
        await known.wait()

    async with Tall() as tower:
        before = asyncio.all_tasks()
        monkeypatch.setattr(Lookups, "account", slow)
        asked = asyncio.ensure_future(tower.transfers.connect(JOE, "nobody@local", "alice@local"))
        await tower.until(lambda: len(asyncio.all_tasks() - before) == 3)
        asked.cancel()
        known.set()
        await tower.until(lambda: not asyncio.all_tasks() - before)


async def test_the_referrers_outgoing_dialplan_says_who_is_rung() -> None:
    plan = dialplan('sys.log(req.user)\nsys.dial("alice@local")', "bobs", "owner-bob")
    made = Referring(plan)
    made.site.directory.accounts["bob@example.com"] = account("bob", out_dialplan="bobs")
    async with made as tower:
        await tower.up()
        await tower.refer("<sip:4711@example.com>")
        invite = await tower.rung()
        assert invite.uri.startswith("sip:alice@")
        assert tower.logs == ["4711"]
        await tower.answer(invite, 486)
        assert (await tower.told()).startswith("SIP/2.0 486")


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("<sip:999@sip.prov.example>", "SIP/2.0 403"),
        ("<sip:999@prov>", "SIP/2.0 403"),
        ("<sip:dave@example.com>", "SIP/2.0 480"),
    ],
)
async def test_somebody_outside_makes_nobody_pay(to: str, said: str) -> None:
    async with Referring(PROV, main=OUTSIDE) as tower:
        await tower.up()
        await tower.refer(to)
        assert (await tower.told()).startswith(said)


async def test_a_stranger_whom_an_account_has_called_is_not_that_account() -> None:
    """carol's calls go on to a number outside, and whoever is there refers."""
    plan = dialplan('sys.dial("999@prov")', "in", "owner-carol")
    hers = replace(PROV, owner="owner-carol")
    async with Referring(plan, hers, main='sys.dial("carol@example.com[tr=c]")') as tower:
        await tower.pick_up()
        await tower.ended()
        tower.sent.clear()
        await tower.refer("<sip:1900@sip.prov.example>")
        assert (await tower.told()).startswith("SIP/2.0 403")


async def test_somebody_outside_reaches_accounts_without_a_dialplan() -> None:
    async with Referring(PROV, main=OUTSIDE) as tower:
        await tower.up()
        await tower.refer("<sip:bob@example.com>")
        assert (await tower.rung()).uri.startswith("sip:bob@")


async def test_somebody_outside_gets_the_customers_dialplan_for_transfers() -> None:
    plan = dialplan('sys.log(req.user)\nsys.dial(f"{req.user}@prov")', "transfer")
    async with Referring(PROV, plan, main=OUTSIDE) as tower:
        await tower.up()
        await tower.refer("<sip:4711@anywhere.example>")
        assert (await tower.rung()).uri == "sip:4711@sip.prov.example"
        assert tower.logs == ["4711"]


def referral(**changes: Any) -> Referral:
    given: dict[str, Any] = {
        "call_id": "new",
        "owners": (JOE,),
        "account": "",
        "target": Uri.parse("sip:1234@example.com"),
        "caller": "Alice <sip:alice@example.com>",
        "source": "udp:203.0.113.7:5060",
        "proxy": "proxy",
    }
    return Referral(**(given | changes))


def test_a_referral_is_a_call_of_the_referrers_account() -> None:
    req = facts.referred(referral(account="bob@example.com"), "joe", "example.com")
    assert (req.direction, req.account, req.user) == ("out", "bob@example.com", "1234")
    assert (req.from_name, req.from_user) == ("Alice", "alice")
    tel = facts.referred(referral(target=Uri.parse("tel:+1-555;x=y")), "joe", "example.com")
    assert tel.uri == "sip:+1-555@example.com"
