"""The HTTP requests that ask providers to call back, with real servers: what is sent, what may be
reached, and how long and how much is borne."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
import pytest_asyncio

from services.appserver.adapters import http_trigger
from services.appserver.adapters import web as web_module
from services.appserver.adapters.http_trigger import HttpxTrigger
from services.appserver.adapters.web import HttpxWeb, is_public
from services.appserver.domain.callbacks import Trigger
from tests.support.certificates import make_certificate
from tests.support.provider import Provider
from tests.support.udpagent import HOST


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Provider]:
    """It is asked, and calls nobody."""
    provider = await Provider.open(lambda: "127.0.0.1:9")
    yield provider
    await provider.close()


ME = "acme"
EACH = web_module.MAX_CUSTOMER_LOOK_UPS


def _port(provider: Provider) -> str:
    return provider.url.partition(":")[2].rpartition(":")[2].partition("/")[0]


async def _loopback(host: str, port: int, customer: str) -> Sequence[str]:
    """A resolver to which every name is this machine."""
    return [HOST]


async def test_method_headers_query_and_form_are_sent_as_they_were_given(
    provider: Provider,
) -> None:
    trigger = Trigger(
        provider.url + "?a=1%202",
        headers=(("X-Key", "a b"), ("X-Key", "é")),
        form=(("number", "+1 555"), ("number", "ü&=")),
    )
    assert (await HttpxTrigger(HttpxWeb(private=True)).ask(trigger, ME)).status == 200
    (asked,) = provider.asked
    assert (asked.method, asked.target) == ("POST", "/call?a=1%202")
    assert asked.body == b"number=%2B1+555&number=%C3%BC%26%3D"
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked.headers["x-key"] == "é"
    assert asked.headers["user-agent"] == "Tandem"


async def test_a_body_goes_as_it_is_and_credentials_of_the_url_are_used(
    provider: Provider,
) -> None:
    url = provider.url.replace("http://", "http://me:pw@")
    trigger = Trigger(url, "put", (("Content-Type", "application/json"),), b'{"a": 1}')
    assert (await HttpxTrigger(HttpxWeb(private=True)).ask(trigger, ME)).status == 200
    (asked,) = provider.asked
    assert (asked.method, asked.body) == ("PUT", b'{"a": 1}')
    assert asked.headers["authorization"].startswith("Basic ")
    assert asked.headers["host"] == f"{HOST}:{_port(provider)}"


async def test_the_host_of_the_url_is_named_whatever_address_it_has(provider: Provider) -> None:
    url = f"http://provider.example:{_port(provider)}/call"
    asking = HttpxTrigger(HttpxWeb(private=True, resolve=_loopback))
    assert (await asking.ask(Trigger(url), ME)).status == 200
    assert provider.asked[0].headers["host"] == f"provider.example:{_port(provider)}"
    assert provider.asked[0].method == "GET"


async def test_a_redirection_is_an_answer_and_is_not_followed(provider: Provider) -> None:
    provider.status = 302
    provider.headers = (f"Location: {provider.url}",)
    assert (await HttpxTrigger(HttpxWeb(private=True)).ask(Trigger(provider.url), ME)).status == 302
    assert len(provider.asked) == 1


async def test_cookies_are_not_kept(provider: Provider) -> None:
    provider.headers = ("Set-Cookie: whose=first",)
    asking = HttpxTrigger(HttpxWeb(private=True))
    for _ in range(2):
        await asking.ask(Trigger(provider.url), ME)
    assert all("cookie" not in asked.headers for asked in provider.asked)


async def test_private_addresses_are_refused_before_anything_is_sent(provider: Provider) -> None:
    for url in (provider.url, f"http://localhost:{_port(provider)}/", "http://2130706433/"):
        found = await HttpxTrigger(HttpxWeb()).ask(Trigger(url), ME)
        assert (found.status, found.problem) == (0, "its address is not a public one")
    assert provider.asked == []


async def test_one_private_address_among_others_is_enough_to_refuse() -> None:
    async def resolve(host: str, port: int, customer: str) -> Sequence[str]:
        return ["8.8.8.8", "10.0.0.1"]

    found = await HttpxTrigger(HttpxWeb(resolve=resolve)).ask(
        Trigger("http://provider.example/"), ME
    )
    assert found.problem == "its address is not a public one"


async def test_a_name_is_asked_for_once_so_that_it_can_not_change_its_mind(
    provider: Provider,
) -> None:
    asked = []

    async def resolve(host: str, port: int, customer: str) -> Sequence[str]:
        asked.append(host)
        return [HOST] if len(asked) == 1 else ["192.0.2.1"]

    url = f"http://rebinding.example:{_port(provider)}/"
    asking = HttpxTrigger(HttpxWeb(private=True, resolve=resolve))
    assert (await asking.ask(Trigger(url), ME)).status == 200
    assert asked == ["rebinding.example"]


async def test_names_whose_servers_are_silent_hold_up_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoken = threading.Event()

    def silent(*_: object, **__: object) -> NoReturn:
        spoken.wait()
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    web = HttpxWeb()
    pages = [
        web.fetch(Trigger(f"http://x{n}.example/"), 0.05, f"customer{n // EACH}")
        for n in range(web_module.MAX_LOOK_UPS + 8)
    ]
    try:
        said = Counter(page.problem for page in await asyncio.gather(*pages))
        assert said == {"no answer in time": web_module.MAX_LOOK_UPS, "can't be reached": 8}
        async with asyncio.timeout(30):
            assert await asyncio.to_thread(len, "abc") == 3
    finally:
        spoken.set()


async def test_names_of_one_customer_hold_up_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = threading.Event()

    def silent(host: str, *_: object, **__: object) -> list[Any]:
        if host.startswith("x"):
            spoken.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    web = HttpxWeb()
    many = [web.fetch(Trigger(f"http://x{n}.example/"), 0.05, ME) for n in range(EACH + 8)]
    try:
        said = Counter(page.problem for page in await asyncio.gather(*many))
        assert said == {"no answer in time": EACH + 8}
        for _ in range(EACH + 1):
            page = await web.fetch(Trigger("http://other.example/"), 10, "another")
            assert page.problem == "its name leads nowhere"
    finally:
        spoken.set()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1", True), ("::ffff:8.8.8.8", True),
        ("127.0.0.1", False), ("10.0.0.1", False), ("100.64.0.1", False), ("0.0.0.0", False),
        ("169.254.169.254", False), ("224.0.0.1", False), ("240.0.0.1", False), ("::1", False),
        ("fe80::1%eth0", False), ("fc00::1", False), ("fec0::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False), ("64:ff9b::7f00:1", False), ("::", False), ("x", False),
    ],
)  # fmt: skip
def test_public_is_what_anybody_can_reach(address: str, public: bool) -> None:
    assert is_public(address) is public


async def test_the_next_address_is_tried_when_one_does_not_answer(provider: Provider) -> None:
    async def resolve(host: str, port: int, customer: str) -> Sequence[str]:
        return ["127.0.0.77", HOST]

    url = f"http://two.example:{_port(provider)}/"
    asking = HttpxTrigger(HttpxWeb(private=True, resolve=resolve))
    assert (await asking.ask(Trigger(url), ME)).status == 200


async def test_a_name_that_leads_nowhere_and_a_port_that_nobody_has_are_told() -> None:
    async def nowhere(host: str, port: int, customer: str) -> Sequence[str]:
        raise OSError("no such name")

    found = await HttpxTrigger(HttpxWeb(resolve=nowhere)).ask(
        Trigger("http://nowhere.example/"), ME
    )
    assert (found.status, found.problem) == (0, "can't be reached")
    closed = await HttpxTrigger(HttpxWeb(private=True)).ask(Trigger("http://127.0.0.1:1/"), ME)
    assert (closed.status, closed.problem) == (0, "can't be reached")


async def test_a_long_answer_is_not_read_to_its_end(provider: Provider) -> None:
    provider.filler = 50_000_000
    assert (await HttpxTrigger(HttpxWeb(private=True)).ask(Trigger(provider.url), ME)).status == 200


@asynccontextmanager
async def _serving(
    answer: bytes, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that says this and hangs up, or is silent; its port and what it heard."""
    heard: list[bytes] = []

    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65_536))
        writer.write(answer)
        if not answer:
            await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(serve, HOST, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], heard
        await ended.wait()
    finally:
        server.close()
        await server.wait_closed()


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_trigger, "TRIGGER_SECONDS", 0.2)
    async with _serving(b"") as (port, _):
        found = await HttpxTrigger(HttpxWeb(private=True)).ask(
            Trigger(f"http://{HOST}:{port}/"), ME
        )
    assert (found.status, found.problem) == (0, "no answer in time")


