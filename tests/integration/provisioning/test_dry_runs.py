"""Dry runs over the API: a program, saved or not, on what the customer has."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.provisioning.handlers import dryruns
from tandem.bus.location import BindingStored
from tandem.bus.ports import Topic
from tandem.dialplan import dryrun
from tests.support.location import a_binding
from tests.support.provisioning import Rig, sqlite_in

PATH = "/api/v1/dialplans"
CALL = {"caller": "desk@local", "destination": "12345"}
SOURCE = "if sys.dial('${dst}@carrier') == 'failed':\n    sys.dial('desk@local')\n"


@pytest.fixture
def database(tmp_path: Path) -> str:
    """SQLite: what is tested here does not look into the database."""
    return sqlite_in(tmp_path)


async def run(client: httpx.AsyncClient, where: str = "", **body: Any) -> dict[str, Any]:
    answer = await client.post(f"{PATH}{where}/dry-run", json=CALL | body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def furnish(rig: Rig, client: httpx.AsyncClient, owner: str) -> None:
    account = {"username": "desk", "password": "rosebud"}
    assert (await client.post("/api/v1/sip-accounts", json=account)).status_code == 201
    provider = {"name": "carrier", "server": "sip.example.com", "username": "1"}
    assert (await client.post("/api/v1/providers", json=provider)).status_code == 201
    assert (await client.put("/api/v1/values/k", json={"value": "kept"})).status_code == 200
    binding = a_binding(rig.clock.now, aor="desk@local", owner=owner)
    rig.bus.publish(Topic.LOCATION, BindingStored(binding))
    await rig.delivered()


async def test_a_program_that_is_not_saved_runs_on_what_the_customer_has(
    rig: Rig, alice: httpx.AsyncClient
) -> None:
    await furnish(rig, alice, "alice")
    legs = [
        {"to": "*@carrier", "status": 503, "after": 1},
        {"to": "desk@local", "status": 200, "after": 4},
    ]
    found = await run(alice, language="python", source=SOURCE, legs=legs)
    assert (found["end"], found["status"], found["answered_by"]) == (
        "answered", 200, "desk@local",
    )  # fmt: skip
    assert found["dialled"] == ["12345@carrier", "desk@local"]
    assert found["seconds"] == 5.0
    assert found["problem"] is None
    values = await run(alice, language="python", source="sys.log(sys.read('k') or 'none')")
    assert "kept" in [step["text"] for step in values["steps"]]
    assert (await alice.get("/api/v1/values/k")).json()["value"] == "kept"


async def test_a_stored_one_runs_in_the_version_that_is_wanted(alice: httpx.AsyncClient) -> None:
    body = {"name": "Out", "language": "lines", "source": "exten => _X.,1,SIPReply(486,Busy)"}
    made = (await alice.post(PATH, json=body)).json()
    change = {"source": "exten => _X.,1,SIPReply(603,No)"}
    await alice.patch(f"{PATH}/{made['id']}", json=change)
    where = f"/{made['id']}"
    assert (await run(alice, where))["status"] == 603
    assert (await run(alice, where, version=1))["status"] == 486
    python = await run(alice, where, language="python", source="sys.respond(404, 'x')")
    assert (python["end"], python["status"], python["reason"]) == ("refused", 404, "x")
    assert (await alice.get(f"{PATH}/{made['id']}")).json()["version"] == 2
    gone = await alice.post(f"{PATH}{where}/dry-run", json=CALL | {"version": 9})
    assert gone.status_code == 404


async def test_anothers_dialplan_can_not_be_run(
    rig: Rig, alice: httpx.AsyncClient, bob: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    await furnish(rig, alice, "alice")
    body = {"name": "Out", "language": "python", "source": "sys.log(sys.read('k') or 'none')"}
    made = (await alice.post(PATH, json=body)).json()
    theirs = await bob.post(f"{PATH}/{made['id']}/dry-run", json=CALL)
    nobodys = await bob.post(f"{PATH}/nonsense/dry-run", json=CALL)
    assert (theirs.status_code, theirs.text) == (404, nobodys.text)
    # an administrator's run of it sees what its owner has
    found = await run(admin, f"/{made['id']}")
    assert "kept" in [step["text"] for step in found["steps"]]
    own = await run(bob, language="python", source=body["source"])
    assert "none" in [step["text"] for step in own["steps"]]


async def test_a_program_with_a_fault_says_where(alice: httpx.AsyncClient) -> None:
    found = await run(alice, language="python", source="x = 1\ny = x // 0\n")
    assert (found["end"], found["problem"]["line"]) == ("fault", 2)
    endless = await run(alice, language="python", source="while True:\n    pass\n")
    assert (endless["end"], endless["limit"]) == ("fault", "time")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("language", "cobol"),
        ("source", "x" * 65_537),
        ("direction", "sideways"),
        ("legs", [{"to": "x", "status": 42}]),
        ("legs", [{"to": "x", "nonsense": 1}]),
        ("legs", [{"to": "x", "reason": "a\0"}]),
        ("at", "yesterday"),
        ("caller_waits", -1),
        ("nonsense", 1),
    ],
)
async def test_a_bad_value_is_refused_and_named(
    alice: httpx.AsyncClient, field: str, value: object
) -> None:
    body = CALL | {"language": "python", "source": ""} | {field: value}
    answer = await alice.post(f"{PATH}/dry-run", json=body)
    assert answer.status_code == 422
    assert answer.json()["field"].split(".")[0] == field


async def test_without_a_program_there_is_nothing_to_run(alice: httpx.AsyncClient) -> None:
    answer = await alice.post(f"{PATH}/dry-run", json=CALL)
    assert [e["field"] for e in answer.json()["errors"]] == ["language", "source"]


async def test_each_customer_has_one_at_a_time(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, ran = asyncio.Event(), asyncio.Event()
    real = dryrun.dry_run

    async def slow(*args: Any) -> Any:
        ran.set()
        await gate.wait()
        return await real(*args)

    monkeypatch.setattr(dryrun, "dry_run", slow)
    body = CALL | {"language": "lines", "source": ""}
    first = asyncio.create_task(alice.post(f"{PATH}/dry-run", json=body))
    await ran.wait()
    assert (await alice.post(f"{PATH}/dry-run", json=body)).status_code == 409
    other = asyncio.create_task(bob.post(f"{PATH}/dry-run", json=body))
    gate.set()
    assert (await first).status_code == (await other).status_code == 200
    assert (await alice.post(f"{PATH}/dry-run", json=body)).status_code == 200


async def test_what_a_customer_has_is_read_for_the_one_whose_turn_it_is(
    alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, reads = asyncio.Event(), asyncio.Event()
    real = dryruns._scene
    read: list[Any] = []

    async def slow(*args: Any) -> Any:
        read.append(args)
        reads.set()
        await gate.wait()
        return await real(*args)

    monkeypatch.setattr(dryruns, "_scene", slow)
    body = CALL | {"language": "lines", "source": ""}
    first = asyncio.create_task(alice.post(f"{PATH}/dry-run", json=body))
    await reads.wait()
    async with asyncio.timeout(10):
        refused = await asyncio.gather(
            *(alice.post(f"{PATH}/dry-run", json=body) for _ in range(3))
        )
    assert [answer.status_code for answer in refused] == [409] * 3
    assert len(read) == 1
    gate.set()
    assert (await first).status_code == 200


async def test_past_calls_run_again_on_another_version(
    rig: Rig, alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    await furnish(rig, alice, "alice")
    body = {"name": "Out", "language": "lines", "source": "exten => _X.,1,Dial(${dst}@carrier)"}
    made = (await alice.post(PATH, json=body)).json()
    where = f"{PATH}/{made['id']}/replay"

    def event(second: int, kind: str, **data: Any) -> dict[str, Any]:
        return {"time": f"2026-12-24T18:00:{second:02}.000Z", "type": kind, "data": data}

    call = {
        "id": "c1",
        "record": {
            "caller": "sip:desk@local", "caller_name": "", "destination": "sip:123@local",
            "created_at": "2026-12-24T18:00:00.000Z", "ended_at": "2026-12-24T18:00:03.000Z",
            "status": 404, "direction": "out",
        },
        "events": [
            event(0, "dialplan.started", dialplan="out", account="desk@local", direction="out"),
            event(0, "dialplan.dialled", destination="${dst}@carrier", ring_seconds=0),
            event(0, "call.forwarded", leg=1, target="sip:123@sip.example.com", next_hop="x"),
            event(2, "call.leg_failed", leg=1, status=404, reason="No such number"),
        ],
    }  # fmt: skip
    others: dict[str, Any] = {"id": "c2", "record": None, "events": []}
    foreign = call | {"id": "c3", "events": [event(0, "dialplan.started", dialplan="other")]}
    answer = await alice.post(where, json={"calls": [call, others, foreign]})
    assert answer.status_code == 200, answer.text
    (same,) = answer.json()["calls"]
    assert (same["differs"], same["unsure"], same["status_now"]) == (False, False, 404)
    assert same["dialled_before"] == ["123@carrier"]
    assert [skipped["id"] for skipped in answer.json()["skipped"]] == ["c2", "c3"]
    source = "if sys.dial('${dst}@carrier') == 'failed':\n    sys.respond(486, 'x')\n"
    changed = {"calls": [call], "language": "python", "source": source}
    (other,) = (await alice.post(where, json=changed)).json()["calls"]
    assert (other["differs"], other["status_before"], other["status_now"]) == (True, 404, 486)
    assert (await bob.post(where, json={"calls": [call]})).status_code == 404
    assert (await alice.post(where, json={"calls": [7]})).status_code == 422
    shown = "this is no call as GET /api/v1/calls/{id} shows it"
    for nonsense, said in (({}, f"{shown}: record is missing in it"), (call | {"events": 7}, shown),
                           ({"events": [7]}, f"{shown}: record is missing in it")):  # fmt: skip
        refused = await alice.post(where, json={"calls": [call, nonsense]})
        assert (refused.status_code, refused.json()["field"]) == (422, "calls.1"), refused.text
        assert refused.json()["errors"][0]["detail"] == said


async def test_legs_lead_where_accounts_and_providers_are_as_they_are_now(
    rig: Rig, alice: httpx.AsyncClient
) -> None:
    await furnish(rig, alice, "alice")
    own = {"name": "in", "language": "python", "source": "pass"}
    assert (await alice.post(PATH, json=own)).status_code == 201
    for more in ({"username": "off", "enabled": False}, {"username": "own", "in_dialplan": "in"},
                 {"username": "idle"}):  # fmt: skip
        answer = await alice.post("/api/v1/sip-accounts", json={"password": "rosebud", **more})
        assert answer.status_code == 201
    provider = {"name": "gone", "server": "sip.example.com", "username": "1", "enabled": False}
    assert (await alice.post("/api/v1/providers", json=provider)).status_code == 201
    statuses = {}
    for leg in ("off@local", "idle@local", "eve@local", "1@gone", "1@typo", "own@local"):
        found = await run(alice, language="python", source=f"sys.dial('{leg}')")
        statuses[leg] = (found["status"], len(found["dialled"]))
    assert statuses == {
        "off@local": (403, 0), "idle@local": (480, 0), "eve@local": (404, 0),
        "1@gone": (403, 0), "1@typo": (404, 0), "own@local": (480, 1),
    }  # fmt: skip
