"""Dialplans over the API: saved, checked, kept in versions, rolled back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from services.provisioning.handlers import dialplans
from tandem.dialplan.script import Language, Problem
from tandem.rpc.directory import DirectoryChanged
from tests.support.provisioning import CUSTOMER_PASSWORD, Rig, running

PATH = "/api/v1/dialplans"
SOURCE = "sys.log('🦊')\nsys.dial('desk@local')\n"


under_way: list[str] = []
"""Sources with `held` in them that are checked just now."""


async def checker(language: Language, source: str) -> Sequence[Problem]:
    """Finds fault with `wrong` and with two of `held` at a time, and takes no end of time with
    `slow`."""
    if source == "slow":
        await asyncio.Event().wait()
    if "held" in source:
        under_way.append(source)
        await asyncio.sleep(0.05)
        alone = under_way == [source]
        under_way.remove(source)
        return () if alone else [Problem("there is another one")]
    if language is Language.PYTHON and "wrong" in source:
        return [Problem("this is wrong", 2, 7), Problem("and so is all of it")]
    return ()


@pytest.fixture
async def rig(database: str) -> AsyncIterator[Rig]:
    async with running(database, checker=checker) as started:
        yield started


async def make(client: httpx.AsyncClient, name: str = "Out", **more: Any) -> dict[str, Any]:
    body = {"name": name, "language": "python", "source": SOURCE} | more
    answer = await client.post(PATH, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{PATH}/{made['id']}"
    return made


async def patch(client: httpx.AsyncClient, made: dict[str, Any], **changes: Any) -> httpx.Response:
    return await client.patch(f"{PATH}/{made['id']}", json=changes)


def told(rig: Rig) -> list[str]:
    found = [p for p in rig.published if isinstance(p, DirectoryChanged)]
    rig.published.clear()
    return [p.key for p in found if p.kind == "dialplan"]


async def test_a_dialplan_is_saved_and_read_as_it_was_written(
    rig: Rig, alice: httpx.AsyncClient
) -> None:
    made = await make(alice, "My first-plan.2")
    assert made["version"] == 1
    assert made["owner"] == "alice"
    read = (await alice.get(f"{PATH}/{made['id']}")).json()
    assert read == made
    assert read["source"] == SOURCE
    listed = (await alice.get(PATH)).json()
    assert listed == {"items": [{k: v for k, v in made.items() if k != "source"}], "total": 1}
    found = await rig.service.programs.dialplan("alice", "MY FIRST-PLAN.2")
    assert found is not None
    assert (found.id, found.source, found.version) == (made["id"], SOURCE, 1)
    assert (found.language, found.timezone) == (Language.PYTHON, "UTC")
    assert (found.max_executions, found.may_email) == (5, False)
    assert await rig.service.programs.dialplan("bob", "My first-plan.2") is None


async def test_one_program_of_a_user_is_checked_at_a_time(alice: httpx.AsyncClient) -> None:
    work = (make(alice, f"p{number}", source=f"held {number}") for number in range(3))
    assert len(await asyncio.gather(*work)) == 3


async def test_what_its_runs_may_do_is_the_customers(
    rig: Rig, admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    await make(alice)
    changes = {"max_executions": 7, "may_email": True}
    assert (await admin.patch("/api/v1/customers/alice", json=changes)).status_code == 200
    zone = await alice.patch("/api/v1/customers/alice", json={"timezone": "Europe/Dublin"})
    assert zone.json()["timezone"] == "Europe/Dublin"
    nowhere = await alice.patch("/api/v1/customers/alice", json={"timezone": "Europe/Atlantis"})
    assert (nowhere.status_code, nowhere.json()["field"]) == (422, "timezone")
    found = await rig.service.programs.dialplan("alice", "out")
    assert found is not None
    assert (found.timezone, found.max_executions, found.may_email) == ("Europe/Dublin", 7, True)


async def test_a_name_is_the_owners_own_whatever_its_case(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    made = await make(alice)
    again = await alice.post(PATH, json={"name": "OUT", "language": "lines", "source": ""})
    assert (again.status_code, again.json()["field"]) == (409, "name")
    await make(bob)
    other = await make(alice, "In")
    assert (await patch(alice, other, name="oUt")).status_code == 409
    assert (await patch(alice, made, name="oUt")).json()["name"] == "oUt"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a/b"),
        ("name", "ä"),
        ("name", "x" * 65),
        ("language", "cobol"),
        ("source", "x" * 65_537),
        ("source", "a\0b"),
        ("comment", "a\r\nb"),
        ("max_executions", 1),
    ],
)
async def test_a_bad_value_is_refused_and_named(
    alice: httpx.AsyncClient, field: str, value: object
) -> None:
    body = {"name": "Out", "language": "python", "source": SOURCE} | {field: value}
    answer = await alice.post(PATH, json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert (await alice.get(PATH)).json()["total"] == 0


async def test_a_program_with_faults_is_refused_at_their_places(
    alice: httpx.AsyncClient,
) -> None:
    body = {"name": "Out", "language": "python", "source": "wrong"}
    answer = await alice.post(PATH, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {
            "field": "source",
            "detail": "line 2, column 7: this is wrong",
            "line": 2,
            "column": 7,
        },
        {"field": "source", "detail": "and so is all of it"},
    ]
    made = await make(alice, language="lines", source="wrong")
    # what was right in one language is checked again for another
    assert (await patch(alice, made, language="python")).status_code == 422
    assert (await alice.get(f"{PATH}/{made['id']}")).json() == made


async def test_a_check_that_takes_no_end_of_time_is_given_up(
    alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialplans, "CHECK_SECONDS", 0.01)
    body = {"name": "Out", "language": "python", "source": "slow"}
    answer = await alice.post(PATH, json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, "source")


async def test_each_save_is_a_version_and_any_can_be_published_again(
    rig: Rig, alice: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    made = await make(alice, comment="first")
    rig.clock.now += 60
    second = await patch(admin, made, source="two", comment="by the admin")
    assert second.json()["version"] == 2
    await rig.delivered()
    told(rig)
    back = await alice.post(f"{PATH}/{made['id']}/rollback", json={"version": 1})
    assert (back.status_code, back.json()["version"]) == (200, 1)
    assert back.json()["source"] == SOURCE
    await rig.delivered()
    assert told(rig) == ["alice/Out"]
    found = await rig.service.programs.dialplan("alice", "Out")
    assert found is not None
    assert (found.version, found.source) == (1, SOURCE)
    assert (await patch(alice, made, source="three")).json()["version"] == 3
    versions = (await alice.get(f"{PATH}/{made['id']}/versions")).json()
    assert versions["total"] == 3
    assert [(v["version"], v["author"], v["comment"]) for v in versions["items"]] == [
        (3, "alice", ""), (2, "admin", "by the admin"), (1, "alice", "first"),
    ]  # fmt: skip
    assert "source" not in versions["items"][0]
    assert [v["published"] for v in versions["items"]] == [True, False, False]
    one = (await alice.get(f"{PATH}/{made['id']}/versions/2")).json()
    assert (one["source"], one["language"], one["published"]) == ("two", "python", False)
    await alice.post(f"{PATH}/{made['id']}/rollback", json={"version": 2})
    versions = (await alice.get(f"{PATH}/{made['id']}/versions")).json()
    assert [v["published"] for v in versions["items"]] == [False, True, False]
    assert (await alice.get(f"{PATH}/{made['id']}/versions/2")).json()["published"]
    for missing in (4, 0):
        answer = await alice.get(f"{PATH}/{made['id']}/versions/{missing}")
        assert answer.status_code in (404, 422)
    gone = await alice.post(f"{PATH}/{made['id']}/rollback", json={"version": 9})
    assert gone.status_code == 404


async def test_what_changes_no_program_makes_no_version(rig: Rig, alice: httpx.AsyncClient) -> None:
    made = await make(alice)
    same = await patch(alice, made, source=SOURCE.replace("\n", "\r\n"), name="Other")
    assert same.json()["version"] == 1
    await rig.delivered()
    assert told(rig)[-2:] == ["alice/Out", "alice/Other"]


async def test_the_newest_versions_are_kept_and_the_one_that_was_published_before(
    alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialplans, "KEEP_VERSIONS", 3)
    made = await make(alice)
    for number in range(2, 5):
        await patch(alice, made, source=str(number))
    await alice.post(f"{PATH}/{made['id']}/rollback", json={"version": 2})
    for number in range(5, 8):
        back = await alice.post(f"{PATH}/{made['id']}/rollback", json={"version": 2})
        assert back.status_code == 200
        assert (await patch(alice, made, source=str(number))).json()["version"] == number
    versions = (await alice.get(f"{PATH}/{made['id']}/versions")).json()
    assert [v["version"] for v in versions["items"]] == [7, 6, 5, 2]
    await patch(alice, made, source="8")
    versions = (await alice.get(f"{PATH}/{made['id']}/versions")).json()
    assert [v["version"] for v in versions["items"]] == [8, 7, 6]


async def test_of_two_editors_the_later_one_learns_of_the_other(
    alice: httpx.AsyncClient,
) -> None:
    made = await make(alice)
    first = await patch(alice, made, source="mine", expected_version=1)
    second = await patch(alice, made, source="yours", expected_version=1)
    assert (first.status_code, second.status_code) == (200, 409)
    assert second.json()["field"] == "expected_version"
    assert (await alice.get(f"{PATH}/{made['id']}")).json()["source"] == "mine"


async def test_accounts_and_providers_follow_a_new_name_and_keep_a_dialplan_alive(
    rig: Rig, alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    made, theirs = await make(alice), await make(bob)
    for client, username in ((alice, "desk"), (bob, "bobs")):
        body = {"username": username, "password": "rosebud", "out_dialplan": "OUT"}
        assert (await client.post("/api/v1/sip-accounts", json=body)).status_code == 201
    provider = {"name": "p", "server": "sip.example.com", "username": "1", "in_dialplan": "out"}
    assert (await alice.post("/api/v1/providers", json=provider)).status_code == 201
    refused = await alice.delete(f"{PATH}/{made['id']}")
    assert refused.status_code == 409
    assert "desk@local, provider p use" in refused.json()["detail"]
    assert "bobs" not in refused.text
    assert (await patch(alice, made, name="Outward")).status_code == 200
    account = await rig.service.directory.account("desk", "local")
    assert account is not None
    assert account.out_dialplan == "Outward"
    assert (await rig.service.programs.providers("alice"))[0].in_dialplan == "Outward"
    others = await rig.service.directory.account("bobs", "local")
    assert others is not None
    assert others.out_dialplan == "OUT"
    account_id = (await alice.get("/api/v1/sip-accounts")).json()["items"][0]["id"]
    await alice.patch(f"/api/v1/sip-accounts/{account_id}", json={"out_dialplan": None})
    provider_id = (await alice.get("/api/v1/providers")).json()["items"][0]["id"]
    assert (await alice.delete(f"/api/v1/providers/{provider_id}")).status_code == 204
    assert (await alice.delete(f"{PATH}/{made['id']}")).status_code == 204
    assert (await alice.get(PATH)).json()["total"] == 0
    assert (await bob.get(f"{PATH}/{theirs['id']}")).status_code == 200


async def test_a_dialplan_that_is_not_there_is_refused_with_those_that_are(
    rig: Rig, admin: httpx.AsyncClient, alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    accounts, body = "/api/v1/sip-accounts", {"username": "desk", "password": "rosebud"}
    none = await alice.post(accounts, json=body | {"in_dialplan": "Out"})
    assert (none.status_code, none.json()["field"]) == (422, "in_dialplan")
    assert none.json()["errors"][0]["detail"] == "alice has no dialplan 'Out'; there is none yet"
    await make(bob)  # another's is none of hers
    await make(alice)
    await make(alice, "Evening")
    wrong = {"in_dialplan": "Evning", "out_dialplan": "Aut"}
    refused = await alice.post(accounts, json=body | wrong)
    assert [error["field"] for error in refused.json()["errors"]] == [*wrong]
    assert "alice has no dialplan 'Evning'; there is Evening, Out" in refused.text
    made = await alice.post(accounts, json=body | {"in_dialplan": "evening"})
    where = f"{accounts}/{made.json()['id']}"
    again = await alice.patch(where, json=wrong)
    assert (again.status_code, again.json()["field"]) == (422, "in_dialplan")
    assert (await alice.get(where)).json()["in_dialplan"] == "evening"
    # what is there is nobody's mistake now, unless it comes to another owner
    same = await alice.patch(where, json={"in_dialplan": "evening", "enabled": False})
    assert same.status_code == 200
    given = await admin.patch(where, json={"owner": "bob"})
    assert (given.status_code, given.json()["field"]) == (422, "in_dialplan")
    moved = await admin.patch(where, json={"owner": "bob", "in_dialplan": "OUT"})
    assert moved.status_code == 200
    provider = {"name": "p", "server": "sip.example.com", "username": "1"}
    refused = await alice.post("/api/v1/providers", json=provider | {"in_dialplan": "in"})
    assert (refused.status_code, refused.json()["field"]) == (422, "in_dialplan")
    assert (await alice.post("/api/v1/providers", json=provider)).status_code == 201


async def test_a_customer_has_so_many_and_no_more(
    admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    await admin.patch("/api/v1/customers/alice", json={"max_dialplans": 2})
    await make(alice, "one")
    await make(alice, "two")
    body = {"name": "three", "language": "python", "source": ""}
    assert (await alice.post(PATH, json=body)).status_code == 409
    # nor by somebody else's hand
    assert (await admin.post(PATH, json=body | {"owner": "alice"})).status_code == 409
    await admin.patch("/api/v1/customers/alice", json={"max_dialplans": None})
    await make(admin, "three", owner="alice")
    assert (await alice.get(PATH)).json()["total"] == 3


async def test_they_go_with_their_customer(
    rig: Rig, admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    made = await make(alice)
    await patch(alice, made, source="two")
    assert (await admin.delete("/api/v1/customers/alice")).status_code == 204
    await rig.delivered()
    assert told(rig)[-1] == "alice/Out"
    assert await rig.service.programs.dialplan("alice", "out") is None
    again = {"username": "alice", "password": CUSTOMER_PASSWORD}
    assert (await admin.post("/api/v1/customers", json=again)).status_code == 201
    assert (await admin.get(PATH)).json()["total"] == 0


async def test_a_line_dialplan_is_checked_by_who_runs_it(database: str) -> None:
    async with running(database) as rig, await rig.admin() as admin:
        body = {"name": "lines", "language": "lines", "source": "exten => _X.,1,Dial(a@b"}
        answer = await admin.post(PATH, json=body)
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert (error["field"], error["line"]) == ("source", 1)
        assert error["column"] > 0
        await make(admin, "right", language="lines", source="exten => _X.,1,Dial(a@b)")
