"""What all surfaces share: problem documents, body limits, tokens; and the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from tandem.rpc.http import MAX_BODY_BYTES
from tests.support.provisioning import Rig, sqlite_in


@pytest.fixture
def database(tmp_path: Path) -> str:
    """SQLite: what is tested here does not look into the database."""
    return sqlite_in(tmp_path)


LOGIN = "/api/v1/login"


class Numbers(BaseModel):
    """A body."""

    numbers: list[int]


@pytest.fixture
async def anybody(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    _add_routes(rig.app)
    async with rig.client() as client:
        yield client


def _add_routes(app: FastAPI) -> None:
    async def crash() -> None:
        raise KeyError("secret detail")

    async def add(body: Numbers) -> int:
        return sum(body.numbers)

    add.__annotations__ = {"body": Numbers, "return": int}
    app.get("/crash")(crash)
    app.post("/add")(add)


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "field"),
    [
        ("GET", "/nowhere", b"", 404, None),
        ("DELETE", LOGIN, b"", 405, None),
        ("GET", "/crash", b"", 500, None),
        ("POST", LOGIN, b"{", 422, "body"),
        ("POST", LOGIN, b"[]", 422, "body"),
        ("POST", LOGIN, b"", 422, "body"),
        ("POST", LOGIN, b'{"username":"x"}', 422, "password"),
        ("POST", LOGIN, b'{"username":"x","password":7}', 422, "password"),
        ("POST", LOGIN, b'{"username":"\\ud800","password":"x"}', 422, "username"),
        ("POST", LOGIN, b'{"username":"x","password":"x","\\ud800":1}', 422, "body"),
        ("POST", LOGIN, b'{"username":"x\\u0000","password":"x"}', 422, "username"),
        ("POST", "/add", b'{"numbers":[1,"x"]}', 422, "numbers.1"),
        ("POST", "/add", b'{"numbers":[' + b'"x",' * 500 + b'"x"]}', 422, "numbers.0"),
        ("POST", LOGIN, b" " * (MAX_BODY_BYTES + 1), 413, None),
    ],
)
async def test_every_error_is_a_problem_document(
    anybody: httpx.AsyncClient,
    method: str,
    path: str,
    content: bytes,
    status: int,
    field: str | None,
) -> None:
    headers = {"content-type": "application/json"}
    answer = await anybody.request(method, path, content=content, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem.get("field")) == (status, field)
    assert problem["title"]
    assert len(problem.get("errors", [])) <= 20
    assert "secret detail" not in answer.text


async def test_a_body_of_unknown_length_is_cut_off_too(anybody: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 10 * MAX_BODY_BYTES:
            sent += 10_000
            yield b" " * 10_000

    answer = await anybody.post(LOGIN, content=endless())
    assert answer.status_code == 413


@pytest.mark.parametrize("header", ["Basic x", "Bearer", "Bearer ", "Bearer " + "x" * 600, "x"])
async def test_what_is_no_bearer_token_is_no_token(anybody: httpx.AsyncClient, header: str) -> None:
    answer = await anybody.get("/api/v1/me", headers={"authorization": header})
    assert answer.status_code == 401


async def test_a_token_in_the_address_counts_for_event_streams_only(
    rig: Rig, alice: httpx.AsyncClient
) -> None:
    token = alice.headers["authorization"].removeprefix("Bearer ")
    async with rig.client() as anybody:
        params = {"access_token": token}
        assert (await anybody.get("/api/v1/me", params=params)).status_code == 401
        stream = {"accept": "text/event-stream"}
        answer = await anybody.get("/api/v1/me", params=params, headers=stream)
        assert answer.status_code == 200


async def test_the_openapi_document_tells_every_operation_and_field(
    anybody: httpx.AsyncClient,
) -> None:
    document = (await anybody.get("/openapi.json")).json()
    operations = {
        (method, path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if path.startswith("/api/v1/")
    }
    assert len(operations) == 58
    for operation in operations.values():
        assert operation["summary"]
        assert operation["description"]
        assert "401" in operation["responses"]
    fields = document["components"]["schemas"]["NewAccount"]["properties"]
    assert all(field["description"] for field in fields.values())
    assert document["components"]["schemas"]["NewAccount"]["required"] == ["username", "password"]
    times = document["components"]["schemas"]["AccountView"]["properties"]["created_at"]
    assert (times["type"], times["format"]) == ("string", "date-time")


async def test_docstrings_for_programmers_do_not_leak_markup(anybody: httpx.AsyncClient) -> None:
    text = (await anybody.get("/openapi.json")).text
    assert not re.search(r"Raises [A-Z]", text)
