"""Whom the HTTP server takes for its client behind a front end: docs/call-manager.md says so."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tandem.runtime.address import HostPort
from tandem.runtime.httpserver import HttpServer

STRANGER = "198.51.100.7"
ROW = {"X-Forwarded-For": f"203.0.113.9, {STRANGER}, 10.7.0.4"}


async def whoami(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the client's address."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["client"][0].encode()})


@pytest.mark.parametrize(
    ("named", "headers", "client"),
    [
        (None, {}, "127.0.0.1"),
        (None, {"X-Forwarded-For": STRANGER}, STRANGER),
        ("10.7.0.0/16", ROW, "127.0.0.1"),
        ("127.0.0.1,10.7.0.0/16", ROW, STRANGER),
        ("127.0.0.1", ROW, "10.7.0.4"),
    ],
)
async def test_the_client_is_the_last_address_that_is_no_front_end(
    monkeypatch: pytest.MonkeyPatch, named: str | None, headers: dict[str, str], client: str
) -> None:
    if named is None:
        monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    else:
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", named)
    server = HttpServer(whoami, HostPort("127.0.0.1", 0))
    await server.start()
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"http://{server.address}/", headers=headers)
        assert answer.text == client
    finally:
        await server.stop()
