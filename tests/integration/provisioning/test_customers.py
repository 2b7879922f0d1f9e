"""Customers through the API."""

from __future__ import annotations

import httpx

from tandem.rpc.directory import DirectoryChanged
from tests.support.provisioning import CUSTOMER_PASSWORD, Rig

CUSTOMERS = "/api/v1/customers"


async def test_an_administrator_lists_them_by_name(
    admin: httpx.AsyncClient, bob: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    page = (await admin.get(CUSTOMERS)).json()
    assert [item["id"] for item in page["items"]] == ["admin", "alice", "bob"]
    assert page["total"] == 3
    assert "password" not in str(page)


async def test_a_user_name_is_given_once_whatever_its_case(
    admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    values = {"username": "ALICE", "password": CUSTOMER_PASSWORD}
    answer = await admin.post(CUSTOMERS, json=values)
    assert (answer.status_code, answer.json()["field"]) == (409, "username")


async def test_a_customer_changes_its_own_name_and_e_mail_but_not_its_password(
    alice: httpx.AsyncClient,
) -> None:
    where = f"{CUSTOMERS}/alice"
    values = {"name": "Alice Liddell", "email": "alice@example.com"}
    changed = (await alice.patch(where, json=values)).json()
    assert changed == (await alice.get("/api/v1/me")).json()
    assert (changed["name"], changed["email"]) == ("Alice Liddell", "alice@example.com")
    refused = await alice.patch(where, json={"password": "open barley"})
    assert (refused.status_code, refused.json()["field"]) == (403, "password")


async def test_an_administrator_sets_a_password_and_the_sessions_end(
    rig: Rig, admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    where = f"{CUSTOMERS}/alice"
    assert (await admin.patch(where, json={"password": "Alice"})).status_code == 422
    assert (await alice.get("/api/v1/me")).status_code == 200
    assert (await admin.patch(where, json={"password": "open barley"})).status_code == 200
    assert (await alice.get("/api/v1/me")).status_code == 401
    async with await rig.login("alice", "open barley") as again:
        assert (await again.get("/api/v1/me")).status_code == 200


async def test_the_switch_is_told_of_a_limit_and_reads_it(
    rig: Rig, admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    await alice.post("/api/v1/sip-accounts", json={"username": "desk", "password": "rosebud"})
    await admin.patch(f"{CUSTOMERS}/alice", json={"max_calls": 2})
    account = await rig.service.directory.account("desk", "local")
    assert account is not None
    assert account.max_calls == 2
    await rig.bus.close()
    assert rig.published[-1] == DirectoryChanged("customer", "alice")


async def test_a_second_administrator_frees_the_first(
    rig: Rig, admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    assert (await admin.patch(f"{CUSTOMERS}/alice", json={"admin": True})).status_code == 200
    assert (await alice.delete(f"{CUSTOMERS}/admin")).status_code == 204
    assert (await admin.get("/api/v1/me")).status_code == 401
    assert await rig.service.ensure_administrator(None) is None
    assert (await alice.get(CUSTOMERS)).json()["total"] == 1


async def test_an_api_key_is_read_renamed_and_made_for_others_by_administrators_only(
    admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    keys = "/api/v1/api-keys"
    made = await admin.post(keys, json={"name": "theirs", "owner": "alice"})
    where = made.headers["location"]
    renamed = await alice.patch(where, json={"name": "mine"})
    assert renamed.json() == (await alice.get(where)).json()
    assert renamed.json()["name"] == "mine"
    refused = await alice.post(keys, json={"name": "x", "owner": "admin"})
    assert (refused.status_code, refused.json()["field"]) == (403, "owner")
    nobody = await admin.post(keys, json={"name": "x", "owner": "nobody"})
    assert (nobody.status_code, nobody.json()["field"]) == (422, "owner")
