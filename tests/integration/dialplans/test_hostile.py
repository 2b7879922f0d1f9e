"""Hostile dialplans on the real program: each is refused when it is saved, or ended when it runs;
its caller hears 500, its owner reads why, and the next call is as good as before. What others
notice of them is measured in test_hostile_dialplans.py."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from tests.support.api import Mark
from tests.support.office import PASSWORD, Office, picking_up, ringing
from tests.support.switch import DOMAIN, Switch
from tests.support.udpagent import UdpAgent, UdpCall
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="package")

GREEDY: Final = {
    "a loop": ("while True: pass", "time"),
    "a loop that can't be caught": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "time",
    ),
    "a memory bomb": ("x = [0] * 10**9", "memory"),
    "a list that grows": ("x = []\nwhile True: x.append('a' * 1000)", "memory"),
    "a huge number": ("x = 2 ** (10 ** 9)", "memory"),
    "deep recursion": ("def f(n: int) -> int: return f(n + 1)\nf(0)", "depth"),
    "a flood of lines": ("while True: sys.log('x')", "calls"),
    "a flood of large lines": ("while True: sys.log('x' * 200000)", "memory"),
    "an endless sleep": ("import time\ntime.sleep(1e9)", "time"),
}
NOSY: Final = {
    "import os\nx = os.listdir('/')": "PermissionError",
    "import os\nx = os.environ['HOME']": "RuntimeError",
    "from pathlib import Path\nx = Path('/etc/passwd').read_text()": "PermissionError",
}
REFUSED: Final = (
    "import socket",
    "import subprocess",
    "import ctypes",
    "x = open('/etc/passwd')",
    "x = __import__('socket')",
    "x = getattr(sys, 'world')",
    "sys.world.stop()",
    "x = req.customer",
)
AT_ONCE: Final = 25
"""Calls that begin together. Of one customer's scripts a hundred may wait for their first turn, for
10 s; more are answered 503, and on a busy machine the processes of scripts, which stand back, take
their time."""


async def run(switch: Switch, office: Office, caller: UdpAgent, source: str) -> UdpCall:
    """A call to an account of its own with this incoming dialplan."""
    name = await office.dialplan(source)
    await switch.api.add_account(name, PASSWORD, in_dialplan=name)
    call = caller.invite(switch.address("udp"), f"sip:{name}@{DOMAIN}", user=name)
    await call.until(call.over, 60)
    return call


async def fault(switch: Switch, mark: Mark, call: UdpCall) -> dict[str, Any]:
    """What the owner of its dialplan reads."""
    name = call.invite.request_uri.user
    found = await switch.api.event_after(mark, "dialplan.failed", dialplan=name)
    data: dict[str, Any] = found["data"]
    return data


async def test_what_uses_too_much_is_ended(switch: Switch, office: Office) -> None:
    mark = await switch.api.mark()
    caller = await UdpAgent.open("greedy")
    try:
        calls = {
            what: await run(switch, office, caller, source) for what, (source, _) in GREEDY.items()
        }
    finally:
        caller.close()
    assert {what: call.status for what, call in calls.items()} == dict.fromkeys(GREEDY, 500)
    limits = {what: (await fault(switch, mark, call))["limit"] for what, call in calls.items()}
    assert limits == {what: limit for what, (_, limit) in GREEDY.items()}


async def test_what_reaches_for_more_than_its_own_is_refused(
    switch: Switch, office: Office
) -> None:
    mark = await switch.api.mark()
    caller = await UdpAgent.open("nosy")
    try:
        for source, said in NOSY.items():
            call = await run(switch, office, caller, source)
            assert call.status == 500, source
            found = await fault(switch, mark, call)
            assert said in found["message"], found
            assert (found["line"], found["limit"]) == (2, "")
    finally:
        caller.close()


@pytest.mark.parametrize("source", REFUSED)
async def test_some_need_not_be_run_to_be_refused(office: Office, source: str) -> None:
    answer = await office.save("refused", f"x = 1\n{source}\n")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["line"] == 2


async def test_calls_that_are_suspended_by_the_hundred_are_each_in_order(
    switch: Switch, office: Office
) -> None:
    """All wait with what they know, and go on with it; an ordinary call goes its way."""
    many = 400
    admin = (await switch.api.get("/customers", count=1))["items"][0]["id"]
    path = f"/api/v1/customers/{admin}"
    (await switch.api.client.patch(path, json={"max_executions": many})).raise_for_status()
    source = (
        "mine = req.from_user\n"
        "sys.dial('tower@local')\n"
        "sys.respond(486, f'{mine} heard {sys.last_status}')\n"
    )
    (await office.save("suspended", source)).raise_for_status()
    await switch.api.add_account("suspended", PASSWORD, in_dialplan="suspended")
    desk = await office.phone("desk", picking_up)
    tower = await office.phone("tower", ringing)
    crowd = await UdpAgent.open("crowd")
    mark = await switch.api.mark()
    try:
        for first in range(0, many - 1, AT_ONCE):
            await _suspend(switch, crowd, range(first, min(first + AT_ONCE, many - 1)))
        ordinary = await office.caller("sys.dial('desk@local')")
        await ordinary.run("call", callee="100")
        assert len(desk.calls) == 1
        assert not any(call.over.is_set() for call in crowd.calls)
        for call in tower.calls:
            call.refuse(404)
        await asyncio.gather(*(call.until(call.over, 60) for call in crowd.calls))
    finally:
        try:
            await _hang_up(crowd)
            await switch.api.no_calls()
        finally:
            crowd.close()
            await switch.api.client.patch(path, json={"max_executions": 5})
    assert [call.status for call in crowd.calls] == [486] * (many - 1)

    async def recorded() -> bool:
        page = await switch.api.get("/cdrs", count=1)
        return bool(page["total"] == mark.records + many)

    await eventually(recorded, "all call records")
    found = (await switch.api.get("/cdrs", count=1000))["items"]
    said = {each["status_reason"] for each in found if each["status"] == 486}
    assert said >= {f"many{number} heard 404" for number in range(many - 1)}


async def _suspend(switch: Switch, crowd: UdpAgent, numbers: range) -> None:
    """So many more calls that wait."""
    uri = f"sip:suspended@{DOMAIN}"
    calls = [crowd.invite(switch.address("udp"), uri, user=f"many{n}") for n in numbers]

    async def settled() -> bool:
        return all(call.ringing.is_set() or call.over.is_set() for call in calls)

    await eventually(settled, f"calls {numbers} to ring", 60)
    refused = {call.caller: call.status for call in calls if call.over.is_set()}
    assert not refused


async def _hang_up(crowd: UdpAgent) -> None:
    """What is left of its calls, which nobody has answered."""
    left = [call for call in crowd.calls if not call.over.is_set()]
    for call in left:
        call.cancel()
    await asyncio.gather(*(call.until(call.over, 60) for call in left))
