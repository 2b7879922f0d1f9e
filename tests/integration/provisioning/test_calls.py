"""Calls started, transferred, joined and ended by /api/v1/calls."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from services.appserver.domain.legs import LegRef
from services.appserver.domain.transfers import Refusal, Refused
from tests.support.callcontrol import call
from tests.support.callmanager import Stage
from tests.support.provisioning import sqlite_in


@pytest.fixture
def database(tmp_path: Path) -> str:
    """SQLite: what the databases differ in is tested in test_open_methods.py."""
    return sqlite_in(tmp_path)


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
        ("", {"first": "bob@local[xx=1]", "second": "y@local"}, 422, "first"),
        ("", {"first": "bob@local", "second": "["}, 422, "second"),
        ("", {"dialplan": "x" * 65, "destination": "1"}, 422, "dialplan"),
        ("/c1/transfer", {"leg": 1, "dial": "1@prov |"}, 422, "dial"),
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
        (Refusal.TOO_MANY_CALLS, 429), (Refusal.NOT_NOW, 409),
        (Refusal.OVERLOADED, 503), (Refusal.UNSUPPORTED, 501),
    ],
)  # fmt: skip
async def test_what_an_appserver_refuses_is_a_problem_document(
    stage: Stage, alice: httpx.AsyncClient, refusal: Refusal, status: int
) -> None:
    for node in (stage.one, stage.two):
        node.transfers.refuse = Refused(refusal, "because")
    answer = await alice.post("/api/v1/calls", json={"dialplan": "x", "destination": "1"})
    assert (answer.status_code, answer.json()["detail"]) == (status, "because")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("", {"dialplan": "x", "destination": "1"}, "destination"),
        ("", {"first": "nobody@local", "second": "1"}, "first"),
        ("/c1/transfer", {"leg": 1, "destination": "1"}, "destination"),
        ("/c1/transfer", {"leg": 1, "dial": "1@nowhere"}, "dial"),
    ],
)
async def test_the_field_is_named_whose_destination_an_appserver_refuses(
    stage: Stage, alice: httpx.AsyncClient, path: str, body: dict[str, object], field: str
) -> None:
    stage.one.calls.all = [call("c1")]
    for node in (stage.one, stage.two):
        node.transfers.refuse = Refused(Refusal.BAD_DESTINATION, "because")
    answer = await alice.post(f"/api/v1/calls{path}", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert answer.json()["errors"] == [{"field": field, "detail": "because"}]


async def test_a_call_that_a_silent_appserver_may_have_is_not_denied(
    stage: Stage, alice: httpx.AsyncClient
) -> None:
    await stage.silence()
    answer = await alice.post("/api/v1/calls/c1/transfer", json={"leg": 1, "dial": "x"})
    assert answer.status_code == 503
    assert "as2" in answer.json()["detail"]
    assert (await alice.delete("/api/v1/calls/c1")).status_code == 503
