"""Phones of the people: baresip calls through dialplans, and people talk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.baresip import Baresip
from tests.support.office import PASSWORD, Office
from tests.support.switch import Switch

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def phone(
    switch: Switch, phones: list[Baresip], folder: Path, name: str, **fields: object
) -> Baresip:
    """A registered phone."""
    await switch.api.add_account(name, PASSWORD, **fields)
    made = Baresip(folder / name)
    phones.append(made)
    await made.start()
    await made.registered(name, PASSWORD, switch.address("udp"))
    return made


async def test_who_declines_has_a_mailbox_that_talks(
    switch: Switch, office: Office, phones: list[Baresip], tmp_path: Path
) -> None:
    """alice calls bob, who presses the red button; the mailbox takes the call, and is put on hold
    and taken back as any other."""
    plan = await office.dialplan("sys.dial('bob@local |{busy,declined} machine@local[cd=600]')")
    alice = await phone(switch, phones, tmp_path, "alice", out_dialplan=plan)
    bob = await phone(switch, phones, tmp_path, "bob")
    mailbox = await phone(switch, phones, tmp_path, "machine")
    mark = await switch.api.mark()
    await alice.dial("100")
    await bob.event("CALL_INCOMING")
    await bob.hang_up()
    await mailbox.event("CALL_INCOMING")
    await mailbox.answer()
    await alice.event("CALL_ESTABLISHED")
    await mailbox.event("CALL_ESTABLISHED")
    call = await switch.api.live_call("answered")
    await alice.hold()
    await alice.resume()
    await alice.hang_up()
    await mailbox.event("CALL_CLOSED")
    record = await switch.api.record_after(mark)
    assert (record["id"], record["status"], record["legs"]) == (call["id"], 200, 2)
    assert record["end_reason"] == "caller hung up"


async def test_a_colleagues_own_dialplan_rings_his_phones_by_turns(
    switch: Switch, office: Office, phones: list[Baresip], tmp_path: Path
) -> None:
    """carol calls dave, whose incoming dialplan rings his desk, then his other phone."""
    plan = await office.dialplan("sys.dial('davedesk@local', 1)\nsys.dial('davecell@local')\n")
    await switch.api.add_account("dave", PASSWORD, in_dialplan=plan)
    mine = await office.dialplan("sys.dial('dave@local[fd=Carol]')")
    carol = await phone(switch, phones, tmp_path, "carol", out_dialplan=mine)
    desk = await phone(switch, phones, tmp_path, "davedesk")
    cell = await phone(switch, phones, tmp_path, "davecell")
    mark = await switch.api.mark()
    await carol.dial("42")
    incoming = await desk.event("CALL_INCOMING")
    assert incoming["peerdisplayname"] == "Carol"
    await desk.event("CALL_CLOSED")
    await cell.event("CALL_INCOMING")
    await cell.answer()
    await carol.event("CALL_ESTABLISHED")
    await cell.hang_up()
    await carol.event("CALL_CLOSED")
    await switch.api.no_calls()
    started = [await switch.api.event_after(mark, "dialplan.started", n) for n in (1, 2)]
    assert [each["data"]["direction"] for each in started] == ["out", "in"]
    assert started[0]["call_id"] != started[1]["call_id"]
