"""Callers who hang up while a script waits, dialplans that are missing, too many at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.office import PASSWORD, Office, lose, picking_up, ringing
from tests.support.sipp import SippPhone
from tests.support.switch import DOMAIN, Switch
from tests.support.udpagent import UdpAgent
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="package")

WAITS = {
    "sleeps": "import time\ntime.sleep(200)",
    "waits for a signal": "sys.wait_for_signal('never', 200)",
    "waits for a callback": "sys.wait_for_callback(users=['desk'], pattern='1*', seconds=60)",
    "computes": "try:\n    while True: pass\nexcept BaseException: sys.dial('desk@local')",
}


@pytest.mark.parametrize("what", WAITS)
async def test_a_caller_hangs_up_while_a_script(switch: Switch, office: Office, what: str) -> None:
    desk = await office.phone("desk", picking_up)
    caller = await office.caller(f"sys.respond(180)\nprint('here')\n{WAITS[what]}\n")
    mark = await switch.api.mark()
    await caller.run("call-cancelled", callee="100")
    ended = await switch.api.event_after(mark, "dialplan.ended")
    assert ended["data"]["reason"] == "cancelled"
    assert (await switch.api.record_after(mark))["status"] == 487
    assert desk.calls == []
    failed = [e for e in await switch.api.events_after(mark) if e["type"] == "dialplan.failed"]
    assert failed == []


async def test_an_account_whose_dialplan_is_missing(switch: Switch, office: Office) -> None:
    plan = await office.dialplan("pass")
    caller = await office.caller_of(plan)
    lose(switch, plan, "nosuchplan")
    mark = await switch.api.mark()
    await caller.run("call-refused", callee="100", status=480)
    record = await switch.api.record_after(mark)
    assert record["status_reason"] == "SIP account missing dialplan setting"
    failed = await switch.api.event_after(mark, "dialplan.failed")
    assert failed["data"]["dialplan"] == "nosuchplan"
    assert failed["call_id"] == record["id"]


async def test_a_dialplan_that_is_saved_later_is_found(switch: Switch, office: Office) -> None:
    plan = await office.dialplan("pass")
    caller = await office.caller_of(plan)
    lose(switch, plan, "tobesaved")
    mark = await switch.api.mark()
    await caller.run("call-refused", callee="100", status=480)
    await switch.api.record_after(mark)
    (await office.save("tobesaved", "sys.respond(404)")).raise_for_status()
    await caller.run("call-refused", callee="100", status=404)


async def test_an_incoming_dialplan_that_is_missing_takes_no_call(
    switch: Switch, office: Office
) -> None:
    await office.phone("desk", ringing)
    plan = await office.dialplan("pass")
    await switch.api.add_account("lost", PASSWORD, in_dialplan=plan)
    lose(switch, plan, "nosuchplan")
    stranger = await UdpAgent.open("stranger")
    call = stranger.invite(switch.address("udp"), f"sip:lost@{DOMAIN}")
    await call.until(call.over)
    assert call.status == 480
    stranger.close()


async def test_a_customer_runs_a_bounded_number_at_once(switch: Switch, office: Office) -> None:
    desk = await office.phone("desk", ringing)
    name = await office.dialplan("sys.dial('desk@local')")
    await switch.api.add_account("crowded", PASSWORD, in_dialplan=name)
    stranger = await UdpAgent.open("crowd")
    uri = f"sip:crowded@{DOMAIN}"
    mark = await switch.api.mark()
    calls = [stranger.invite(switch.address("udp"), uri) for _ in range(5)]
    await asyncio.gather(*(call.until(call.ringing) for call in calls))
    sixth = stranger.invite(switch.address("udp"), uri)
    await sixth.until(sixth.over)
    assert (sixth.status, len(desk.calls)) == (480, 5)
    failed = await switch.api.event_after(mark, "dialplan.failed", limit="executions")
    assert "5 dialplans" in failed["data"]["message"]
    calls[0].cancel()
    await calls[0].until(calls[0].over)
    seventh = await eventually(lambda: _takes(stranger, switch, uri), "room for another")
    for call in (*calls[1:], seventh):
        assert call is not None
        call.cancel()
        await call.until(call.over)
    stranger.close()


async def _takes(stranger: UdpAgent, switch: Switch, uri: str) -> Any:
    """A call that rings, if one more is allowed by now."""
    call = stranger.invite(switch.address("udp"), uri)
    waits = [asyncio.create_task(each.wait()) for each in (call.ringing, call.over)]
    _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return call if not call.over.is_set() else None


async def test_two_who_forward_to_each_other_end(switch: Switch, office: Office) -> None:
    ping = await office.dialplan("sys.dial('pong@local')")
    pong = await office.dialplan("sys.dial('ping@local')")
    await switch.api.add_account("ping", PASSWORD, in_dialplan=ping)
    await switch.api.add_account("pong", PASSWORD, in_dialplan=pong)
    stranger = await UdpAgent.open("circle")
    call = stranger.invite(switch.address("udp"), f"sip:ping@{DOMAIN}")
    await call.until(call.over)
    assert call.status in (480, 482)
    await switch.api.no_calls()
    stranger.close()


async def test_a_phone_that_is_away_is_passed_over(switch: Switch, office: Office) -> None:
    """No binding, and so no leg: the next attempt follows at once."""
    await switch.api.add_account("away", PASSWORD)
    mailbox = await office.phone("mailbox", picking_up)
    caller: SippPhone = await office.caller("sys.dial('away@local | mailbox@local')")
    await caller.run("call", callee="100")
    assert len(mailbox.calls) == 1
