"""Subscriptions at the running switch: baresip's presence and message-waiting modules, busy lamps,
and what must not hurt."""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tandem.sip.message import Request
from tests.support.api import Api
from tests.support.baresip import Baresip, account_line
from tests.support.lamp import Lamp, ended
from tests.support.switch import DOMAIN, Switch
from tests.support.udpagent import UdpAgent, UdpCall
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD: Final = "secret1"
HOSTILE: Final = 10_000
NEW: Final = b"Messages-Waiting: yes\r\nVoice-Message: 3/1\r\n"
COLOUR: Final = re.compile("\x1b\\[[0-9;]*m")


def user() -> str:
    return f"u{secrets.token_hex(4)}"


@pytest_asyncio.fixture(loop_scope="module")
async def agents() -> AsyncIterator[list[UdpAgent]]:
    """Agents for one test are put in here; they are closed after it."""
    made: list[UdpAgent] = []
    yield made
    for agent in made:
        agent.close()


async def account(switch: Switch) -> str:
    name = user()
    await switch.api.add_account(name, PASSWORD)
    return name


async def agent(switch: Switch, agents: list[UdpAgent], name: str = "") -> UdpAgent:
    """A registered one, or one outside."""
    made = await UdpAgent.open(name or "outside")
    agents.append(made)
    if name:
        await made.register(switch.address("udp"), name, PASSWORD, DOMAIN)
    return made


async def shows(phone: Baresip, status: str, times: int = 1) -> None:
    """Wait until a phone has shown this status so often."""

    async def look() -> bool:
        return COLOUR.sub("", phone.log).count(f" to {status}\n") >= times

    try:
        await eventually(look, status)
    except AssertionError:
        raise AssertionError(f"not {status}: {phone.log[-4000:]}") from None


async def event(api: Api, cursor: int, kind: str, **data: object) -> dict[str, object]:
    async def look() -> dict[str, object] | None:
        page = await api.get("/events", cursor=cursor, filter=f"type={kind}")
        found: list[dict[str, dict[str, object]]] = page["items"]
        return next((e["data"] for e in found if data.items() <= e["data"].items()), None)

    found = await eventually(look, f"{kind} {data}")
    assert found is not None
    return found


async def test_a_phone_shows_whether_a_colleague_is_there_and_on_the_phone(
    switch: Switch, phones: list[Baresip], agents: list[UdpAgent], tmp_path: Path
) -> None:
    cursor = (await switch.api.get("/events", count=1))["cursor"]
    watcher, colleague = await account(switch), await account(switch)
    book = f'"Colleague" <sip:{colleague}@{DOMAIN}>;presence=p2p'
    phone = Baresip(
        tmp_path / "phone",
        modules=("contact.so", "presence.so"),
        contacts=(book,),
        account=account_line(watcher, PASSWORD, switch.address("udp")),
    )
    phones.append(phone)
    await phone.start()
    await event(switch.api, cursor, "subscription.added", package="presence")
    bob = Baresip(tmp_path / "bob")
    phones.append(bob)
    await bob.start()
    await bob.registered(colleague, PASSWORD, switch.address("udp"))
    await shows(phone, "Online")
    callers = await agent(switch, agents)
    call = callers.invite(switch.address("udp"), f"sip:{colleague}@{DOMAIN}")
    await bob.event("CALL_INCOMING")
    await bob.answer()
    await call.until(call.answered)
    await shows(phone, "Busy")
    await call.hang_up()
    await shows(phone, "Online", 2)
    await bob.unregister()
    await shows(phone, "Offline")


async def test_the_lamp_of_a_phone_that_subscribed_and_of_one_that_did_not(
    switch: Switch, phones: list[Baresip], agents: list[UdpAgent], tmp_path: Path
) -> None:
    name = await account(switch)
    phone = Baresip(tmp_path / "phone", modules=("mwi.so",))
    phones.append(phone)
    await phone.start()
    await phone.registered(name, PASSWORD, switch.address("udp"))
    other = await agent(switch, agents, name)
    got: list[Request] = []
    answer = other.layer.reply

    def note(tx, *arguments, **options):  # type: ignore[no-untyped-def]
        got.append(tx.request)
        answer(tx, *arguments, **options)

    other.layer.reply = note  # type: ignore[method-assign]

    async def nothing_waits() -> bool:
        return "Messages-Waiting: no" in phone.log

    await eventually(nothing_waits, "the first state")
    voicemail = await agent(switch, agents)
    lines = [
        f"From: <sip:vm@voicemail.example>;tag={secrets.token_hex(4)}",
        f"To: <sip:{name}@{DOMAIN}>",
        f"Call-ID: {secrets.token_hex(8)}",
        "CSeq: 1 NOTIFY",
        "Max-Forwards: 70",
        voicemail.contact,
        "Event: message-summary",
        "Subscription-State: active",
        "Content-Type: application/simple-message-summary",
    ]
    notify = Request("NOTIFY", f"sip:{name}@{DOMAIN}", lines, NEW)
    told = UdpCall(voicemail, notify, switch.address("udp"), b"")
    voicemail.calls.append(told)
    voicemail.send(notify, switch.address("udp"), told)

    async def lit() -> bool:
        return "----- MWI" in phone.log and "Voice-Message: 3/1" in phone.log

    await eventually(lit, "the lamp")

    async def passed() -> bool:
        return any(r.method == "NOTIFY" and r.body == NEW for r in got)

    await eventually(passed, "the lamp of the phone that did not subscribe")


