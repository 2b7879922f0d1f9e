"""The call manager over HTTP: provisioning with a database, and two appservers over gRPC."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.appserver.domain.legs import LegRef
from services.appserver.domain.transfers import Refusal, Refused
from services.provisioning.adapters import appservers_grpc, callcontrol_grpc
from services.provisioning.domain.openrate import PER_ADDRESS
from tandem.bus.nodes import NodeAnnounced, NodeState
from tandem.bus.ports import Envelope
from tests.support.callcontrol import ControlledNode, call, controlled
from tests.support.provisioning import Rig, sqlite_in

STRING = '<string xmlns="http://schemas.microsoft.com/2003/10/Serialization/">{}</string>'
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


class Stage:
    """Provisioning, its two appservers, and a stranger's and alice's clients."""

    def __init__(
        self, rig: Rig, nodes: list[ControlledNode], key: str, anybody: httpx.AsyncClient
    ) -> None:
        self.rig = rig
        self.one, self.two = nodes
        self.key = key
        self.anybody = anybody

    async def hear(self, *said: NodeAnnounced) -> None:
        await self.rig.service.nodes.take([Envelope("1", 0.0, one.node, one) for one in said])

    async def ask(self, path: str, **params: str) -> str:
        """The text that the call manager answers alice's key with."""
        given = {"user": "alice", "key": self.key} | params
        answer = await self.anybody.get(path, params=given)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/xml; charset=utf-8"
        start, end = STRING.split("{}")
        assert answer.text.startswith(start)
        assert answer.text.endswith(end)
        return answer.text.removeprefix(start).removesuffix(end)

    async def silence(self) -> None:
        """Have the second appserver answer nothing."""
        await self.two.server.stop()


