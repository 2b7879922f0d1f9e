"""The call manager as the original had it: by a URL, with a text in XML for an answer."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.appserver.domain.legs import LegRef
from services.appserver.domain.transfers import Refusal, Refused
from services.provisioning.adapters import callcontrol_grpc
from services.provisioning.domain.openrate import PER_ADDRESS
from tandem.bus.nodes import NodeState
from tandem.bus.web_events import CallOrdered
from tests.support.callcontrol import call
from tests.support.callmanager import STRING, Stage
from tests.support.provisioning import sqlite_in

BOOLEAN = '<boolean xmlns="http://schemas.microsoft.com/2003/10/Serialization/">{}</boolean>'
CALLBACK = "/callmanager.svc/webcallback"
BLIND = "/callmanager.svc/blindtransfer"
DUAL = "/callmanager.svc/dualtransfer"
NOT_FOUND = (
    "Sorry the blind transfer could not be initiated, the Call-ID to transfer could not be found."
)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """SQLite: what the databases differ in is tested in test_open_methods.py."""
    return sqlite_in(tmp_path)


# -- as the original had it --------------------------------------------------------------------


async def test_it_is_alive_while_an_appserver_is(stage: Stage) -> None:
    answer = await stage.anybody.get("/callmanager.svc/isalive")
    assert (answer.status_code, answer.text) == (200, BOOLEAN.format("true"))
    await stage.hear(stage.one.said(NodeState.STOPPED), stage.two.said(NodeState.DRAINING))
    answer = await stage.anybody.get("/callmanager.svc/isalive")
    assert answer.text == BOOLEAN.format("false")


async def test_a_web_callback_runs_the_dialplan_on_the_least_busy_appserver(stage: Stage) -> None:
    text = await stage.ask(CALLBACK, number="15551234")
    assert text == "Web call was successfully initiated."
    assert stage.one.transfers.asked == [("run", "alice", "webcallback", "15551234")]
    assert stage.two.transfers.asked == []


async def test_a_blind_transfer_finds_the_leg_wherever_it_is(stage: Stage) -> None:
    stage.one.calls.all = [call("c1", placed="<sip:other@x>")]
    stage.two.calls.all = [call("c2", placed="<sip:uniqueidxxx@example.com>;tag=1")]
    text = await stage.ask(BLIND, destination="1234", callid="uniqueidxxx")
    assert text == "Blind transfer was successfully initiated."
    assert stage.two.transfers.asked == [("blind", "alice", LegRef("c2", 1), "1234", "transfer")]
    assert stage.one.transfers.asked == []


async def test_an_exact_from_user_here_goes_before_a_part_of_one_there(stage: Stage) -> None:
    stage.one.calls.all = [call("c1", placed="<sip:77@x>")]
    stage.two.calls.all = [call("c2", placed="<sip:778@x>")]
    assert "successfully" in await stage.ask(BLIND, destination="1", callid="77")
    assert stage.one.transfers.asked == [("blind", "alice", LegRef("c1", 1), "1", "transfer")]


async def test_one_leg_here_and_one_there_by_the_same_rule_are_not_found(stage: Stage) -> None:
    for node, name in ((stage.one, "c1"), (stage.two, "c2")):
        node.calls.all = [call(name)]
    assert await stage.ask(BLIND, destination="1", callid="unique77") == NOT_FOUND
    assert await stage.ask(BLIND, destination="1", callid="unheard-of") == NOT_FOUND


async def test_a_dual_transfer_joins_two_calls_and_says_nothing(stage: Stage) -> None:
    stage.two.calls.all = [call("c1"), call("c2", placed="<sip:88@x>")]
    assert await stage.ask(DUAL, callid1="unique77", callid2="88") == ""
    assert stage.two.transfers.asked == [("dual", "alice", LegRef("c1", 1), LegRef("c2", 1))]


async def test_calls_on_two_appservers_cannot_be_joined(stage: Stage) -> None:
    stage.one.calls.all = [call("c1")]
    stage.two.calls.all = [call("c2", placed="<sip:88@x>")]
    text = await stage.ask(DUAL, callid1="unique77", callid2="88")
    assert text == (
        "Sorry the transfer was not initiated: The two calls are on two servers: "
        "they can't be joined."
    )


@pytest.mark.parametrize(
    ("path", "params", "text"),
    [
        (CALLBACK, {"user": " "}, "A username must be specified when initiating a web callback"),
        (CALLBACK, {"number": ""}, "A number must be specified when initiating a web callback"),
        (BLIND, {"callid": ""}, "A Call-ID must be specified when initiating a blind transfer"),
        (DUAL, {"callid1": "x"}, "A second Call-ID must be specified"),
        (CALLBACK, {"number": "1\r\nX: y"}, "Sorry the callback was not initiated: destination: 1"),
        (
            BLIND,
            {"destination": "x" * 256, "callid": "unique77"},
            "Sorry the transfer was not initiated: destination: 1",
        ),
        (BLIND, {"destination": "1", "callid": "x" * 256}, NOT_FOUND),
    ],
)
async def test_what_is_missing_or_makes_no_sense_is_told(
    stage: Stage, path: str, params: dict[str, str], text: str
) -> None:
    stage.one.calls.all = [call()]
    assert (await stage.ask(path, **params)).startswith(text)
    assert stage.one.transfers.asked == []


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (Refusal.NO_DIALPLAN, "Sorry the specified user has not enabled callbacks, the callback"),
        (Refusal.TOO_MANY_RUNS, "Sorry the callback was not initiated, dial plan execution ex"),
        (Refusal.NOT_NOW, "Sorry the callback was not initiated: because & <so>"),
    ],
)
async def test_what_the_appserver_refuses_is_told(
    stage: Stage, refusal: Refusal, text: str
) -> None:
    stage.one.transfers.refuse = Refused(refusal, "because & <so>")
    answer = await stage.ask(CALLBACK, number="1")
    assert answer.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">").startswith(text)


async def test_a_full_appserver_leaves_it_to_the_next(stage: Stage) -> None:
    stage.one.transfers.refuse = Refused(Refusal.OVERLOADED, "full")
    assert "successfully" in await stage.ask(CALLBACK, number="1")
    assert len(stage.two.transfers.asked) == 1


async def test_an_appserver_that_is_gone_leaves_it_to_the_next(stage: Stage) -> None:
    await stage.hear(stage.one.said(calls=9))
    await stage.silence()
    assert "successfully" in await stage.ask(CALLBACK, number="1")
    assert len(stage.one.transfers.asked) == 1


async def test_an_appserver_that_hangs_may_have_begun_so_no_other_is_asked(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callcontrol_grpc, "START_SECONDS", 0.2)
    stage.one.transfers.hangs = True
    text = await stage.ask(CALLBACK, number="1")
    assert text == ("Sorry the callback was not initiated: These appservers do not answer: as1.")
    assert stage.two.transfers.asked == []


async def test_a_silent_appserver_may_have_another_leg_of_that_name(stage: Stage) -> None:
    stage.one.calls.all = [call()]
    await stage.silence()
    text = await stage.ask(BLIND, destination="1", callid="unique77")
    assert "These appservers do not answer: as2." in text
    assert "successfully" in await stage.ask(BLIND, destination="1", callid="c1-b")


# -- who may ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Authorization", "X-API-Key", "apikey"])
async def test_a_key_may_come_in_a_header(stage: Stage, name: str) -> None:
    value = f"Bearer {stage.key}" if name == "Authorization" else stage.key
    params = {"user": "Alice", "number": "1"}
    answer = await stage.anybody.get(CALLBACK, params=params, headers={name: value})
    assert "successfully" in answer.text


async def test_without_a_key_of_the_user_nothing_is_done(
    stage: Stage, bob: httpx.AsyncClient
) -> None:
    session = bob.headers["authorization"].removeprefix("Bearer ")
    for key, status in [("", 401), ("tdm_wrong", 401), ("x" * 2000, 401), (session, 401)]:
        params = {"user": "alice", "number": "1", "key": key}
        answer = await stage.anybody.get(CALLBACK, params=params)
        assert (answer.status_code, answer.json()["status"]) == (status, status)
        assert key not in answer.text or not key
    answer = await bob.get(CALLBACK, params={"user": "alice", "number": "1"})
    assert (answer.status_code, answer.json()["field"]) == (403, "user")
    # whether there is such a user is told to nobody
    answer = await bob.get(CALLBACK, params={"user": "nobody", "number": "1"})
    assert answer.status_code == 403
    assert stage.one.transfers.asked == []


async def test_an_administrator_may_ask_for_all_who_are_there(
    stage: Stage, admin: httpx.AsyncClient
) -> None:
    async def ask(user: str) -> str:
        return (await admin.get(CALLBACK, params={"user": user, "number": "1"})).text

    assert "successfully" in await ask("alice")
    told = "Sorry no matching user was found, the webcallback was not initiated."
    assert await ask("nobody") == STRING.format(told)
    await admin.patch("/api/v1/customers/alice", json={"suspended": True})
    assert await ask("alice") == STRING.format("Sorry the user's account is suspended.")


async def test_a_key_in_a_url_gets_into_no_log_and_no_answer(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the test's own client
    await stage.ask(CALLBACK, number="1")
    for path in (CALLBACK, "/callmanager.svc/nothing", "/api/v1/calls"):
        answer = await stage.anybody.get(path, params={"user": "bob", "key": stage.key})
        assert stage.key not in answer.text + str(answer.headers)
    stage.one.transfers.refuse = Refused(Refusal.NOT_NOW, "no")
    await stage.ask(BLIND, destination="1", callid="unique77")
    assert stage.key not in caplog.text


# -- without a key -----------------------------------------------------------------------------


async def _open(client: httpx.AsyncClient, **more: Any) -> None:
    opened = {"method": "blindtransfer", "networks": ["192.0.2.0/24"], "destinations": ["1*"]}
    body = {"open": [opened | more]}
    answer = await client.put("/api/v1/call-manager-access", json=body)
    assert answer.status_code == 200, answer.text


async def _unkeyed(stage: Stage, path: str, source: str, **params: str) -> httpx.Response:
    async with stage.rig.client(source=source) as client:
        return await client.get(path, params={"user": "alice"} | params)


async def test_an_open_method_needs_no_key_from_listed_addresses(
    stage: Stage, alice: httpx.AsyncClient
) -> None:
    await _open(alice)
    stage.one.calls.all = [call()]
    wanted = {"destination": "1234", "callid": "unique77"}
    answer = await _unkeyed(stage, BLIND, "192.0.2.9", **wanted)
    assert answer.text == STRING.format("Blind transfer was successfully initiated.")
    assert (await _unkeyed(stage, BLIND, "198.51.100.1", **wanted)).status_code == 401
    assert (await _unkeyed(stage, CALLBACK, "192.0.2.9", number="1")).status_code == 401
    premium = await _unkeyed(stage, BLIND, "192.0.2.9", destination="0900", callid="unique77")
    assert (premium.status_code, premium.json()["field"]) == (403, "destination")
    wrong = await _unkeyed(stage, BLIND, "192.0.2.9", **wanted, key="tdm_wrong")
    assert wrong.status_code == 401
    assert len(stage.one.transfers.asked) == 1


async def test_an_open_method_is_limited_per_address(
    stage: Stage, alice: httpx.AsyncClient
) -> None:
    await _open(alice)
    for _ in range(PER_ADDRESS.burst):
        answer = await _unkeyed(stage, BLIND, "192.0.2.9", destination="1", callid="x")
        assert answer.text == STRING.format(NOT_FOUND)
    answer = await _unkeyed(stage, BLIND, "192.0.2.9", destination="1", callid="x")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= PER_ADDRESS.seconds
    answer = await _unkeyed(stage, BLIND, "192.0.2.10", destination="1", callid="x")
    assert answer.status_code == 200


# -- what the customer sees ------------------------------------------------------------------


async def test_the_customer_is_told_what_was_asked_for_and_by_whom(
    stage: Stage, alice: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    await _open(alice, destinations=["*"])
    stage.one.calls.all = [call("c1")]
    await _unkeyed(stage, BLIND, "192.0.2.9", destination="1\n", callid="unique77")
    await _unkeyed(stage, BLIND, "198.51.100.1", destination="1", callid="unique77")
    await stage.ask(BLIND, destination="2", callid="unheard-of")
    body = {"first": "a", "second": "b", "owner": "alice"}
    await admin.post("/api/v1/calls", json=body)
    await stage.rig.delivered()
    told = [event for event in stage.rig.published if isinstance(event, CallOrdered)]
    assert {event.owners for event in told} == {("alice",)}
    assert [(event.call_id, event.by, event.outcome) for event in told] == [
        ("c1", "", "begun"), (None, "alice", "That names no leg."), ("call-2", "admin", "begun"),
    ]  # fmt: skip
    assert [event.text() for event in told] == [
        "192.0.2.9, without a key, asked for blindtransfer 1?: begun",
        "alice from 192.0.2.1 asked for blindtransfer 2: That names no leg.",
        "admin from 192.0.2.1 asked for connect a, b: begun",
    ]
