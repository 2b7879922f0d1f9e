"""tandem.rpc.http on its own: WebSockets, other spellings, a directory that is away."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection

from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.http import bearer_token, install, principal
from tandem.rpc.sessions import Principal


class FakeSessions:
    """Knows one token, and can be away."""

    async def verify(self, token: str) -> Principal | None:
        if token == "away":
            raise DirectoryUnavailable("away")
        return Principal("alice") if token == "good" else None


def _connection(kind: str, query: str = "", **headers: str) -> HTTPConnection:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": kind, "headers": raw, "query_string": query.encode()}
    return HTTPConnection(scope)


@pytest.mark.parametrize(
    ("connection", "in_query", "token"),
    [
        (_connection("http", authorization="Bearer t"), False, "t"),
        (_connection("http", authorization="bearer  t "), False, "t"),
        (_connection("http", x_api_key="k"), False, "k"),
        (_connection("http", "access_token=q"), False, None),
        (_connection("http", "access_token=q"), True, "q"),
        (_connection("websocket", "access_token=q"), False, "q"),
        (_connection("websocket", "access_token=q", authorization="Bearer t"), False, "t"),
        (_connection("http", "access_token=q", accept="text/event-stream"), False, "q"),
        (_connection("http"), True, None),
    ],
)
def test_a_token_is_found_where_it_may_be(
    connection: HTTPConnection, in_query: bool, token: str | None
) -> None:
    assert bearer_token(connection, in_query=in_query) == token


@pytest.mark.parametrize(
    ("token", "status"), [("good", 200), ("bad", 401), ("away", 503), ("", 401)]
)
async def test_the_dependency_gives_a_principal_or_a_problem(token: str, status: int) -> None:
    app = FastAPI()
    install(app)
    needed = Depends(principal(FakeSessions()))

    async def who(caller: Any) -> str:
        assert isinstance(caller, Principal)
        return caller.username

    who.__annotations__ = {"caller": Annotated[Principal, needed], "return": str}
    app.get("/")(who)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://tandem.test"
    ) as client:
        answer = await client.get("/", headers={"x-api-key": token})
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (status == 503)