async def test_a_busy_lamp_follows_a_call_and_versions_grow(
    switch: Switch, agents: list[UdpAgent]
) -> None:
    cursor = (await switch.api.get("/events", count=1))["cursor"]
    watcher, colleague = await account(switch), await account(switch)
    phone = await agent(switch, agents, colleague)
    lamps = await agent(switch, agents, watcher)
    lamp = Lamp(
        lamps, switch.address("udp"), f"{watcher}@{DOMAIN}", PASSWORD, f"{colleague}@{DOMAIN}"
    )
    await lamp.watch()
    assert lamp.dialogs == []
    added = await event(switch.api, cursor, "subscription.added", package="dialog")
    assert (added["account"], added["watcher"]) == (f"{colleague}@{DOMAIN}", f"{watcher}@{DOMAIN}")
    callers = await agent(switch, agents)
    call = callers.invite(switch.address("udp"), f"sip:{colleague}@{DOMAIN}")
    await lamp.shows(("recipient", "early"))
    phone.calls[-1].accept()
    await call.until(call.answered)
    await lamp.shows(("recipient", "confirmed"))
    await call.hang_up()
    await lamp.shows(("recipient", "terminated"))
    lamp.renew()
    await lamp.until_it(lambda: lamp.accepted == 2 and lamp.dialogs == [], "the refresh")
    lamp.renew(0)
    await ended(lamp, "timeout")
    assert lamp.versions == list(range(len(lamp.versions)))
    gone = await event(switch.api, cursor, "subscription.ended", package="dialog")
    assert gone["reason"] == "unsubscribed"


async def test_a_phone_whose_connection_breaks_has_no_subscription(
    switch: Switch, phones: list[Baresip], tmp_path: Path
) -> None:
    cursor = (await switch.api.get("/events", count=1))["cursor"]
    name = await account(switch)
    phone = Baresip(tmp_path / "phone", modules=("mwi.so",))
    phones.append(phone)
    await phone.start()
    await phone.registered(name, PASSWORD, switch.address("tcp"), "tcp")
    aor = f"{name}@{DOMAIN}"
    added = await event(switch.api, cursor, "subscription.added", watcher=aor)
    assert str(added["source"]).startswith("tcp:")
    await phone.stop(abruptly=True)
    gone = await event(switch.api, cursor, "subscription.ended", watcher=aor)
    assert gone["reason"] == "flow closed"


async def test_a_switch_that_stops_tells_its_subscribers(
    agents: list[UdpAgent], tmp_path: Path
) -> None:
    own = Switch(tmp_path / "data")
    try:
        await own.start()
        watcher = await account(own)
        lamps = await agent(own, agents, watcher)
        aor = f"{watcher}@{DOMAIN}"
        lamp = await Lamp(lamps, own.address("udp"), aor, PASSWORD, aor, package="presence").watch()
    finally:
        await own.stop()
    await ended(lamp, "deactivated")


async def test_ten_thousand_subscribes_of_strangers_leave_nothing_behind(
    switch: Switch, agents: list[UdpAgent]
) -> None:
    watcher = await account(switch)
    host, _, port = switch.address("udp").rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        attacker.bind(("127.0.0.1", 0))
        attacker.setblocking(False)
        for number in range(HOSTILE):
            attacker.sendto(_hostile(number, watcher), (host, int(port)))
            if number % 50 == 0:  # faster than the kernel's buffer is no attack
                await switch.api.client.get("/health/live")
    lamps = await agent(switch, agents, watcher)
    aor = f"{watcher}@{DOMAIN}"
    lamp = await Lamp(lamps, switch.address("udp"), aor, PASSWORD, aor).watch()
    lamp.renew(0)
    await ended(lamp, "timeout")
    metrics = (await switch.api.client.get("/metrics")).text
    assert "tandem_appserver_errors_total 0" in metrics
    left = re.findall(r"^tandem_subscriptions\{.*?\} (\S+)$", metrics, re.MULTILINE)
    assert len(left) == 3


def _hostile(number: int, account: str) -> bytes:
    """SUBSCRIBEs of every kind."""
    events = ("dialog", "presence", "message-summary;id=1", "x" * 200, "dialog;id=<>", "")
    accepts = ("application/dialog-info+xml", "text/plain", "", "*/*")
    times = ("600", "0", "1", "99999999999", "soon")
    return (
        f"SUBSCRIBE sip:{account}@{DOMAIN} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK{secrets.token_hex(6)}\r\n"
        f'From: "<&{number}>" <sip:{account}@{DOMAIN}>;tag={number}\r\n'
        f"To: <sip:{account}@{DOMAIN}>\r\nCall-ID: h{number}\r\nCSeq: {number} SUBSCRIBE\r\n"
        f"Contact: <sip:x@127.0.0.1>\r\nMax-Forwards: 70\r\nEvent: {events[number % 6]}\r\n"
        f"Accept: {accepts[number % 4]}\r\nExpires: {times[number % 5]}\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()
