"""What customers see and change of their dialplans while calls run them, and of nobody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.api import Api, Mark
from tests.support.office import PASSWORD, Office, lose, picking_up
from tests.support.sipp import SippPhone
from tests.support.switch import DOMAIN, Switch
from tests.support.udpagent import UdpAgent

pytestmark = pytest.mark.asyncio(loop_scope="package")

FIRMS = ("firmone", "firmtwo")
LOGIN = "a long password"


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def firms(switch: Switch) -> AsyncIterator[list[Api]]:
    """Two customers, logged in."""
    made = []
    for name in FIRMS:
        body = {"username": name, "password": LOGIN}
        (await switch.api.client.post("/api/v1/customers", json=body)).raise_for_status()
        api = Api(str(switch.api.client.base_url))
        await api.log_in(name, LOGIN)
        made.append(api)
    yield made
    for api in made:
        await api.close()


async def saved(api: Api, name: str, source: str) -> dict[str, Any]:
    """A dialplan of this customer's."""
    body = {"name": name, "language": "python", "source": source}
    answer = await api.client.post("/api/v1/dialplans", json=body)
    answer.raise_for_status()
    made: dict[str, Any] = answer.json()
    return made


async def call(switch: Switch, api: Api, account: str, status: int) -> Mark:
    """A stranger calls this account of the customer's."""
    mark = await api.mark()
    stranger = await UdpAgent.open("stranger")
    try:
        made = stranger.invite(switch.address("udp"), f"sip:{account}@{DOMAIN}")
        await made.until(made.over)
    finally:
        stranger.close()
    await api.event_after(mark, "dialplan.ended")
    events = await api.events_after(mark)
    assert made.status == status, [event["message"] for event in events]
    return mark


async def lines(api: Api, mark: Mark) -> list[str]:
    """What dialplans logged, as this customer sees it."""
    events = await api.events_after(mark)
    return [event["message"] for event in events if event["type"] == "dialplan.log"]


async def test_each_sees_the_run_of_his_own_dialplan_alone(
    switch: Switch, office: Office, firms: list[Api]
) -> None:
    """firmone's account calls one of firmtwo's through both of their dialplans."""
    one, two = firms
    await saved(one, "main", "print('a secret of one')\nsys.dial('reception@local')")
    await saved(two, "main", "print('a secret of two')\nsys.dial('switchboard@local')")
    await one.add_account("one", PASSWORD, out_dialplan="main")
    await two.add_account("reception", PASSWORD, in_dialplan="main")
    await two.add_account("switchboard", PASSWORD)
    board = await UdpAgent.open("switchboard", picking_up)
    await board.register(switch.address("udp"), "switchboard", PASSWORD, DOMAIN)
    marks = [await api.mark() for api in (one, two, switch.api)]
    phone = SippPhone(office.folder, "one", PASSWORD, switch.address("udp"))
    await phone.run("call", callee="100")
    for api, mark in zip((one, two), marks, strict=False):
        await api.event_after(mark, "dialplan.ended")
    await switch.api.event_after(marks[2], "dialplan.ended", 2)
    assert await lines(one, marks[0]) == ["a secret of one"]
    assert await lines(two, marks[1]) == ["a secret of two"]
    assert sorted(await lines(switch.api, marks[2])) == ["a secret of one", "a secret of two"]
    for api, mark, others in ((one, marks[0], "firmtwo"), (two, marks[1], "firmone")):
        await api.event_after(mark, "call.record")
        seen = await api.events_after(mark)
        assert others not in {event["owner"] for event in seen}
        assert {e["type"] for e in seen} >= {"dialplan.started", "dialplan.dialled", "call.record"}
    board.close()


async def test_the_name_of_a_dialplan_is_each_customers_own(
    switch: Switch, firms: list[Api]
) -> None:
    """Neither does a call take another customer's dialplan of that name, nor his providers."""
    one, two = firms
    await saved(two, "night", "sys.respond(486)")
    await saved(one, "nocturnal", "sys.respond(404)")
    await one.add_account("nightly", PASSWORD, in_dialplan="nocturnal")
    lose(switch, "nocturnal", "night")
    mark = await one.mark()
    stranger = await UdpAgent.open("stranger")
    made = stranger.invite(switch.address("udp"), f"sip:nightly@{DOMAIN}")
    await made.until(made.over)
    stranger.close()
    assert made.status == 480
    assert (await one.event_after(mark, "dialplan.failed"))["data"]["dialplan"] == "night"


