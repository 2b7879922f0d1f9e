"""A customer neither sees nor changes what is another's, nor learns that it exists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tandem.bus.location import BindingStored
from tandem.bus.ports import Topic
from tests.support.location import a_binding
from tests.support.provisioning import Rig, sqlite_in


@pytest.fixture
def database(tmp_path: Path) -> str:
    """SQLite: what is tested here does not look into the database."""
    return sqlite_in(tmp_path)


@dataclass(frozen=True)
class Resource:
    """How to make one for alice, and change it."""

    path: str
    new: dict[str, Any] | None
    change: dict[str, Any]


RESOURCES = [
    Resource("sip-accounts", {"username": "desk", "password": "rosebud"}, {"enabled": False}),
    Resource("api-keys", {"name": "backup"}, {"name": "mine now"}),
    Resource("customers", None, {"name": "Mallory"}),
    Resource(
        "dialplans",
        {"name": "Out", "language": "python", "source": "sys.log('x')"},
        {"name": "mine"},
    ),
    Resource(
        "providers", {"name": "p", "server": "sip.example.com", "username": "1"}, {"enabled": False}
    ),
    Resource("domains", {"name": "alice.example", "owner": "alice"}, {"owner": "bob"}),
]


@pytest.fixture
def clients(
    admin: httpx.AsyncClient, alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> dict[str, httpx.AsyncClient]:
    return {"admin": admin, "alice": alice, "bob": bob}


async def _make(resource: Resource, clients: dict[str, httpx.AsyncClient]) -> str:
    """Make what is alice's; its address."""
    if resource.new is None:
        return f"/api/v1/{resource.path}/alice"
    maker = clients["admin" if resource.path == "domains" else "alice"]
    answer = await maker.post(f"/api/v1/{resource.path}", json=resource.new)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["location"])


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: r.path)
async def test_anothers_is_answered_just_as_one_that_is_not_there(
    resource: Resource, clients: dict[str, httpx.AsyncClient]
) -> None:
    where, bob = await _make(resource, clients), clients["bob"]
    before = (await clients["alice"].get(where)).json()
    nowhere = f"/api/v1/{resource.path}/nobodys.example"
    for method, body in (("GET", None), ("PATCH", resource.change), ("DELETE", None)):
        theirs = await bob.request(method, where, json=body)
        nobodys = await bob.request(method, nowhere, json=body)
        assert theirs.status_code == 404, method
        assert theirs.text == nobodys.text
    assert (await clients["alice"].get(where)).json() == before


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: r.path)
async def test_the_owner_and_the_administrator_see_it(
    resource: Resource, clients: dict[str, httpx.AsyncClient]
) -> None:
    where = await _make(resource, clients)
    for name in ("alice", "admin"):
        assert (await clients[name].get(where)).status_code == 200


@pytest.mark.parametrize("path", ["sip-accounts", "api-keys", "domains", "dialplans", "providers"])
async def test_a_list_holds_and_counts_the_callers_own_only(
    path: str, clients: dict[str, httpx.AsyncClient]
) -> None:
    resource = next(r for r in RESOURCES if r.path == path)
    others = (await clients["bob"].get(f"/api/v1/{path}")).json()
    await _make(resource, clients)
    assert (await clients["bob"].get(f"/api/v1/{path}")).json() == others
    assert (await clients["alice"].get(f"/api/v1/{path}")).json()["total"] == others["total"] + 1


async def test_bindings_are_seen_by_their_owner_only(
    rig: Rig, clients: dict[str, httpx.AsyncClient]
) -> None:
    rig.bus.publish(Topic.LOCATION, BindingStored(a_binding(rig.clock.now, owner="alice")))
    await rig.bus.close()
    totals = {
        name: (await client.get("/api/v1/bindings")).json()["total"]
        for name, client in clients.items()
    }
    assert totals == {"admin": 1, "alice": 1, "bob": 0}


async def test_a_domain_of_another_can_not_be_used(
    clients: dict[str, httpx.AsyncClient],
) -> None:
    await _make(next(r for r in RESOURCES if r.path == "domains"), clients)
    account = {"username": "desk", "password": "rosebud", "domain": "alice.example"}
    unknown = account | {"domain": "nobodys.example"}
    refused = await clients["bob"].post("/api/v1/sip-accounts", json=account)
    nobodys = await clients["bob"].post("/api/v1/sip-accounts", json=unknown)
    assert (refused.status_code, refused.text) == (422, nobodys.text)
    assert (await clients["alice"].post("/api/v1/sip-accounts", json=account)).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "customers", None),
        ("POST", "customers", {"username": "carol", "password": "sesame"}),
        ("POST", "domains", {"name": "carol.example"}),
        ("PATCH", "domains/local", {"aliases": ["carol.example"]}),
        ("DELETE", "domains/local", None),
        ("PATCH", "customers/alice", {"admin": True}),
        ("PATCH", "customers/alice", {"suspended": False}),
        ("PATCH", "customers/alice", {"max_calls": 9}),
        ("PATCH", "customers/alice", {"may_email": True}),
        ("PATCH", "customers/alice", {"max_executions": 100}),
        ("PATCH", "customers/alice", {"max_providers": 1000}),
        ("PUT", "values/key?owner=bob", {"value": "x"}),
        ("GET", "values/key?owner=bob", None),
        ("DELETE", "values/key?owner=bob", None),
        ("DELETE", "customers/alice", None),
    ],
)
async def test_what_is_for_administrators_is_refused_to_others(
    alice: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None
) -> None:
    answer = await alice.request(method, f"/api/v1/{path}", json=body)
    assert answer.status_code == 403
    assert (await alice.get("/api/v1/me")).json()["admin"] is False


@pytest.mark.parametrize(
    "path",
    [
        "me",
        "sip-accounts",
        "customers",
        "domains",
        "api-keys",
        "bindings",
        "dialplans",
        "providers",
        "provider-bindings",
        "values",
    ],
)
@pytest.mark.parametrize("token", [None, "nonsense"])
async def test_nothing_is_told_without_a_valid_token(
    rig: Rig, path: str, token: str | None
) -> None:
    async with rig.client(token) as anybody:
        answer = await anybody.get(f"/api/v1/{path}")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
