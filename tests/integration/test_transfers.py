"""Transfers on the real program: the voice application's by HTTP, phones' by REFER."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tandem.sip.message import Request
from tests.support.baresip import Baresip
from tests.support.counts import counts
from tests.support.switch import DOMAIN, Switch
from tests.support.udpagent import UdpAgent, UdpCall
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "secret1"
OUT = """case req.URI.User.to_s
when /^232$/ then sys.Dial("999142xxx@tropo[fu=uniqueidxxx]")
when /^234$/ then sys.Dial("desk@local[tr=c]")
when /^233$/ then sys.Dial("999142xxx@tropo[fu=uniqueidyyy,tr=c]")
end
"""
TRANSFER = """case req.URI.User.to_s
when /^1234$/ then sys.Dial("party@local")
end
"""


def picking_up(call: UdpCall) -> None:
    call.ring()
    call.accept()


class Stage:
    """A caller, Tropo, and a new party; who the user is: `admin`."""

    def __init__(self, switch: Switch, caller: Baresip, tropo: UdpAgent, party: UdpAgent) -> None:
        self.switch = switch
        self.caller = caller
        self.tropo = tropo
        self.party = party

    async def talk(self, number: str) -> UdpCall:
        """The caller talks to Tropo; its leg."""
        self.caller.forget()
        self.tropo.calls.clear()
        self.party.calls.clear()
        await self.caller.dial(number)
        await self.caller.event("CALL_ESTABLISHED")
        (leg,) = self.tropo.calls
        await leg.until(leg.answered)
        await self.switch.api.live_call("answered")
        return leg

    async def transfers(self) -> dict[str, int]:
        """What /metrics says of transfers so far, by their labels."""
        prefix = "tandem_transfers_total"
        now = await counts(self.switch)
        return {name.removeprefix(prefix): n for name, n in now.items() if name.startswith(prefix)}

    async def records(self, count: int) -> list[dict[str, Any]]:
        """The latest call records, latest last, once nothing is under way."""
        await self.switch.api.no_calls()
        items = (await self.switch.api.get("/cdrs", count=count))["items"]
        return list(reversed(items))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(switch: Switch, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    tropo = await UdpAgent.open("tropo", picking_up)
    party = await UdpAgent.open("party", picking_up)
    caller = Baresip(tmp_path_factory.mktemp("phones") / "caller")
    try:
        provider = {"name": "tropo", "server": f"sip:{tropo.address}", "username": "joe"}
        provider["password"] = "x"
        (await switch.api.client.post("/api/v1/providers", json=provider)).raise_for_status()
        for name, source in {"out": OUT, "transfer": TRANSFER}.items():
            body = {"name": name, "language": "ruby", "source": source}
            (await switch.api.client.post("/api/v1/dialplans", json=body)).raise_for_status()
        opened = {"method": "blindtransfer", "networks": ["127.0.0.1"], "destinations": ["1234"]}
        path = "/api/v1/call-manager-access"
        (await switch.api.client.put(path, json={"open": [opened]})).raise_for_status()
        await switch.api.add_account("caller", PASSWORD, out_dialplan="out")
        await switch.api.add_account("party", PASSWORD)
        await party.register(switch.address("udp"), "party", PASSWORD, DOMAIN)
        await caller.start()
        await caller.registered("caller", PASSWORD, switch.address("udp"))
        yield Stage(switch, caller, tropo, party)
    finally:
        await caller.stop()
        tropo.close()
        party.close()


async def test_tropos_transfer_by_http(stage: Stage) -> None:
    """The steps of 2010: a dialplan `transfer`, a From user to find the call by, and a GET."""
    leg = await stage.talk("232")
    before = await stage.transfers()
    assert leg.caller == "uniqueidxxx"
    mark = (await stage.switch.api.get("/events", count=1))["cursor"]
    async with httpx.AsyncClient(
        base_url=stage.switch.api.client.base_url, trust_env=False
    ) as tropo:
        answer = await tropo.get(
            f"/callmanager.svc/blindtransfer?user=admin&callid={leg.caller}&destination=1234"
        )
    assert "Blind transfer was successfully initiated." in answer.text
    await leg.until(leg.over)
    (new,) = stage.party.calls
    await new.until(new.answered)
    assert b"127.0.0.1" in new.heard  # the caller's own sound, no proxy's
    assert not stage.caller.seen("CALL_CLOSED")
    await new.hang_up()
    await stage.caller.event("CALL_CLOSED")
    old, record = await stage.records(2)
    assert (old["end_reason"], record["end_reason"]) == ("transferred", "callee hung up")
    assert record["caller"] == f"sip:caller@{DOMAIN}"
    assert record["destination"] == f"sip:1234@{DOMAIN}"
    events = (await stage.switch.api.get("/events", cursor=mark, count=1000))["items"]
    told = [e for e in events if e["type"].startswith("transfer.")]
    assert [e["type"] for e in told] == ["transfer.started", "transfer.completed"]
    assert {(e["call_id"], e["data"]["new_call_id"]) for e in told} == {(old["id"], record["id"])}
    counted = '{by="http",kind="blind",outcome="completed"}'
    assert await stage.transfers() == before | {counted: before[counted] + 1}


async def test_a_transfer_to_nobody_leaves_the_call(stage: Stage) -> None:
    leg = await stage.talk("232")
    call = await stage.switch.api.live_call("answered")
    mark = (await stage.switch.api.get("/events", count=1))["cursor"]
    path = f"/api/v1/calls/{call['id']}/transfer"
    number = 1
    answer = await stage.switch.api.client.post(path, json={"leg": number, "dial": "nobody@local"})
    assert answer.status_code == 202, answer.text
    failed = await _event(stage, mark, "transfer.failed")
    assert failed["data"]["status"] in (404, 480)
    assert failed["data"]["new_call_id"] == answer.json()["id"]
    assert not leg.over.is_set()
    await leg.hang_up()
    await stage.caller.event("CALL_CLOSED")
    await stage.switch.api.no_calls()


async def _event(stage: Stage, cursor: int, kind: str) -> dict[str, Any]:
    async def look() -> list[dict[str, Any]]:
        events = (await stage.switch.api.get("/events", cursor=cursor, count=1000))["items"]
        return [e for e in events if e["type"] == kind]

    return (await eventually(look, kind))[0]


async def test_a_voice_application_refers(stage: Stage) -> None:
    """Tropo has no account: the customer's dialplan `transfer` is run."""
    leg = await stage.talk("233")
    assert leg.dialog is not None
    refer = leg.dialog.request("REFER")
    refer.lines += [stage.tropo.contact, f"Refer-To: <sip:1234@{DOMAIN}>"]
    told: list[Request] = []
    _listen(stage.tropo, told)
    stage.tropo.send(refer, stage.switch.address("udp"), leg)
    await leg.until(leg.over)
    assert told[0].body == b"SIP/2.0 100 Trying\r\n"
    assert told[-1].body == b"SIP/2.0 200 OK\r\n"
    (new,) = stage.party.calls
    await new.until(new.answered)
    await stage.caller.hang_up()
    await new.until(new.over)
    old, record = await stage.records(2)
    assert (old["end_reason"], record["end_reason"]) == ("transferred", "caller hung up")