@pytest.fixture
async def stage(
    rig: Rig, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    for module, name in [(appservers_grpc, "ANSWER_SECONDS"), (callcontrol_grpc, "ANSWER_SECONDS")]:
        monkeypatch.setattr(module, name, 10.0)
    made = await alice.post("/api/v1/api-keys", json={"name": "tropo"})
    async with (
        controlled("as1", rig.security) as one,
        controlled("as2", rig.security) as two,
        rig.client() as anybody,
    ):
        stage = Stage(rig, [one, two], made.json()["secret"], anybody)
        await stage.hear(one.said(), two.said(calls=5))
        yield stage


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


# -- /api/v1/calls ---------------------------------------------------------------------------


async def test_calls_are_started_by_a_dialplan_or_two_dial_strings(
    stage: Stage, alice: httpx.AsyncClient
) -> None:
    answer = await alice.post("/api/v1/calls", json={"dialplan": "mine", "destination": "12"})
    assert (answer.status_code, answer.json()) == (202, {"id": "call-1"})
    body = {"first": "me@local", "second": "12@provider[fu=7]"}
    answer = await alice.post("/api/v1/calls", json=body)
    assert answer.json() == {"id": "call-2"}
    assert stage.one.transfers.asked == [
        ("run", "alice", "mine", "12"), ("connect", "alice", "me@local", "12@provider[fu=7]"),
    ]  # fmt: skip


async def test_a_front_end_that_chooses_by_the_path_finds_orders_under_one_of_their_own(
    stage: Stage, alice: httpx.AsyncClient
) -> None:
    stage.one.calls.all = [call("c1")]
    body = {"dialplan": "mine", "destination": "12"}
    assert (await alice.post("/api/v1/call-orders", json=body)).status_code == 202
    order = {"leg": 1, "dial": "x"}
    answer = await alice.post("/api/v1/call-orders/c1/transfer", json=order)
    assert answer.status_code == 202
    assert (await alice.delete("/api/v1/call-orders/c1")).status_code == 204


async def test_a_call_is_transferred_where_it_is(stage: Stage, alice: httpx.AsyncClient) -> None:
    stage.two.calls.all = [call("c2")]
    path = "/api/v1/calls/c2/transfer"
    answer = await alice.post(path, json={"leg": 0, "destination": "12"})
    assert (answer.status_code, answer.json()) == (202, {"id": "c2"})
    answer = await alice.post(path, json={"leg": 1, "dial": "12@provider"})
    assert answer.status_code == 202
    answer = await alice.post(path, json={"leg": 1, "destination": "3", "dialplan": "other"})
    assert answer.status_code == 202
    assert stage.two.transfers.asked == [
        ("blind", "alice", LegRef("c2", 0), "12", "transfer"),
        ("direct", "alice", LegRef("c2", 1), "12@provider"),
        ("blind", "alice", LegRef("c2", 1), "3", "other"),
    ]


async def test_two_calls_are_joined_by_name_or_by_place(
    stage: Stage, alice: httpx.AsyncClient
) -> None:
    stage.two.calls.all = [call("c1"), call("c2", placed="<sip:88@x>")]
    places = {"leg1": {"call_id": "c1", "leg": 0}, "leg2": {"call_id": "c2", "leg": 1}}
    names = {"leg1": "unique77", "leg2": "c2-a"}
    for body in (places, names, places | {"leg2": "88"}):
        answer = await alice.post("/api/v1/calls/join", json=body)
        assert (answer.status_code, answer.json()) == (202, {"id": "c1"})
    assert [asked[2:] for asked in stage.two.transfers.asked] == [
        (LegRef("c1", 0), LegRef("c2", 1)),
        (LegRef("c1", 1), LegRef("c2", 0)),
        (LegRef("c1", 0), LegRef("c2", 1)),
    ]


async def test_a_call_is_ended_by_its_customer_and_nobody_else(
    stage: Stage, alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    stage.two.calls.all = [call("c2")]
    assert (await bob.delete("/api/v1/calls/c2")).status_code == 404
    assert (await alice.delete("/api/v1/calls/c2")).status_code == 204
    assert (await alice.delete("/api/v1/calls/c2")).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("", {}, 422, "body"),
        ("", {"dialplan": "x"}, 422, "body"),
        ("", {"dialplan": "x", "destination": "1", "first": "y"}, 422, "body"),
        ("", {"dialplan": "x", "destination": "1\n"}, 202, None),
        ("", {"dialplan": "x", "destination": "1\n2"}, 422, "destination"),
        ("", {"dialplan": "x", "destination": "1", "owner": "bob"}, 403, "owner"),
        ("", {"first": "x", "second": "y" * 2001}, 422, "second"),
        ("/c1/transfer", {"leg": 1}, 422, "body"),
        ("/c1/transfer", {"leg": 1, "dial": "x", "destination": "y"}, 422, "body"),
        ("/c1/transfer", {"leg": -1, "dial": "x"}, 422, "leg"),
        ("/c1/transfer", {"leg": 7, "dial": "x"}, 404, None),
        ("/theirs/transfer", {"leg": 1, "dial": "x"}, 404, None),
        ("/none/transfer", {"leg": 1, "dial": "x"}, 404, None),
        ("/join", {"leg1": "c1-a", "leg2": "c1-b"}, 404, None),
        ("/join", {"leg1": "unheard-of", "leg2": "c1-b"}, 404, None),
    ],
)
async def test_a_bad_order_changes_nothing(
    stage: Stage,
    alice: httpx.AsyncClient,
    path: str,
    body: dict[str, object],
    status: int,
    field: str | None,
) -> None:
    stage.one.calls.all = [call("c1"), call("theirs", owners=("bob",))]
    answer = await alice.post(f"/api/v1/calls{path}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json().get("field") == field
    assert len(stage.one.transfers.asked) == (status == 202)


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (Refusal.NO_DIALPLAN, 404), (Refusal.TOO_MANY_RUNS, 429), (Refusal.BAD_DESTINATION, 422),
        (Refusal.NOT_NOW, 409), (Refusal.OVERLOADED, 503), (Refusal.UNSUPPORTED, 501),
    ],
)  # fmt: skip
async def test_what_an_appserver_refuses_is_a_problem_document(
    stage: Stage, alice: httpx.AsyncClient, refusal: Refusal, status: int
) -> None:
    for node in (stage.one, stage.two):
        node.transfers.refuse = Refused(refusal, "because")
    answer = await alice.post("/api/v1/calls", json={"dialplan": "x", "destination": "1"})
    assert (answer.status_code, answer.json()["detail"]) == (status, "because")


async def test_a_call_that_a_silent_appserver_may_have_is_not_denied(
    stage: Stage, alice: httpx.AsyncClient
) -> None:
    await stage.silence()
    answer = await alice.post("/api/v1/calls/c1/transfer", json={"leg": 1, "dial": "x"})
    assert answer.status_code == 503
    assert "as2" in answer.json()["detail"]
    assert (await alice.delete("/api/v1/calls/c1")).status_code == 503


