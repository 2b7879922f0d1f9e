"""Line dialplans on the real program."""

from __future__ import annotations

import pytest

from tests.support.office import PASSWORD, Office, busy, picking_up
from tests.support.sipp import SippPhone
from tests.support.switch import DOMAIN, Switch
from tests.support.udpagent import UdpAgent

pytestmark = pytest.mark.asyncio(loop_scope="package")

LINES = """; an office
exten => 100,1,Dial(desk@local)
exten => _9.,1,Dial(${exten:1}@letterbox[fu=office])
exten =~ ^(sales|support)$,1,Dial(desk@local |{busy} ${dst}@letterbox)
exten => _0X.,1,Switch(joe,x,${exten:1}@GATEWAY)
exten => 404,1,SIPReply(410,No more)
"""


async def the_caller(office: Office) -> SippPhone:
    """One whose calls go by the lines, with a busy desk and a mailbox that picks up."""
    await office.phone("desk", busy)
    if "letterbox" not in office.agents:
        await office.gateway("letterbox", picking_up)
    office.agents["letterbox"].calls.clear()
    lines = LINES.replace("GATEWAY", office.agents["letterbox"].address)
    return await office.caller(lines, "lines")


@pytest.mark.parametrize(
    ("callee", "user", "from_user"),
    [("9123", "123", "office"), ("sales", "sales", "joe"), ("044", "44", "joe")],
)
async def test_a_line_calls_a_provider(
    switch: Switch, office: Office, callee: str, user: str, from_user: str
) -> None:
    caller = await the_caller(office)
    mark = await switch.api.mark()
    await caller.run("call", callee=callee)
    assert (await switch.api.record_after(mark))["status"] == 200
    (call,) = office.agents["letterbox"].calls
    assert (call.invite.request_uri.user, call.invite.from_.uri.user) == (user, from_user)


@pytest.mark.parametrize(
    ("callee", "status", "reason"),
    [
        ("100", 486, "Busy Here"),
        ("404", 410, "No more"),
        ("nobody", 404, "No line of the dialplan matches"),
    ],
)
async def test_a_line_refuses(
    switch: Switch, office: Office, callee: str, status: int, reason: str
) -> None:
    caller = await the_caller(office)
    mark = await switch.api.mark()
    await caller.run("call-refused", callee=callee, status=status)
    record = await switch.api.record_after(mark)
    assert record["status"] == status
    assert record["status_reason"] == reason
    assert office.agents["letterbox"].calls == []


async def test_lines_take_calls_that_come_in(switch: Switch, office: Office) -> None:
    desk = await office.phone("desk", picking_up)
    name = await office.dialplan("exten =~ ^line,1,Dial(desk@local[fd=Line])", "lines")
    await switch.api.add_account("linefront", PASSWORD, in_dialplan=name)
    stranger = await UdpAgent.open("stranger")
    try:
        call = stranger.invite(switch.address("udp"), f"sip:linefront@{DOMAIN}")
        await call.until(call.answered)
        await call.hang_up()
        assert desk.calls[0].invite.from_.display == "Line"
    finally:
        stranger.close()


async def test_wrong_lines_are_refused_with_their_places(office: Office) -> None:
    answer = await office.save("wronglines", "exten => 1,1,Dial(a@b[xx=1])\nexten => \n", "lines")
    assert answer.status_code == 422
    places = [(each["line"], each["column"] > 0) for each in answer.json()["errors"]]
    assert places == [(1, True), (2, True)]
