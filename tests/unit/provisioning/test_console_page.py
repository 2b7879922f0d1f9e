"""Where the console's page may ask, and how it learns of it."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from services.provisioning.config import ProvisioningConfig
from services.provisioning.entrypoints.http_console import add_console
from tandem.runtime.config import ConfigError, load

EVENTS = ("https://events1.example.com/", "http://10.0.0.2:8081/tandem")


async def get(path: str, *urls: str) -> httpx.Response:
    app = FastAPI()
    add_console(app, urls)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path)


async def test_the_page_is_told_where_events_are() -> None:
    answer = await get("/console-config.json", *EVENTS)
    assert answer.json() == {
        "events_urls": ["https://events1.example.com", "http://10.0.0.2:8081/tandem"]
    }
    assert (await get("/console-config.json")).json() == {"events_urls": []}


async def test_the_policy_lets_it_ask_there_and_nowhere_else() -> None:
    policy = (await get("/", *EVENTS)).headers["content-security-policy"]
    assert "connect-src 'self' https://events1.example.com http://10.0.0.2:8081;" in policy
    assert "connect-src 'self';" in (await get("/")).headers["content-security-policy"]


async def test_the_page_and_its_files_are_there() -> None:
    page = await get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert (await get("/static/nodes.js")).status_code == 200
    assert (await get("/static/../config.py")).status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "events:8081",
        "ftp://events",
        "http://",
        "http://a; script-src *",
        "http://u:p@a",
        "http://a?x",
    ],
)
def test_what_is_no_url_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(ConfigError, match="TANDEM_EVENTS_URL"):
        load(ProvisioningConfig, {"TANDEM_EVENTS_URL": url})
