"""Login, tokens, API keys, web passwords."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tandem.bus.web_events import LoginFailed
from tests.support.provisioning import ADMIN_PASSWORD, CUSTOMER_PASSWORD, Rig, running, sqlite_in


@pytest.fixture
def database(tmp_path: Path) -> str:
    """SQLite: what is tested here does not look into the database."""
    return sqlite_in(tmp_path)


LOGIN = "/api/v1/login"


def _credentials(password: str = CUSTOMER_PASSWORD, username: str = "alice") -> dict[str, str]:
    return {"username": username, "password": password}


async def test_a_token_works_until_it_expires(rig: Rig) -> None:
    async with rig.client() as anybody:
        answer = await anybody.post(LOGIN, json=_credentials(ADMIN_PASSWORD, "Admin"))
    assert answer.json()["expires_at"] == "2027-01-15T20:00:00Z"
    async with rig.client(answer.json()["token"]) as admin:
        assert (await admin.get("/api/v1/me")).json()["username"] == "admin"
        rig.clock.now += 12 * 3600
        assert (await admin.get("/api/v1/me")).status_code == 401


async def test_a_logout_ends_the_token_at_once(alice: httpx.AsyncClient) -> None:
    assert (await alice.get("/api/v1/me")).status_code == 200
    assert (await alice.post("/api/v1/logout")).status_code == 204
    assert (await alice.get("/api/v1/me")).status_code == 401


async def test_an_unknown_user_and_a_wrong_password_are_told_apart_by_nothing(
    rig: Rig, alice: httpx.AsyncClient
) -> None:
    async with rig.client() as anybody:
        wrong = await anybody.post(LOGIN, json=_credentials("not it at all"))
        unknown = await anybody.post(LOGIN, json=_credentials(username="nobody"))
    assert wrong.status_code == 401
    assert wrong.text == unknown.text


async def test_failed_logins_slow_down_then_lock_and_are_told(
    rig: Rig, alice: httpx.AsyncClient
) -> None:
    async with rig.client() as anybody:
        statuses = [
            (await anybody.post(LOGIN, json=_credentials("guess"))).status_code for _ in range(5)
        ]
        assert statuses == [401, 401, 401, 401, 429]
        locked = await anybody.post(LOGIN, json=_credentials())
        assert (locked.status_code, locked.headers["retry-after"]) == (429, "1")
        rig.clock.now += 1
        assert (await anybody.post(LOGIN, json=_credentials())).status_code == 200
    await rig.bus.close()
    failed = [event for event in rig.published if isinstance(event, LoginFailed)]
    assert len(failed) == 4
    assert (failed[0].username, failed[0].source) == ("alice", "192.0.2.1")


async def test_a_locked_address_locks_out_nobody_elsewhere(
    rig: Rig, alice: httpx.AsyncClient
) -> None:
    async with rig.client() as attacker, rig.client(source="198.51.100.1") as owner:
        for _ in range(5):
            await attacker.post(LOGIN, json=_credentials("guess"))
        assert (await owner.post(LOGIN, json=_credentials())).status_code == 200


async def test_guesses_at_the_same_time_are_counted_all(rig: Rig, alice: httpx.AsyncClient) -> None:
    async with rig.client() as attacker:
        answers = await asyncio.gather(
            *(attacker.post(LOGIN, json=_credentials("guess")) for _ in range(20))
        )
    assert sorted(answer.status_code for answer in answers) == [401] * 4 + [429] * 16


async def test_a_new_password_ends_the_other_sessions(rig: Rig, alice: httpx.AsyncClient) -> None:
    other = await rig.login("alice", CUSTOMER_PASSWORD)
    values = {"old_password": CUSTOMER_PASSWORD, "new_password": "open barley"}
    assert (await alice.post("/api/v1/me/password", json=values)).status_code == 204
    async with other, await rig.login("alice", "open barley"):
        assert (await alice.get("/api/v1/me")).status_code == 200
        assert (await other.get("/api/v1/me")).status_code == 401


async def test_a_new_password_needs_the_old_one_and_keeps_the_rules(
    alice: httpx.AsyncClient,
) -> None:
    for old, new, field in (
        ("not it", "open barley", "old_password"),
        (CUSTOMER_PASSWORD, "short", "new_password"),
        (CUSTOMER_PASSWORD, "x" * 129, "new_password"),
    ):
        values = {"old_password": old, "new_password": new}
        answer = await alice.post("/api/v1/me/password", json=values)
        assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_a_suspended_customer_is_out_at_once_and_told_why(
    rig: Rig, admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    await alice.post("/api/v1/sip-accounts", json={"username": "desk", "password": "rosebud"})
    await admin.patch("/api/v1/customers/alice", json={"suspended": True})
    assert (await alice.get("/api/v1/me")).status_code == 401
    async with rig.client() as anybody:
        answer = await anybody.post(LOGIN, json=_credentials())
    assert answer.status_code == 403
    account = await rig.service.directory.account("desk", "local")
    assert account is not None
    assert account.owner_enabled is False


async def test_an_api_key_is_shown_once_works_expires_and_can_be_ended(
    rig: Rig, alice: httpx.AsyncClient
) -> None:
    body = {"name": "backup", "lifetime_days": 1}
    made = (await alice.post("/api/v1/api-keys", json=body)).json()
    listed = (await alice.get("/api/v1/api-keys")).json()["items"]
    assert made["secret"].startswith(listed[0]["prefix"])
    assert "secret" not in listed[0]
    async with rig.client() as program:
        program.headers["X-API-Key"] = made["secret"]
        assert (await program.get("/api/v1/me")).json()["username"] == "alice"
        rig.clock.now += 24 * 3600
        assert (await program.get("/api/v1/me")).status_code == 401
        rig.clock.now -= 60
        assert (await program.get("/api/v1/me")).status_code == 200
        await program.delete(f"/api/v1/api-keys/{made['id']}")
        assert (await program.get("/api/v1/me")).status_code == 401


async def test_the_last_administrator_can_neither_go_nor_step_down(
    admin: httpx.AsyncClient,
) -> None:
    assert (await admin.delete("/api/v1/customers/admin")).status_code == 409
    for change in ({"admin": False}, {"suspended": True}):
        answer = await admin.patch("/api/v1/customers/admin", json=change)
        assert answer.status_code == 409
    assert (await admin.get("/api/v1/me")).json()["admin"] is True


async def test_a_removed_customer_takes_all_that_was_theirs_along(
    rig: Rig, admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    await alice.post("/api/v1/sip-accounts", json={"username": "desk", "password": "rosebud"})
    await alice.post("/api/v1/api-keys", json={"name": "backup"})
    assert (await admin.delete("/api/v1/customers/alice")).status_code == 204
    assert (await alice.get("/api/v1/me")).status_code == 401
    assert await rig.service.directory.account("desk", "local") is None
    for path in ("sip-accounts", "api-keys"):
        assert (await admin.get(f"/api/v1/{path}")).json()["total"] == 0


async def test_no_secret_is_stored_readable(tmp_path: Path) -> None:
    async with running(sqlite_in(tmp_path)) as rig, await rig.customer("alice") as alice:
        key = (await alice.post("/api/v1/api-keys", json={"name": "backup"})).json()["secret"]
        body = {"username": "desk", "password": "rosebud"}
        await alice.post("/api/v1/sip-accounts", json=body)
        token = alice.headers["authorization"].removeprefix("Bearer ")
        stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"argon2id" in stored
    for secret in (key, token, "rosebud", CUSTOMER_PASSWORD):
        assert secret.encode() not in stored


async def test_a_failed_login_puts_no_line_breaks_into_the_log(rig: Rig) -> None:
    async with rig.client() as anybody:
        await anybody.post(LOGIN, json=_credentials(username="x\r\nadmin logged in" + "y" * 200))
    await rig.bus.close()
    event = rig.published[-1]
    assert isinstance(event, LoginFailed)
    assert event.username.startswith("x??admin logged in")
    assert len(event.username) == 64