async def test_a_phone_transfers_its_call(stage: Stage) -> None:
    """baresip's `transfer`; its account has an outgoing dialplan, which 1234 is no number of, but
    232 is."""
    await stage.talk("233")
    stage.tropo.on_invite = picking_up
    await stage.caller.transfer("232")
    await stage.caller.event("CALL_CLOSED")
    first, second = stage.tropo.calls
    assert second.caller == "uniqueidxxx"
    await first.until(first.reinvited)
    await second.hang_up()
    await first.until(first.over)
    old, record = await stage.records(2)
    assert (old["end_reason"], record["end_reason"]) == ("transferred", "callee hung up")


async def test_a_phone_behind_a_dialplan_of_its_own_transfers(stage: Stage) -> None:
    """Its leg goes through ourselves: the REFER and its NOTIFYs pass through both calls."""
    switch = stage.switch
    desk = await UdpAgent.open("desk", picking_up)
    told: list[Request] = []
    _listen(desk, told)
    try:
        body = {"name": "desk", "language": "python", "source": "sys.dial('desk@local')"}
        (await switch.api.client.post("/api/v1/dialplans", json=body)).raise_for_status()
        await switch.api.add_account("desk", PASSWORD, in_dialplan="desk")
        await desk.register(switch.address("udp"), "desk", PASSWORD, DOMAIN)
        stage.party.calls.clear()
        stage.caller.forget()
        await stage.caller.dial("234")
        await stage.caller.event("CALL_ESTABLISHED")
        (leg,) = desk.calls
        await leg.until(leg.answered)
        assert leg.dialog is not None
        refer = leg.dialog.request("REFER")
        refer.lines += [desk.contact, f"Refer-To: <sip:party@{DOMAIN}>"]
        desk.send(refer, switch.address("udp"), leg)
        await leg.until(leg.over)
        assert told[-1].body == b"SIP/2.0 200 OK\r\n"
        (new,) = stage.party.calls
        await new.until(new.answered)
        assert new.invite.first("referred-by") == f"<sip:desk@{DOMAIN}>"
        await new.hang_up()
        await stage.caller.event("CALL_CLOSED")
        ends = sorted(record["end_reason"] for record in await stage.records(3))
        assert ends == ["callee hung up", "caller hung up", "transferred"]
    finally:
        desk.close()