# -- signals ---------------------------------------------------------------------------------


async def _waiting(node: ControlledNode, key: str = "k") -> asyncio.Task[str | None]:
    task = asyncio.create_task(node.signals.wait("alice", key, 60))
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize(
    ("content", "kind", "heard"),
    [
        (b'{"digits": "12"}', "application/json", '{"digits": "12"}'),
        (b"digits=12&who=%C3%A4&x=1&x=2&x=3", "application/x-www-form-urlencoded",
         '{"digits": "12", "who": "ä", "x": ["1", "2", "3"]}'),
        ("12 ä".encode(), "text/plain; charset=utf-8", "12 ä"),
        (b"12", "", "12"),
        (b"", "", ""),
    ],
)  # fmt: skip
async def test_a_signal_reaches_the_dialplan_that_waits(
    stage: Stage, alice: httpx.AsyncClient, content: bytes, kind: str, heard: str
) -> None:
    task = await _waiting(stage.two)
    headers = {"content-type": kind} if kind else {}
    answer = await alice.post("/api/v1/signals/k", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"delivered": 1, "kept": False, "silent_nodes": []}
    assert await task == heard
    assert await _none_kept(stage.one)


async def _none_kept(node: ControlledNode) -> bool:
    task = await _waiting(node)
    node.now += 60
    node.deadlines.run(node.now)
    return await task is None


async def test_an_early_signal_is_kept_by_every_appserver(
    stage: Stage, alice: httpx.AsyncClient
) -> None:
    answer = await alice.post("/api/v1/signals/k", content=b"early")
    assert answer.status_code == 202
    assert answer.json() == {"delivered": 0, "kept": True, "silent_nodes": []}
    for node in (stage.one, stage.two):
        assert await node.signals.wait("alice", "k", 0) == "early"


async def test_silent_appservers_are_named(stage: Stage, alice: httpx.AsyncClient) -> None:
    await stage.silence()
    task = await _waiting(stage.one)
    answer = await alice.post("/api/v1/signals/k", content=b"x")
    assert answer.json() == {"delivered": 1, "kept": False, "silent_nodes": ["as2"]}
    assert await task == "x"
    await stage.one.server.stop()
    answer = await alice.post("/api/v1/signals/k", content=b"x")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_a_signal_is_its_owners_alone(
    stage: Stage, admin: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    task = await _waiting(stage.one)
    assert (await bob.post("/api/v1/signals/k", content=b"x")).status_code == 202
    answer = await bob.post("/api/v1/signals/k", params={"owner": "alice"}, content=b"x")
    assert answer.status_code == 403
    assert (await stage.anybody.post("/api/v1/signals/k", content=b"x")).status_code == 401
    await asyncio.sleep(0)
    assert not task.done()
    answer = await admin.post("/api/v1/signals/k", params={"owner": "alice"}, content=b"x")
    assert answer.json()["delivered"] == 1
    assert await task == "x"


@pytest.mark.parametrize(
    ("key", "content", "kind", "status"),
    [
        ("k", b"x" * 8193, "text/plain", 413),
        ("k", b"x=" + b"%C3%A4" * 1300, "application/x-www-form-urlencoded", 202),
        ("k", b"\xff", "text/plain", 422),
        ("k", b"x=%FF", "application/x-www-form-urlencoded", 422),
        ("k", b"&".join([b"x=1"] * 101), "application/x-www-form-urlencoded", 422),
        ("k", b"{", "application/json", 422),
        ("k", b"[" * 8000, "application/json", 422),
        ("k", b"x\0", "text/plain", 422),
        ("a%20b", b"x", "text/plain", 422),
        ("x" * 129, b"x", "text/plain", 422),
        ("a/b", b"x", "text/plain", 404),
    ],
)
async def test_a_signal_that_makes_no_sense_is_refused(
    stage: Stage, alice: httpx.AsyncClient, key: str, content: bytes, kind: str, status: int
) -> None:
    headers = {"content-type": kind}
    answer = await alice.post(f"/api/v1/signals/{key}", content=content, headers=headers)
    assert answer.status_code == status, answer.text


async def test_more_signals_than_are_kept_are_refused(
    stage: Stage, alice: httpx.AsyncClient
) -> None:
    answers = [await alice.post("/api/v1/signals/k", content=b"x") for _ in range(9)]
    assert [answer.status_code for answer in answers] == [202] * 8 + [409]
