"""The key/value store of a customer, by people and by dialplans."""

from __future__ import annotations

import httpx
import pytest

from tests.support.provisioning import Rig

PATH = "/api/v1/values"


async def put(client: httpx.AsyncClient, key: str, value: str, query: str = "") -> httpx.Response:
    return await client.put(f"{PATH}/{key}{query}", json={"value": value})


async def test_people_and_dialplans_see_the_same(rig: Rig, alice: httpx.AsyncClient) -> None:
    programs = rig.service.programs
    answer = await put(alice, "holiday%2F2026", "no 🦊\r\n\tyet ")
    assert (answer.status_code, answer.json()["key"]) == (200, "holiday/2026")
    assert await programs.read_value("alice", "holiday/2026") == "no 🦊\r\n\tyet "
    assert await programs.write_value("alice", "holiday/2026", "") is True
    assert (await alice.get(f"{PATH}/holiday%2F2026")).json()["value"] == ""
    assert await programs.write_value("alice", "a", "1")
    assert await programs.write_value("alice", "A ", "2")
    assert await programs.value_keys("alice") == ["A ", "a", "holiday/2026"]
    listed = (await alice.get(PATH)).json()
    assert [(v["key"], v["value"]) for v in listed["items"]] == [
        ("A ", "2"), ("a", "1"), ("holiday/2026", ""),
    ]  # fmt: skip
    assert (await alice.delete(f"{PATH}/a")).status_code == 204
    assert (await alice.delete(f"{PATH}/a")).status_code == 404
    assert await programs.read_value("alice", "a") is None
    assert await programs.write_value("alice", "a", None) is False
    assert await programs.write_value("alice", "A ", None) is True


async def test_each_customer_has_its_own(
    rig: Rig, admin: httpx.AsyncClient, alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    for client, value in ((alice, "hers"), (bob, "his")):
        assert (await put(client, "key", value)).status_code == 200
    assert (await alice.get(f"{PATH}/key")).json()["value"] == "hers"
    assert (await alice.get(f"{PATH}/key?owner=bob")).status_code == 403
    assert (await admin.get(f"{PATH}/key?owner=bob")).json()["value"] == "his"
    assert (await put(admin, "key", "ours", "?owner=bob")).status_code == 200
    assert (await put(admin, "key", "x", "?owner=nobody")).status_code == 422
    assert await rig.service.programs.read_value("bob", "key") == "ours"
    assert await rig.service.programs.read_value("alice", "key") == "hers"
    assert await rig.service.programs.write_value("nobody", "key", "x") is False
    assert (await admin.get(PATH)).json()["total"] == 2
    await admin.delete("/api/v1/customers/bob")
    assert await rig.service.programs.value_keys("bob") == []


async def test_so_many_keys_and_no_more(rig: Rig, alice: httpx.AsyncClient) -> None:
    programs = rig.service.programs
    for number in range(100):
        assert await programs.write_value("alice", f"k{number}", "x" * 1024)
    assert await programs.write_value("alice", "one too many", "x") is False
    assert (await put(alice, "one too many", "x")).status_code == 409
    assert await programs.write_value("alice", "k7", "🦊" * 1024) is True
    assert await programs.read_value("alice", "k7") == "🦊" * 1024


@pytest.mark.parametrize(
    ("key", "value"),
    [("", "x"), ("k" * 65, "x"), ("a\nb", "x"), ("a\0", "x"), ("k", "x" * 1025), ("k", "a\0b")],
)
async def test_what_can_not_be_kept_is_refused(
    rig: Rig, alice: httpx.AsyncClient, key: str, value: str
) -> None:
    with pytest.raises(ValueError, match="character"):
        await rig.service.programs.write_value("alice", key, value)
    quoted = "".join(f"%{byte:02X}" for byte in key.encode())
    assert (await put(alice, quoted, value)).status_code in (404, 405, 422)
    if key != "k":
        assert await rig.service.programs.read_value("alice", key) is None
        assert (await alice.get(f"{PATH}/{quoted}")).status_code in (200, 404)
    assert (await alice.get(PATH)).json()["total"] == 0