async def test_two_far_ends_are_joined_by_http(stage: Stage) -> None:
    """The caller talks to Tropo, the party to Tropo's other number: Tropo leaves both."""
    first = await stage.talk("232")
    hall = await UdpAgent.open("hall", picking_up)
    try:
        await stage.switch.api.add_account("hall", PASSWORD)
        await hall.register(stage.switch.address("udp"), "hall", PASSWORD, DOMAIN)
        call = stage.party.invite(stage.switch.address("udp"), f"sip:hall@{DOMAIN}")
        await call.until(call.answered)
        (second,) = hall.calls
        await second.until(second.answered)
        body = {"leg1": first.invite.call_id, "leg2": second.invite.call_id}
        answer = await stage.switch.api.client.post("/api/v1/calls/join", json=body)
        assert answer.status_code == 202, answer.text
        await first.until(first.over)
        await second.until(second.over)
        await call.until(call.reinvited)
        assert b"127.0.0.1" in call.heard
        await stage.caller.hang_up()
        await call.until(call.over)
        records = await stage.records(3)
        ends = sorted(record["end_reason"] for record in records)
        assert ends == ["caller hung up", "transferred", "transferred"]
    finally:
        hall.close()


async def test_a_voice_application_joins_its_two_calls(stage: Stage) -> None:
    """An attended transfer: REFER with Replaces in its Refer-To."""
    first = await stage.talk("233")
    call = stage.tropo.invite(stage.switch.address("udp"), f"sip:party@{DOMAIN}")
    await call.until(call.answered)
    (rung,) = stage.party.calls
    await rung.until(rung.answered)
    assert call.dialog is not None
    assert first.dialog is not None
    there = call.dialog
    replaces = f"{there.call_id}%3Bto-tag%3D{there.remote_tag}%3Bfrom-tag%3D{there.local_tag}"
    refer = first.dialog.request("REFER")
    refer.lines += [
        stage.tropo.contact,
        f"Refer-To: <sip:party@{DOMAIN}?Replaces={replaces}>",
    ]
    stage.tropo.send(refer, stage.switch.address("udp"), first)
    await first.until(first.over)
    await call.until(call.over)
    await rung.until(rung.reinvited)
    assert b"127.0.0.1" in rung.heard
    await rung.hang_up()
    await stage.caller.event("CALL_CLOSED")
    ends = sorted(record["end_reason"] for record in await stage.records(3))
    assert ends == ["callee hung up", "transferred", "transferred"]


async def test_a_web_callback_rings_one_and_then_the_other(stage: Stage) -> None:
    await stage.switch.api.no_calls()
    stage.party.calls.clear()
    stage.tropo.calls.clear()
    body = {"first": "party@local", "second": "5551234@tropo"}
    answer = await stage.switch.api.client.post("/api/v1/calls", json=body)
    assert answer.status_code == 202, answer.text
    call = await stage.switch.api.live_call("answered")
    assert call["id"] == answer.json()["id"]
    (second,) = stage.tropo.calls
    await second.until(second.answered)
    assert second.invite.request_uri.user == "5551234"
    await second.hang_up()
    await stage.switch.api.no_calls()


def _listen(agent: UdpAgent, told: list[Request]) -> None:
    """Note the NOTIFYs that come."""
    before = agent.on_request

    def on_request(tx: Any, now: float) -> None:
        if tx.request.method == "NOTIFY":
            told.append(tx.request)
        before(tx, now)

    agent.on_request = on_request  # type: ignore[method-assign]
