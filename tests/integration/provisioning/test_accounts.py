"""SIP accounts through the API, on a real database."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tandem.rpc.directory import DirectoryChanged
from tandem.sip.digest import ha1
from tests.support.provisioning import Rig

ACCOUNTS = "/api/v1/sip-accounts"
PHONE = {"username": "desk", "password": "rosebud"}


async def test_an_account_is_made_read_changed_and_deleted(alice: httpx.AsyncClient) -> None:
    made = await alice.post(ACCOUNTS, json=PHONE | {"ip_acl": ["192.0.2.1/24"]})
    assert made.status_code == 201
    account = made.json()
    assert account["ip_acl"] == ["192.0.2.0/24"]
    assert account["domain"] == "local"
    assert account["owner"] == "alice"
    assert account["created_at"] == "2027-01-15T08:00:00Z"
    where = made.headers["location"]
    assert where == f"/api/v1/sip-accounts/{account['id']}"
    assert (await alice.get(where)).json() == account
    dialplan = {"name": "evening", "language": "python", "source": ""}
    assert (await alice.post("/api/v1/dialplans", json=dialplan)).status_code == 201
    changed = await alice.patch(where, json={"enabled": False, "in_dialplan": "evening"})
    assert changed.json() == account | {"enabled": False, "in_dialplan": "evening"}
    assert (await alice.get(ACCOUNTS)).json() == {
        "items": [changed.json()],
        "total": 1,
    }
    assert (await alice.delete(where)).status_code == 204
    assert (await alice.get(where)).status_code == 404


async def test_no_answer_holds_the_password_or_a_hash_of_it(alice: httpx.AsyncClient) -> None:
    made = await alice.post(ACCOUNTS, json=PHONE)
    listed = await alice.get(ACCOUNTS)
    for answer in (made, listed):
        assert "rosebud" not in answer.text
        assert "ha1" not in answer.text
        assert ha1("MD5", "desk", "local", "rosebud") not in answer.text


async def test_the_switch_gets_the_digest_hashes_of_all_algorithms(
    rig: Rig, alice: httpx.AsyncClient
) -> None:
    await alice.post(ACCOUNTS, json=PHONE | {"username": "Desk"})
    account = await rig.service.directory.account("dEsK", "local")
    assert account is not None
    assert account.username == "Desk"
    for algorithm in ("MD5", "SHA-256", "SHA-512-256"):
        assert account.ha1[algorithm] == ha1(algorithm, "Desk", "local", "rosebud")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"username": "a b"}, "username"),
        ({"username": "evil\r\nVia: x"}, "username"),
        ({"username": "Dispatcher"}, "username"),
        ({"username": "x" * 65}, "username"),
        ({"username": ".x"}, "username"),
        ({"username": None}, "username"),
        ({"password": "short"}, "password"),
        ({"password": "DESK"}, "password"),
        ({"username": "rosebud"}, "password"),
        ({"password": "line\nbreak"}, "password"),
        ({"domain": "elsewhere.example"}, "domain"),
        ({"domain": "not a host"}, "domain"),
        ({"max_bindings": 0}, "max_bindings"),
        ({"max_bindings": 10**30}, "max_bindings"),
        ({"max_bindings": "many"}, "max_bindings"),
        ({"max_call_seconds": -1}, "max_call_seconds"),
        ({"ip_acl": ["192.0.2.0/33"]}, "ip_acl"),
        ({"ip_acl": ["0.0.0.0/0"]}, "ip_acl"),
        ({"ip_acl": "192.0.2.0/24"}, "ip_acl"),
        ({"in_dialplan": "a\nb"}, "in_dialplan"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_bad_value_is_refused_and_its_field_named(
    alice: httpx.AsyncClient, values: dict[str, Any], field: str
) -> None:
    answer = await alice.post(ACCOUNTS, json=PHONE | values)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == field
    assert (await alice.get(ACCOUNTS)).json()["total"] == 0


async def test_the_same_name_in_another_case_is_a_conflict_naming_the_field(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    await alice.post(ACCOUNTS, json=PHONE)
    answer = await bob.post(ACCOUNTS, json=PHONE | {"username": "DESK"})
    assert answer.status_code == 409
    assert answer.json()["field"] == "username"


async def test_of_two_posts_of_a_name_at_once_one_wins(rig: Rig, alice: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(alice.post(ACCOUNTS, json=PHONE) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert (await alice.get(ACCOUNTS)).json()["total"] == 1


async def test_a_new_user_name_needs_the_password_again(rig: Rig, alice: httpx.AsyncClient) -> None:
    where = (await alice.post(ACCOUNTS, json=PHONE)).headers["location"]
    refused = await alice.patch(where, json={"username": "hall"})
    assert refused.status_code == 422
    assert refused.json()["field"] == "password"
    both = {"username": "hall", "password": "xanadu"}
    assert (await alice.patch(where, json=both)).status_code == 200
    account = await rig.service.directory.account("hall", "local")
    assert account is not None
    assert account.ha1["MD5"] == ha1("MD5", "hall", "local", "xanadu")
    assert await rig.service.directory.account("desk", "local") is None


async def test_the_name_as_it_was_needs_no_password(alice: httpx.AsyncClient) -> None:
    where = (await alice.post(ACCOUNTS, json=PHONE)).headers["location"]
    answer = await alice.patch(where, json={"username": "desk", "domain": "local"})
    assert answer.status_code == 200


async def test_renaming_onto_another_account_is_a_conflict(alice: httpx.AsyncClient) -> None:
    await alice.post(ACCOUNTS, json=PHONE)
    second = await alice.post(ACCOUNTS, json=PHONE | {"username": "hall"})
    values = {"username": "desk", "password": "xanadu"}
    answer = await alice.patch(second.headers["location"], json=values)
    assert (answer.status_code, answer.json()["field"]) == (409, "username")


async def test_a_dotted_name_may_not_capture_the_calls_of_another(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    await alice.post(ACCOUNTS, json=PHONE)
    captor = PHONE | {"username": "work.DESK"}
    assert (await bob.post(ACCOUNTS, json=captor)).status_code == 409
    assert (await alice.post(ACCOUNTS, json=captor)).status_code == 201


async def test_only_an_administrator_gives_an_account_to_another(
    admin: httpx.AsyncClient, alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    refused = await alice.post(ACCOUNTS, json=PHONE | {"owner": "bob"})
    assert (refused.status_code, refused.json()["field"]) == (403, "owner")
    made = await admin.post(ACCOUNTS, json=PHONE | {"owner": "bob"})
    where = made.headers["location"]
    assert (await bob.get(where)).status_code == 200
    assert (await bob.patch(where, json={"owner": "alice"})).status_code == 403
    assert (await admin.patch(where, json={"owner": "alice"})).status_code == 200
    assert (await bob.get(where)).status_code == 404
    nobody = await admin.patch(where, json={"owner": "nobody"})
    assert (nobody.status_code, nobody.json()["field"]) == (422, "owner")


async def test_an_alias_of_a_domain_is_stored_as_the_domain(
    admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    await admin.post(
        "/api/v1/domains", json={"name": "Example.com", "aliases": ["sip.example.com"]}
    )
    made = await alice.post(ACCOUNTS, json=PHONE | {"domain": "SIP.example.com"})
    assert made.json()["domain"] == "example.com"


async def test_lists_are_cut_by_offset_and_count(alice: httpx.AsyncClient) -> None:
    for name in ("c", "A", "b"):
        await alice.post(ACCOUNTS, json=PHONE | {"username": name})
    answer = (await alice.get(ACCOUNTS, params={"offset": 1, "count": 1})).json()
    assert [item["username"] for item in answer["items"]] == ["b"]
    assert answer["total"] == 3
    beyond = await alice.get(ACCOUNTS, params={"count": 1001})
    assert (beyond.status_code, beyond.json()["field"]) == (422, "count")


async def test_every_change_is_told_on_the_bus_after_it_was_made(
    rig: Rig, alice: httpx.AsyncClient
) -> None:
    made = await alice.post(ACCOUNTS, json=PHONE | {"username": "Desk"})
    where = made.headers["location"]
    await alice.patch(where, json={"username": "hall", "password": "xanadu"})
    await alice.delete(where)
    await rig.bus.close()
    keys = [p.key for p in rig.published if isinstance(p, DirectoryChanged)]
    assert keys[-4:] == ["desk@local", "desk@local", "hall@local", "hall@local"]
