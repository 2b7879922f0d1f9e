"""Dialplans of customers, saved over the API and run for calls of SIPp's, on the real program."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.googlevoice import EMAIL, GoogleVoice
from tests.support.googlevoice import PASSWORD as PASSWORD_THERE
from tests.support.office import PASSWORD, Office, busy, picking_up, ringing
from tests.support.sipp import SippPhone
from tests.support.switch import DOMAIN, Switch
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(switch: Switch, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    made = Office(switch, tmp_path_factory.mktemp("office"))
    yield made
    await made.close()


async def types(switch: Switch, record: dict[str, Any]) -> list[str]:
    return [t for t in await switch.api.call_events(record) if t.startswith("dialplan.")]


async def test_busy_then_voicemail_at_a_provider(switch: Switch, office: Office) -> None:
    desk = await office.phone("desk", busy)
    mailbox = await office.gateway("mailbox", picking_up)
    caller = await office.caller(
        "if req.user == '2127' and sys.dial('desk@local', 20) == 'failed':\n"
        "    sys.log(f'{sys.last_status} {sys.last_reason}')\n"
        "    sys.set_header('X-For', req.user)\n"
        "    sys.dial('900@mailbox[fu=joe,fd=Joe]')\n"
    )
    mark = await switch.api.mark()
    await caller.run("call", callee="2127")
    record = await switch.api.record_after(mark)
    assert (record["status"], len(desk.calls), len(mailbox.calls)) == (200, 1, 1)
    invite = mailbox.calls[0].invite
    assert invite.request_uri.user == "900"
    assert (invite.from_.display, invite.from_.uri.user) == ("Joe", "joe")
    assert invite.first("x-for") == "2127"
    assert await types(switch, record) == [
        "dialplan.started",
        "dialplan.dialled",
        "dialplan.log",
        "dialplan.dialled",
        "dialplan.ended",
    ]
    log = await switch.api.event_after(mark, "dialplan.log")
    assert log["message"] == "486 Busy Here"


async def test_two_ring_at_once_and_a_third_after_a_while(switch: Switch, office: Office) -> None:
    desk = await office.phone("desk", ringing)
    hall = await office.phone("hall", ringing)
    cell = await office.phone("cell", picking_up)
    caller = await office.caller("sys.dial('desk@local & hall@local & cell@local[dt=1]')")
    mark = await switch.api.mark()
    await caller.run("call", callee="100")
    record = await switch.api.record_after(mark)
    assert (record["status"], len(desk.calls), len(hall.calls), len(cell.calls)) == (200, 1, 1, 1)

    async def given_up() -> bool:
        return not any(c.server and not c.server.last for c in (*desk.calls, *hall.calls))

    await eventually(given_up, "the end of what rang")


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("sys.respond(486, 'Busy')", 486),
        ("sys.respond(302, 'Moved', {'Contact': '<sip:new@example.org>'})", 302),
        ("sys.dial('nobody@local')", 404),
        ("sys.dial('desk@local | no@there.invalid')", 404),
        ("pass", 480),
    ],
)
async def test_a_call_is_refused_as_the_script_says(
    switch: Switch, office: Office, source: str, status: int
) -> None:
    await office.phone("desk", lambda call: call.refuse(404))
    caller = await office.caller(source)
    mark = await switch.api.mark()
    await caller.run("call-refused", callee="100", status=status)
    assert (await switch.api.record_after(mark))["status"] == status


async def test_a_script_that_fails_says_where(switch: Switch, office: Office) -> None:
    caller = await office.caller("numbers = {'1': 'desk'}\nsys.dial(numbers[req.user])\n")
    mark = await switch.api.mark()
    await caller.run("call-refused", callee="100", status=500)
    failed = await switch.api.event_after(mark, "dialplan.failed")
    assert (failed["data"]["line"], failed["data"]["column"]) == (2, 10)
    assert "KeyError" in failed["data"]["message"]
    assert failed["call_id"] == (await switch.api.record_after(mark))["id"]


async def test_a_wrong_script_is_refused_when_it_is_saved(office: Office) -> None:
    answer = await office.save("wrong", "x = 1\nsys.dail('desk@local')\n")
    assert answer.status_code == 422
    text = answer.text
    assert "line 2" in text
    assert "dail" in text


async def test_an_incoming_dialplan_of_another_account_is_run(
    switch: Switch, office: Office
) -> None:
    desk = await office.phone("desk", picking_up)
    name = await office.dialplan(
        "if sys.is_in and sys.is_available('desk'):\n    sys.dial('desk@local')\n"
    )
    await switch.api.add_account("front", PASSWORD, in_dialplan=name)
    caller = await office.caller("sys.dial('front@local')")
    mark = await switch.api.mark()
    await caller.run("call", callee="100")

    async def two() -> list[dict[str, Any]]:
        page = await switch.api.get("/cdrs", count=10)
        return list(page["items"]) if page["total"] == mark.records + 2 else []

    records = (await eventually(two, "two records"))[:2]
    assert {record["direction"] for record in records} == {"in", "out"}
    assert {record["status"] for record in records} == {200}
    assert len(desk.calls) == 1


async def test_a_caller_who_hangs_up_ends_the_script(switch: Switch, office: Office) -> None:
    await office.phone("desk", ringing)
    caller = await office.caller(
        "while True:\n    try: sys.dial('desk@local')\n    except BaseException: pass\n"
    )
    mark = await switch.api.mark()
    await caller.run("call-cancelled", callee="100")
    ended = await switch.api.event_after(mark, "dialplan.ended")
    assert ended["data"]["reason"] == "cancelled"
    assert (await switch.api.record_after(mark))["status"] == 487


async def test_values_are_kept_between_calls(switch: Switch, office: Office) -> None:
    source = (
        "n = int(sys.read('calls') or '0') + 1\n"
        "sys.write('calls', str(n))\n"
        "sys.respond(480, f'call {n}')\n"
    )
    caller = await office.caller(source)
    for number in (1, 2):
        mark = await switch.api.mark()
        await caller.run("call-refused", callee="100", status=480)
        record = await switch.api.record_after(mark)
        assert record["status_reason"] == f"call {number}"


async def test_a_new_version_runs_from_the_next_call_on(switch: Switch, office: Office) -> None:
    caller = await office.caller("sys.respond(486, 'one')")
    page = await switch.api.get("/dialplans", count=100)
    saved = max(page["items"], key=lambda item: int(item["name"].removeprefix("plan")))
    mark = await switch.api.mark()
    await caller.run("call-refused", callee="100", status=486)
    await switch.api.record_after(mark)
    changed = await switch.api.client.patch(
        f"/api/v1/dialplans/{saved['id']}", json={"source": "sys.respond(404, 'two')"}
    )
    changed.raise_for_status()
    mark = await switch.api.mark()
    await caller.run("call-refused", callee="100", status=404)
    started = await switch.api.event_after(mark, "dialplan.started")
    assert started["data"]["version"] == 2


# -- callbacks -------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_switch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Switch]:
    """One whose dialplans may ask servers on this machine."""
    made = Switch(tmp_path_factory.mktemp("open") / "data")
    await made.start(environment={"TANDEM_TRIGGER_PRIVATE": "1"})
    yield made
    await made.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def voice(open_switch: Switch) -> AsyncIterator[GoogleVoice]:
    made = await GoogleVoice.open(lambda: open_switch.address("udp"))
    yield made
    await made.close()


async def _voice_caller(
    switch: Switch, voice: GoogleVoice, folder: Path, name: str, source: str, **changes: Any
) -> SippPhone:
    client = switch.api.client
    provider = {
        "name": f"gv{name}",
        "username": EMAIL,
        "password": PASSWORD_THERE,
        "callback": {"kind": "google-voice", "url": voice.url, "number": "15550001"},
        **changes,
    }
    (await client.post("/api/v1/providers", json=provider)).raise_for_status()
    dialplan = {"name": name, "language": "python", "source": source}
    (await client.post("/api/v1/dialplans", json=dialplan)).raise_for_status()
    await switch.api.add_account(name, PASSWORD, out_dialplan=name)
    voice.to = f"sip:{name}@{DOMAIN}"
    return SippPhone(folder, name, PASSWORD, switch.address("udp"))


async def test_a_callback_after_a_log_in_is_joined_to_the_caller(
    open_switch: Switch, voice: GoogleVoice, tmp_path: Path
) -> None:
    source = "sys.provider_callback('gvjoined', req.user, pattern='1555*', seconds=20)"
    caller = await _voice_caller(open_switch, voice, tmp_path, "joined", source)
    mark = await open_switch.api.mark()
    await caller.run("call", callee="442079460148")
    assert [call["outgoingNumber"] for call in voice.connected] == ["442079460148"]
    (call,) = voice.calls
    await call.until(call.over)
    assert call.status == 200
    record = await open_switch.api.record_after(mark)
    assert record["status"] == 200
    ended = await open_switch.api.event_after(mark, "dialplan.ended")
    assert ended["data"]["reason"] == "answered"
    events = await open_switch.api.events_after(mark)
    assert PASSWORD_THERE not in str(events)


async def test_the_script_goes_on_without_a_callback(
    open_switch: Switch, voice: GoogleVoice, tmp_path: Path
) -> None:
    source = "print(sys.provider_callback('gvalone', '1', seconds=3))\nsys.respond(404, 'Gone')"
    caller = await _voice_caller(open_switch, voice, tmp_path, "alone", source)
    voice.calls_back = False
    mark = await open_switch.api.mark()
    await caller.run("call-refused", callee="1", status=404)
    log = await open_switch.api.event_after(mark, "dialplan.log")
    assert log["message"] == "no callback"


async def test_a_wrong_password_is_told_to_the_script(
    open_switch: Switch, voice: GoogleVoice, tmp_path: Path
) -> None:
    source = "print(sys.provider_callback('gvwrong', req.user))\nsys.respond(404, 'Gone')"
    caller = await _voice_caller(
        open_switch, voice, tmp_path, "wrong", source, password="another one"
    )
    mark = await open_switch.api.mark()
    await caller.run("call-refused", callee="1", status=404)
    log = await open_switch.api.event_after(mark, "dialplan.log")
    assert "302" in log["message"] or "_rnr_se" in log["message"]
    assert voice.connected == []


async def test_private_addresses_are_not_reached(switch: Switch, office: Office) -> None:
    caller = await office.caller(
        "print(sys.web_get('http://127.0.0.1:1/').problem)\n"
        "print(sys.web_get('http://localhost:1/').problem)\n"
        "print(sys.web_get('http://[::ffff:10.0.0.1]/').problem)\n"
        "sys.respond(404, 'Gone')\n"
    )
    mark = await switch.api.mark()
    await caller.run("call-refused", callee="1", status=404)
    await switch.api.record_after(mark)
    said = [
        e["message"] for e in await switch.api.events_after(mark) if e["type"] == "dialplan.log"
    ]
    assert said == ["its address is not a public one"] * 3