async def test_nonsense_is_no_answer_and_the_log_holds_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with _serving(b"SSH-2.0-nonsense\r\n\r\n") as (port, _):
        with caplog.at_level(logging.DEBUG, logger="services"):
            url = f"http://{HOST}:{port}/?key=topsecret"
            found = await HttpxTrigger(HttpxWeb(private=True)).ask(Trigger(url), ME)
    assert (found.status, found.problem) == (0, "can't be reached")
    assert HOST in caplog.text
    assert "topsecret" not in caplog.text


async def test_tls_is_verified_by_the_name_of_the_url(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, "provider.example")
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(made.certificate, made.key)
    ours = ssl.create_default_context(cafile=str(made.certificate))
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with _serving(answer, theirs) as (port, heard):
        asking = HttpxTrigger(HttpxWeb(private=True, context=ours, resolve=_loopback))
        right = await asking.ask(Trigger(f"https://provider.example:{port}/"), ME)
        assert right.status == 200
        assert b"Host: provider.example" in heard[0]
        wrong = await asking.ask(Trigger(f"https://other.example:{port}/"), ME)
        assert wrong.status == 0
        strangers = HttpxTrigger(HttpxWeb(private=True, resolve=_loopback))
        assert (await strangers.ask(Trigger(f"https://provider.example:{port}/"), ME)).status == 0
        assert len(heard) == 1