async def test_a_script_reaches_nothing_of_another_customers(
    switch: Switch, firms: list[Api]
) -> None:
    one, two = firms
    provider = {"name": "theirs", "server": "sip:127.0.0.1:9", "username": "x", "password": "y"}
    (await two.client.post("/api/v1/providers", json=provider)).raise_for_status()
    await two.add_account("private", PASSWORD)
    await saved(two, "keep", "sys.write('pin', '1234')\nsys.respond(404)")
    await two.add_account("keeper", PASSWORD, in_dialplan="keep")
    await call(switch, two, "keeper", 404)
    source = (
        "print(sys.read('pin'))\n"
        "print(sys.keys())\n"
        "print(sys.bindings('switchboard'))\n"
        "print(sys.is_mine('private'))\n"
        "print(sys.dial('1@theirs'), sys.last_legs[0].reason)\n"
        "try: sys.provider_callback('theirs', '1', seconds=3)\n"
        "except ValueError as error: print(error)\n"
        "print([c.caller for c in sys.current_calls()])\n"
        "sys.respond(410)\n"
    )
    await saved(one, "pry", source)
    await one.add_account("pry", PASSWORD, in_dialplan="pry")
    mark = await call(switch, one, "pry", 410)
    said = await lines(one, mark)
    assert said[:4] == ["None", "[]", "[]", "False"]
    assert said[4] == "failed There is no provider and no domain theirs"
    assert "theirs" in said[5]
    assert said[6] == "['sip:stranger@elsewhere.example']"


async def test_an_older_version_is_run_again_from_the_next_call_on(
    switch: Switch, firms: list[Api]
) -> None:
    one, _ = firms
    made = await saved(one, "versions", "sys.respond(486)")
    await one.add_account("versions", PASSWORD, in_dialplan="versions")
    await call(switch, one, "versions", 486)
    path = f"/api/v1/dialplans/{made['id']}"
    (await one.client.patch(path, json={"source": "sys.respond(404)"})).raise_for_status()
    await call(switch, one, "versions", 404)
    (await one.client.post(f"{path}/rollback", json={"version": 1})).raise_for_status()
    mark = await call(switch, one, "versions", 486)
    started = await one.event_after(mark, "dialplan.started")
    assert started["data"]["version"] == 1
    (await one.client.patch(path, json={"source": "sys.respond(410)"})).raise_for_status()
    mark = await call(switch, one, "versions", 410)
    assert (await one.event_after(mark, "dialplan.started"))["data"]["version"] == 3


async def test_what_is_refused_leaves_the_published_version_running(
    switch: Switch, firms: list[Api]
) -> None:
    one, _ = firms
    made = await saved(one, "kept", "sys.respond(486)")
    await one.add_account("kept", PASSWORD, in_dialplan="kept")
    path = f"/api/v1/dialplans/{made['id']}"
    wrong = "if req.user == '1':\n    sys.respond('busy')\n"
    answer = await one.client.patch(path, json={"source": wrong})
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert [(each["line"], each["column"]) for each in errors] == [(2, 17)]
    await call(switch, one, "kept", 486)


async def test_a_call_that_runs_keeps_its_version(switch: Switch, firms: list[Api]) -> None:
    one, _ = firms
    made = await saved(one, "long", "sys.wait_for_signal('go', 60)\nsys.respond(486)")
    await one.add_account("long", PASSWORD, in_dialplan="long")
    mark = await one.mark()
    stranger = await UdpAgent.open("stranger")
    waiting = stranger.invite(switch.address("udp"), f"sip:long@{DOMAIN}")
    await one.event_after(mark, "dialplan.started")
    path = f"/api/v1/dialplans/{made['id']}"
    (await one.client.patch(path, json={"source": "sys.respond(404)"})).raise_for_status()
    (await one.client.post("/api/v1/signals/go", content=b"now")).raise_for_status()
    await waiting.until(waiting.over)
    assert waiting.status == 486
    stranger.close()


async def test_a_signal_of_another_customers_is_not_heard(switch: Switch, firms: list[Api]) -> None:
    one, two = firms
    source = "print(sys.wait_for_signal('pin', 60))\nsys.respond(486)"
    await saved(one, "signals", source)
    await one.add_account("signals", PASSWORD, in_dialplan="signals")
    mark = await one.mark()
    stranger = await UdpAgent.open("stranger")
    waiting = stranger.invite(switch.address("udp"), f"sip:signals@{DOMAIN}")
    await one.event_after(mark, "dialplan.started")
    await two.client.post("/api/v1/signals/pin", content=b"of two")
    (await one.client.post("/api/v1/signals/pin", content=b"of one")).raise_for_status()
    await waiting.until(waiting.over)
    stranger.close()
    await one.event_after(mark, "dialplan.ended")
    assert await lines(one, mark) == ["of one"]
