"""How legs leave: From, headers, body; and what the caller hears besides."""

from __future__ import annotations

import re

import pytest

from tandem.sip.message import Request
from tests.support.office import Office, busy, picking_up
from tests.support.switch import DOMAIN, Switch

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def invite_of(switch: Switch, office: Office, source: str) -> Request:
    """What arrives at the desk of a call to 100."""
    desk = await office.phone("desk", picking_up)
    caller = await office.caller(source)
    mark = await switch.api.mark()
    await caller.run("call", callee="100")
    assert (await switch.api.record_after(mark))["status"] == 200
    (call,) = desk.calls
    return call.invite


async def from_of(switch: Switch, office: Office, source: str) -> tuple[str, str, str]:
    """Display name, user and host of From there."""
    from_ = (await invite_of(switch, office, source)).from_
    return from_.display, from_.uri.user or "", from_.uri.host


async def test_from_is_the_callers_if_nothing_is_said(switch: Switch, office: Office) -> None:
    display, user, host = await from_of(switch, office, "sys.dial('desk@local')")
    assert (display, user[:6], host) == ("", "caller", DOMAIN)


async def test_options_of_a_leg_are_stronger_than_what_was_set(
    switch: Switch, office: Office
) -> None:
    source = (
        "sys.set_from(name='Reception', user='100', host='office.example')\n"
        "sys.dial('desk@local[fu=200,fd=\"Smith, John\"]')\n"
    )
    assert await from_of(switch, office, source) == ("Smith, John", "200", "office.example")


async def test_a_from_that_was_set_can_be_taken_back(switch: Switch, office: Office) -> None:
    source = "sys.set_from(name='Reception', user='100')\nsys.clear_from()\nsys.dial('desk@local')"
    display, user, _ = await from_of(switch, office, source)
    assert (display, user[:6]) == ("", "caller")


async def test_the_host_of_from_is_an_option_too(switch: Switch, office: Office) -> None:
    source = "sys.dial('desk@local[fd=${username},fu=${exten},fh=example.org]')"
    assert await from_of(switch, office, source) == ("admin", "100", "example.org")


async def test_headers_are_set_taken_back_and_given_with_a_leg(
    switch: Switch, office: Office
) -> None:
    source = (
        "sys.set_header('X-Gone', '1')\n"
        "sys.clear_headers()\n"
        "sys.set_header('X-One', '1')\n"
        "sys.set_header('X-Two', '2')\n"
        "sys.set_header('x-one', 'first')\n"
        "sys.remove_header('X-Two')\n"
        "sys.dial('desk@local?X-Leg=${dst}&Subject=hello%20there')\n"
    )
    invite = await invite_of(switch, office, source)
    found = {name: invite.values(name) for name in ("x-gone", "x-one", "x-two", "x-leg", "subject")}
    assert found == {
        "x-gone": [],
        "x-one": ["first"],
        "x-two": [],
        "x-leg": ["100"],
        "subject": ["hello there"],
    }


async def test_a_script_may_send_a_body_of_its_own(switch: Switch, office: Office) -> None:
    source = (
        "sys.set_body(req.body.replace('s=-', 's=changed'))\n"
        "sys.set_header('X-Seen', str('s=-' in req.body))\n"
        "sys.dial('desk@local')\n"
    )
    invite = await invite_of(switch, office, source)
    assert b"s=changed\r\n" in invite.body
    assert invite.first("content-type") == "application/sdp"
    assert invite.first("x-seen") == "True"


SMUGGLED = (
    "sys.set_header('X-A', '1\\r\\nX-Injected: yes')",
    "sys.set_header('X-A\\r\\nX-Injected', 'yes')",
    "sys.set_header('X-A', '1\\nX-Injected: yes')",
    "sys.set_header('Via', 'SIP/2.0/UDP evil.example')",
    "sys.set_from(name='x\\r\\nX-Injected: yes')",
    "sys.set_from(user='x\\r\\nX-Injected: yes')",
    "sys.dial('desk@local?X-A=1%0D%0AX-Injected:%20yes')",
    "sys.dial('desk@local[fu=x\\r\\nX-Injected: yes]')",
    "sys.respond(486, 'Busy\\r\\nX-Injected: yes')",
    "sys.respond(486, 'Busy', {'X-A': '1\\r\\nX-Injected: yes'})",
    "sys.set_body('x', 'text/plain\\r\\nX-Injected: yes')",
)


async def test_no_line_is_smuggled_into_a_message(switch: Switch, office: Office) -> None:
    desk = await office.phone("desk", busy)
    hidden = [re.sub(r"'[^']*'", r"at_last(\g<0>)", line) for line in SMUGGLED]
    tries = (
        f"try:\n    {line}\n    print('taken')\nexcept ValueError:\n    print('refused')\n"
        for line in hidden
    )
    source = "def at_last(text: str) -> str:\n    return text\n" + "".join(tries)
    caller = await office.caller(source + "sys.dial('desk@local')\n")
    mark = await switch.api.mark()
    run = await caller.start("call-refused", callee="100", status=486)
    await run.succeeded()
    await switch.api.record_after(mark)
    logs = [e for e in await switch.api.events_after(mark) if e["type"] == "dialplan.log"]
    assert [log["message"] for log in logs] == ["refused"] * len(SMUGGLED)
    assert "X-Injected" not in run.messages
    assert [call.invite.first("x-injected") for call in desk.calls] == [None]


@pytest.mark.parametrize("line", SMUGGLED)
async def test_what_would_smuggle_one_is_not_even_saved(office: Office, line: str) -> None:
    answer = await office.save("smuggler", line)
    assert (answer.status_code, answer.json()["field"]) == (422, "source")


async def test_a_caller_hears_progress_before_the_answer(switch: Switch, office: Office) -> None:
    await office.phone("desk", picking_up)
    source = "sys.respond(183, 'Wait', {'X-Queue': '3'})\nsys.dial('desk@local')\n"
    caller = await office.caller(source)
    mark = await switch.api.mark()
    run = await caller.start("call", callee="100")
    await run.succeeded()
    assert "SIP/2.0 183 Wait" in run.messages
    assert "X-Queue: 3" in run.messages
    record = await switch.api.record_after(mark)
    assert record["progress_status"] == 183
    assert (await switch.api.event_after(mark, "call.progress"))["data"]["leg"] == 0


async def test_the_last_failure_is_the_answer_of_a_script_that_just_ends(
    switch: Switch, office: Office
) -> None:
    await office.phone("desk", busy)
    caller = await office.caller("sys.dial('desk@local')\nprint('nobody else to try')\n")
    mark = await switch.api.mark()
    await caller.run("call-refused", callee="100", status=486)
    record = await switch.api.record_after(mark)
    assert (record["status"], record["status_reason"]) == (486, "Busy Here")
    ended = await switch.api.event_after(mark, "dialplan.ended")
    assert (ended["data"]["reason"], ended["data"]["status"]) == ("ended", 486)
