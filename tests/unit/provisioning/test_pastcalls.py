"""Past calls made ready for a replay from what the events API shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.provisioning.domain.pastcalls import (
    Known,
    Malformed,
    NotReplayable,
    dialplan_of,
    past_call,
)
from tandem.dialplan.dryrun import Replayed, replay
from tandem.dialplan.linerunner import LineRunner
from tandem.dialplan.scene import AccountIs, LegSays, Scene
from tandem.dialplan.script import Language
from tests.support.dialplans import plan

SCENE = Scene(
    at=0.0,
    accounts=(
        AccountIs(user="alice", domain="example.com"),
        AccountIs(user="bob", domain="example.com"),
    ),
    domains={"example.com": "example.com", "local": "example.com"},
    providers=("Blueface",),
)
KNOWN = Known(
    hosts={"blueface": "sip.blueface.ie:5061"},
    contacts={"sip:x17@192.0.2.7:5062": "bob@example.com"},
)


def event(second: float, kind: str, **data: Any) -> dict[str, Any]:
    return {"time": f"2026-07-01T12:00:{second:06.3f}Z", "type": kind, "data": data}


def shown(*events: dict[str, Any], status: int = 200, **record: Any) -> dict[str, Any]:
    """A call as GET /calls/{id} shows it."""
    first = event(0, "dialplan.started", dialplan="Out", account="alice@example.com", version=1,
                  direction="out")  # fmt: skip
    return {
        "id": "c1",
        "state": "ended",
        "record": {
            "direction": "out", "caller": "sip:alice@example.com", "caller_name": "Alice",
            "destination": "sip:2127@example.com", "created_at": "2026-07-01T12:00:00.000Z",
            "ended_at": "2026-07-01T12:00:09.500Z", "status": status,
        } | record,
        "events": [first, *events],
    }  # fmt: skip


def forwarded(second: float, leg: int, target: str) -> dict[str, Any]:
    return event(second, "call.forwarded", leg=leg, target=target, next_hop="udp:192.0.2.9:5060")


def failed(second: float, leg: int, status: int) -> dict[str, Any]:
    return event(second, "call.leg_failed", leg=leg, status=status, reason="Busy")


DOWN_THEN_ANSWERED = shown(
    event(0.1, "dialplan.dialled", destination="${dst}@blueface | bob@local", ring_seconds=0),
    forwarded(0.2, 1, "sip:2127@sip.blueface.ie:5061;transport=tls"),
    event(1.0, "call.progress", leg=1, status=180, reason="Ringing"),
    failed(2.2, 1, 503),
    forwarded(2.3, 2, "sip:x17@192.0.2.7:5062"),
    forwarded(2.3, 3, "sip:bob@192.0.2.8"),
    failed(2.5, 3, 480),
    event(6.3, "call.answered", leg=2, target="sip:x17@192.0.2.7:5062"),
)


def test_legs_are_traced_back_to_the_dial_string_and_answer_as_they_did() -> None:
    found = past_call(DOWN_THEN_ANSWERED, "alice", SCENE, KNOWN)
    assert found.dialled == ("2127@blueface", "bob@local")
    assert found.status == 200
    assert found.call.account == "alice@example.com"
    assert (found.call.user, found.call.from_name) == ("2127", "Alice")
    assert found.scene.at == 1_782_907_200.0
    assert found.scene.legs == (
        LegSays(to="2127@blueface", status=503, reason="Busy", after=2.0),
        LegSays(to="bob@local", status=200, reason="OK", after=4.0),
    )


async def again(source: str, *calls: dict[str, Any]) -> list[Replayed]:
    past = [past_call(call, "alice", SCENE, KNOWN) for call in calls]
    dialplan = replace(plan(source), language=Language.LINES)
    return await replay(LineRunner(), dialplan, past)


async def test_the_same_program_does_the_same_and_another_does_not() -> None:
    (same,) = await again("exten => _X.,1,Dial(${dst}@blueface | bob@local)", DOWN_THEN_ANSWERED)
    assert (same.differs, same.unsure) == (False, False)
    (other,) = await again("exten => _X.,1,Dial(bob@local)", DOWN_THEN_ANSWERED)
    assert (other.differs, other.dialled_now, other.status_now) == (True, ("bob@local",), 200)
    (unknown,) = await again("exten => _X.,1,Dial(x@elsewhere.example)", DOWN_THEN_ANSWERED)
    assert (unknown.differs, unknown.unsure) == (True, True)


async def test_a_caller_who_hung_up_hangs_up_again() -> None:
    call = shown(
        event(0.0, "dialplan.dialled", destination="bob@local", ring_seconds=0),
        forwarded(0.0, 1, "sip:bob@192.0.2.8"),
        status=487,
    )
    found = past_call(call, "alice", SCENE, KNOWN)
    assert found.scene.caller_waits == 9.5
    (same,) = await again("exten => _X.,1,Dial(bob@local)", call)
    assert (same.differs, same.status_now) == (False, 487)


def test_an_address_elsewhere_is_itself_and_a_retry_by_another_way_is_no_leg() -> None:
    call = shown(
        event(0.0, "dialplan.dialled", destination="carol@elsewhere.example", ring_seconds=0),
        forwarded(0.0, 1, "sip:carol@elsewhere.example"),
        forwarded(0.5, 1, "sip:carol@elsewhere.example"),
        failed(1.0, 1, 404),
        forwarded(1.0, 2, "sip:*88@other.example"),
        failed(2.0, 2, 404),
        status=404,
    )
    found = past_call(call, "alice", SCENE, KNOWN)
    assert found.dialled == ("carol@elsewhere.example", "*88@other.example")
    assert [says.to for says in found.scene.legs] == [
        "carol@elsewhere.example", "[*]88@other.example",
    ]  # fmt: skip
    assert found.scene.legs[1].fits("*88@other.example")
    assert not found.scene.legs[1].fits("188@other.example")


def test_which_dialplan_ran_is_told() -> None:
    assert dialplan_of(DOWN_THEN_ANSWERED) == "Out"
    assert dialplan_of({"events": [event(0, "call.started")]}) == ""
    assert dialplan_of({}) == ""
    assert dialplan_of({"events": [7, {"type": "dialplan.started", "data": None}]}) == ""


def test_what_is_missing_is_named() -> None:
    call = shown()
    del call["record"]["created_at"]
    with pytest.raises(Malformed, match="created_at is missing"):
        past_call(call, "alice", SCENE, KNOWN)
    with pytest.raises(NotReplayable, match="under way") as caught:
        past_call({"record": None, "events": []}, "alice", SCENE, KNOWN)
    assert not isinstance(caught.value, Malformed)
    assert dialplan_of({"events": 7}) == ""


@pytest.mark.parametrize(
    "call",
    [
        {},
        {"record": None, "events": []},
        {"record": 7, "events": 7},
        shown() | {"events": []},
        shown() | {"events": [7]},
        shown(event(1, "dialplan.started", dialplan="x", account="a@b", direction="in")),
        shown(created_at="yesterday"),
        shown(caller="\0"),
        shown(event(1, "call.forwarded", leg="x", target="y")),
        shown(status="x"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_such_call_is_not_replayed(call: dict[str, Any]) -> None:
    with pytest.raises(NotReplayable):
        past_call(call, "alice", SCENE, KNOWN)
