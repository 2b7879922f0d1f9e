"""Who rings, when, and after which failures: dialplans run for calls of SIPp's, on the real
program."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Mark
from tests.support.office import Office, busy, picking_up, refusing, ringing
from tests.support.sipp import SippPhone
from tests.support.switch import Switch
from tests.support.udpagent import UdpAgent, UdpCall
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def refused(switch: Switch, caller: SippPhone, status: int) -> dict[str, Any]:
    """The record of a call that ends with this status."""
    mark = await switch.api.mark()
    await caller.run("call-refused", callee="100", status=status)
    record = await switch.api.record_after(mark)
    assert record["status"] == status
    return record


async def answered(switch: Switch, caller: SippPhone) -> Mark:
    """A call that somebody takes; the moment before it."""
    mark = await switch.api.mark()
    await caller.run("call", callee="100")
    assert (await switch.api.record_after(mark))["status"] == 200
    return mark


async def said(switch: Switch, mark: Mark) -> list[str]:
    """What the dialplan logged since then."""
    found = await switch.api.events_after(mark)
    return [event["message"] for event in found if event["type"] == "dialplan.log"]


async def given_up(*agents: UdpAgent) -> None:
    """Wait until what rang at these was cancelled."""

    async def look() -> bool:
        return all(call.over.is_set() for agent in agents for call in agent.calls)

    await eventually(look, "the end of what rang")


# -- times -----------------------------------------------------------------------------------------


async def test_each_attempt_rings_for_its_time_and_ends_before_the_next(
    switch: Switch, office: Office
) -> None:
    desk = await office.phone("desk", ringing)
    hall = await office.phone("hall", ringing)
    seen: list[list[bool]] = []

    def note(call: UdpCall) -> None:
        rang = (*desk.calls, *hall.calls)
        seen.append([each.over.is_set() for each in rang])
        picking_up(call)

    cell = await office.phone("cell", note)
    caller = await office.caller("sys.dial('desk@local[rt=1] | hall@local[rt=1] | cell@local')")
    await answered(switch, caller)
    assert [len(agent.calls) for agent in (desk, hall, cell)] == [1, 1, 1]
    await given_up(desk, hall)
    (at_cell,) = seen
    assert at_cell[0], "the first attempt still rang when the third began"


async def test_one_leg_stops_ringing_before_the_others(switch: Switch, office: Office) -> None:
    desk = await office.phone("desk", ringing)
    hall = await office.phone("hall", ringing)
    caller = await office.caller(
        "print(sys.dial('desk@local[rt=1] & hall@local[rt=2]'))\nprint(sys.last_status)"
    )
    mark = await switch.api.mark()
    record = await refused(switch, caller, 480)
    assert record["status_reason"] == "No answer"
    assert (len(desk.calls), len(hall.calls)) == (1, 1)
    assert await said(switch, mark) == ["no_answer", "480"]
    await given_up(desk, hall)


async def test_the_ring_time_of_a_dial_bounds_each_attempt(switch: Switch, office: Office) -> None:
    desk = await office.phone("desk", ringing)
    cell = await office.phone("cell", ringing)
    caller = await office.caller("sys.dial('desk@local | cell@local', ring_seconds=1)")
    await refused(switch, caller, 480)
    assert (len(desk.calls), len(cell.calls)) == (1, 1)
    await given_up(desk, cell)


async def test_who_answers_at_once_leaves_a_delayed_leg_alone(
    switch: Switch, office: Office
) -> None:
    await office.phone("desk", picking_up)
    cell = await office.phone("cell", ringing)
    caller = await office.caller("sys.dial('desk@local & cell@local[dt=30]')")
    await answered(switch, caller)
    assert cell.calls == []


async def test_a_delay_does_not_pass_in_silence(switch: Switch, office: Office) -> None:
    """When nothing else rings any more, the delayed leg begins."""
    await office.phone("desk", refusing(404))
    cell = await office.phone("cell", picking_up)
    caller = await office.caller("sys.dial('desk@local & cell@local[dt=100]')")
    await answered(switch, caller)
    assert len(cell.calls) == 1


async def test_a_call_lasts_as_long_as_its_leg_says(switch: Switch, office: Office) -> None:
    desk = await office.phone("desk", picking_up)
    caller = await office.caller("sys.dial('desk@local[cd=1]')")
    mark = await switch.api.mark()
    run = await caller.start("call-ended", callee="100")
    await run.succeeded()
    assert (await switch.api.record_after(mark))["status"] == 200
    await given_up(desk)


# -- after which failures --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "options", "goes_on"),
    [
        (486, "", False),
        (603, "", False),
        (404, "", True),
        (503, "", True),
        (486, "{busy}", True),
        (603, "{busy,declined}", True),
        (404, "{none,5xx}", False),
    ],
)
async def test_the_failure_decides_on_the_next_attempt(
    switch: Switch, office: Office, status: int, options: str, goes_on: bool
) -> None:
    await office.phone("desk", refusing(status))
    mailbox = await office.phone("mailbox", picking_up)
    caller = await office.caller(f"sys.dial('desk@local |{options} mailbox@local')")
    if goes_on:
        await answered(switch, caller)
    else:
        await refused(switch, caller, status)
    assert len(mailbox.calls) == goes_on


async def test_a_policy_for_all_of_a_dial(switch: Switch, office: Office) -> None:
    await office.phone("desk", busy)
    mailbox = await office.phone("mailbox", picking_up)
    caller = await office.caller("sys.dial('desk@local | mailbox@local', failover='none,busy')")
    await answered(switch, caller)
    assert len(mailbox.calls) == 1


async def test_one_who_declines_ends_what_still_rings(switch: Switch, office: Office) -> None:
    desk = await office.phone("desk", ringing)
    hall = await office.phone("hall", refusing(603))
    mailbox = await office.phone("mailbox", picking_up)
    caller = await office.caller("sys.dial('desk@local & hall@local | mailbox@local')")
    await refused(switch, caller, 603)
    assert (len(hall.calls), mailbox.calls) == (1, [])
    await given_up(desk)


# -- redirections ----------------------------------------------------------------------------------


async def test_a_redirection_is_followed_where_the_leg_says_so(
    switch: Switch, office: Office
) -> None:
    far = await office.outside("far", picking_up)
    desk = await office.phone("desk", lambda call: call.redirect(f"sip:moved@{far.address}"))
    caller = await office.caller("sys.dial('desk@local[rm=a]')")
    await answered(switch, caller)
    (call,) = far.calls
    assert call.invite.request_uri.user == "moved"
    assert len(desk.calls) == 1


async def test_else_the_script_sees_where_it_points_to(switch: Switch, office: Office) -> None:
    far = await office.outside("far", picking_up)
    await office.phone("desk", lambda call: call.redirect(f"sip:moved@{far.address}"))
    caller = await office.caller(
        "sys.dial('desk@local')\n"
        "(leg,) = sys.last_legs\n"
        "print(f'{leg.status} {leg.contacts}')\n"
        "sys.dial(f'<{leg.contacts[0]}>')\n"
    )
    mark = await answered(switch, caller)
    assert len(far.calls) == 1
    assert await said(switch, mark) == [f"302 ('sip:moved@{far.address}',)"]


async def test_a_redirection_that_nobody_follows_fails(switch: Switch, office: Office) -> None:
    await office.phone("desk", lambda call: call.redirect("sip:moved@there.invalid"))
    mailbox = await office.phone("mailbox", picking_up)
    caller = await office.caller("sys.dial('desk@local |{none} mailbox@local')")
    await refused(switch, caller, 302)
    assert mailbox.calls == []


async def test_redirections_in_a_circle_end(switch: Switch, office: Office) -> None:
    one = await office.outside("one", lambda call: None)
    two = await office.outside("two", lambda call: call.redirect(f"sip:x@{one.address}"))
    one.on_invite = lambda call: call.redirect(f"sip:x@{two.address}")
    caller = await office.caller(f"sys.dial('x@{one.address}[rm=a]')")
    mark = await switch.api.mark()
    await caller.run("call-refused", callee="100", status=302)
    await switch.api.record_after(mark)
    assert len(one.calls) + len(two.calls) < 20
