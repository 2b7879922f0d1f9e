"""The flow of docs/voice-applications.md on the real program: a dialplan has the caller talk to an
application behind Kamailio, which hands his digits back, and transfers him to whom they mean."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.support.baresip import Baresip
from tests.support.kamailio import Kamailio
from tests.support.switch import DOMAIN, Switch
from tests.support.udpagent import UdpAgent, UdpCall
from tests.support.voiceapps import MENU
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "secret1"
LEFT_OUT = ("call.progress", "call.changed", "call.record")


def picking_up(call: UdpCall) -> None:
    call.ring()
    call.accept()


def busy(call: UdpCall) -> None:
    call.refuse(486)


class Menu:
    """A caller, the application behind its provider, and a clerk."""

    def __init__(self, switch: Switch, caller: Baresip, ivr: UdpAgent, sales: UdpAgent) -> None:
        self.switch = switch
        self.caller = caller
        self.ivr = ivr
        self.sales = sales
        self.key = ""

    async def talk(self) -> UdpCall:
        """The caller talks to the application; its leg."""
        self.caller.forget()
        self.ivr.calls.clear()
        self.sales.calls.clear()
        self.sales.on_invite = picking_up
        await self.caller.dial("500")
        await self.caller.event("CALL_ESTABLISHED")
        (leg,) = self.ivr.calls
        await leg.until(leg.answered)
        return leg

    async def hand_over(self, leg: UdpCall, digits: str) -> None:
        """What the application does with them: it knows the key from From, and its API key."""
        base = self.switch.api.client.base_url
        async with httpx.AsyncClient(base_url=base, trust_env=False) as application:
            path = f"/api/v1/signals/{leg.caller}"
            assert (await application.post(path, data={"digits": digits})).status_code == 401
            headers = {"X-API-Key": self.key}
            answer = await application.post(path, data={"digits": digits}, headers=headers)
        # 202: it came before the dialplan waited for it
        assert answer.status_code in (200, 202), answer.text

    async def history(self, call_id: str) -> list[dict[str, Any]]:
        """The events of an ended call, once its dialplan has ended, too."""

        async def look() -> list[dict[str, Any]]:
            events: list[dict[str, Any]] = (await self.switch.api.get(f"/calls/{call_id}"))[
                "events"
            ]
            return events if "dialplan.ended" in {event["type"] for event in events} else []

        await self.switch.api.no_calls()
        return await eventually(look, "the end of the dialplan")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def menu(switch: Switch, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Menu]:
    folder: Path = tmp_path_factory.mktemp("menu")
    ivr, sales = await UdpAgent.open("ivr", picking_up), await UdpAgent.open("sales", picking_up)
    company = Kamailio(folder, {"me": "secret"}, int(ivr.address.rpartition(":")[2]))
    caller = Baresip(folder / "caller")
    api = switch.api
    try:
        await company.start()
        provider = {
            "name": "company",
            "server": f"sip:company.test:{company.port}",
            "outbound_proxy": company.server,
            "username": "me",
            "password": "secret",
        }
        (await api.client.post("/api/v1/providers", json=provider)).raise_for_status()
        body = {"name": "menu", "language": "python", "source": MENU}
        (await api.client.post("/api/v1/dialplans", json=body)).raise_for_status()
        await api.add_account("caller", PASSWORD, out_dialplan="menu")
        await api.add_account("sales", PASSWORD)
        await sales.register(switch.address("udp"), "sales", PASSWORD, DOMAIN)
        await caller.start()
        await caller.registered("caller", PASSWORD, switch.address("udp"))
        made = Menu(switch, caller, ivr, sales)
        made.key = (await api.client.post("/api/v1/api-keys", json={"name": "ivr"})).json()[
            "secret"
        ]
        yield made
    finally:
        await caller.stop()
        company.stop()
        ivr.close()
        sales.close()


async def test_the_caller_comes_to_whom_his_digits_mean(menu: Menu) -> None:
    leg = await menu.talk()
    call = await menu.switch.api.live_call("answered")
    assert leg.caller.startswith("menu")
    assert leg.invite.request_uri.user == "ivr"
    await menu.hand_over(leg, "1")
    await leg.until(leg.over)
    (new,) = menu.sales.calls
    await new.until(new.answered)
    assert new.caller == "caller"
    assert b"127.0.0.1" in new.heard  # the caller's own sound
    assert not menu.caller.seen("CALL_CLOSED")
    await new.hang_up()
    await menu.caller.event("CALL_CLOSED")
    events = await menu.history(call["id"])
    told = [e["type"] for e in events if e["type"] not in LEFT_OUT]
    assert told == [
        "call.started",
        "dialplan.started",
        "dialplan.dialled",
        "call.forwarded",
        "call.answered",
        "dialplan.asked",
        "transfer.started",
        "call.ended",
        "transfer.completed",
        "dialplan.ended",
    ]
    data = {event["type"]: event["data"] for event in events}
    assert (data["dialplan.asked"]["what"], data["dialplan.asked"]["target"]) == (
        "signal",
        leg.caller,
    )
    assert data["transfer.started"]["by"] == "dialplan"
    assert data["dialplan.ended"]["reason"] == "transferred"
    second = await menu.switch.api.get(f"/calls/{data['transfer.started']['new_call_id']}")
    assert "call.answered" in {event["type"] for event in second["events"]}


async def test_nobody_there_leaves_the_caller_with_the_application(menu: Menu) -> None:
    leg = await menu.talk()
    menu.sales.on_invite = busy
    await menu.hand_over(leg, "1")

    async def refused() -> bool:
        return any(call.server and call.server.last for call in menu.sales.calls)

    await eventually(refused, "a busy clerk")
    menu.sales.on_invite = picking_up
    await menu.hand_over(leg, "1")
    await leg.until(leg.over)
    assert len(menu.sales.calls) == 2
    await menu.sales.calls[1].until(menu.sales.calls[1].answered)
    await menu.caller.hang_up()
    await menu.sales.calls[1].until(menu.sales.calls[1].over)
    await menu.switch.api.no_calls()


async def test_a_caller_who_hangs_up_ends_the_dialplan(menu: Menu) -> None:
    leg = await menu.talk()
    call = await menu.switch.api.live_call("answered")
    await menu.caller.hang_up()
    await leg.until(leg.over)
    events = await menu.history(call["id"])
    (ended,) = [event for event in events if event["type"] == "dialplan.ended"]
    assert ended["data"]["reason"] == "caller hung up"
