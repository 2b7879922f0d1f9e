"""Bad input over TCP and WebSocket, and through the API: the switch stays up and answers others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest
import pytest_asyncio

from tests.support import torture
from tests.support.counts import counts, refused
from tests.support.hostile import Mutator, request
from tests.support.load import answering, call_sink
from tests.support.stranger import Stranger, call_id_of, loopback_address, status_of
from tests.support.switch import EVERYWHERE, Switch

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE: Final = 15.0
"""Seconds for an answer or the end of a connection."""
MAX_PER_ADDRESS: Final = 500
"""Connections that the switch takes from one address (StreamLimits.per_address)."""
UNFRAMED: Final = frozenset(
    {"clerr", "ncl", "scalar02", "scalarlg", "mcl01", "baddn", "dblreq", "inv2543"}
)
"""Torture messages whose end can't be found in a stream, or which are two."""


class Line:
    """One TCP connection from an address of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the bytes are on their way; the switch may have ended the connection."""
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def receive(self, wanted: bytes) -> bytes:
        """All bytes up to `wanted`."""
        return await asyncio.wait_for(self._reader.readuntil(wanted), PATIENCE)

    async def answer(self) -> bytes:
        """The next message that has no body."""
        return await self.receive(b"\r\n\r\n")

    async def final(self) -> int:
        """The next final status."""
        while (status := status_of(await self.answer())) < 200:
            pass
        return status

    async def rest(self) -> bytes:
        """All that comes until the switch ends the connection."""
        try:
            return await asyncio.wait_for(self._reader.read(-1), PATIENCE)
        except ConnectionError:  # what we sent after the end makes it a reset
            return b""

    async def exactly(self, size: int) -> bytes:
        """So many bytes."""
        return await asyncio.wait_for(self._reader.readexactly(size), PATIENCE)

    def abort(self) -> None:
        """Vanish."""
        self._writer.transport.abort()


@contextlib.asynccontextmanager
async def connected(address: str, source: str = "") -> AsyncIterator[Line]:
    """A connection to `host:port`."""
    host, _, port = address.rpartition(":")
    local = (source or loopback_address(), 0)
    line = Line(*await asyncio.open_connection(host, int(port), local_addr=local))
    try:
        yield line
    finally:
        line.abort()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def switch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Switch]:
    """It serves example.com, too, where the torture messages go; and `sink` answers calls."""
    switch = Switch(tmp_path_factory.mktemp("hostile") / "data")
    try:
        await switch.start((*EVERYWHERE, "--domain", "example.com"))
        async with answering(switch):
            yield switch
            await call_sink(switch, calls=10, rate=10)  # after all that
    finally:
        await switch.stop()


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _stays_well(switch: Switch) -> AsyncIterator[None]:
    yield
    async with connected(switch.address("tcp")) as line:
        line.send(request("well"))
        assert call_id_of(await line.answer()) == b"well"
    assert (await counts(switch))["tandem_appserver_errors_total"] == 0
    assert "Traceback" not in switch.errors.read_text()


@pytest.fixture
def tcp(switch: Switch) -> str:
    return switch.address("tcp")


@pytest.fixture
def ws(switch: Switch) -> str:
    return switch.address("ws")


# -- TCP -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(torture.MESSAGES.keys() - UNFRAMED))
async def test_a_torture_message_gets_its_verdict_over_tcp(name: str, tcp: str) -> None:
    async with connected(tcp) as line:
        line.send(torture.MESSAGES[name])
        status = None
        if torture.EXPECTED[name] != torture.DROP:
            status = await line.final()
        line.send(request("after"))
        after = await line.answer()
        assert call_id_of(after) == b"after"
    assert torture.acceptable(name, status)


@pytest.mark.parametrize(
    ("length", "status"),
    [("-1", 400), ("x", 400), ("", 400), ("1e3", 400), ("5, 5", 400), ("5\r\nl: 6", 400),
     ("65536", 513), ("999999999999", 513), ("9" * 40, 400)],
)  # fmt: skip
async def test_a_content_length_that_frames_nothing_is_answered_and_ends_the_connection(
    length: str, status: int, tcp: str
) -> None:
    async with connected(tcp) as line:
        line.send(request("lie", replace=("Content-Length", length)) + request("swallowed"))
        answer = await line.rest()
    assert status_of(answer) == status
    assert answer.count(b"SIP/2.0 ") == answer.count(b"SIP/2.0 %d" % status) == 1


async def test_a_request_inside_of_an_announced_body_is_not_served(tcp: str) -> None:
    inner = request("inner")
    outer = request("outer", replace=("Content-Length", str(len(inner))))
    async with connected(tcp) as line:
        line.send(outer + inner + request("next"))
        heard = [call_id_of(await line.answer()) for _ in range(2)]
    assert heard == [b"outer", b"next"]


async def test_what_follows_a_body_longer_than_announced_is_no_message(
    switch: Switch, tcp: str
) -> None:
    before = await counts(switch)
    async with connected(tcp) as line:
        line.send(request("short", body="v=0\r\n" * 9, replace=("Content-Length", "2")))
        assert call_id_of(await line.answer()) == b"short"
        line.send(b"\r\n\r\n" + request("never"))
        assert b"never" not in await line.rest()
    assert framing(await counts(switch)) == framing(before) + 1


async def test_headers_without_end_are_cut_off(switch: Switch, tcp: str) -> None:
    before = await counts(switch)
    async with connected(tcp) as line:
        line.send(b"OPTIONS sip:a@b SIP/2.0\r\n" + b"X: y\r\n" * 20_000)
        assert await line.rest() == b""
    assert framing(await counts(switch)) == framing(before) + 1


def framing(now: dict[str, int]) -> int:
    """Connections ended because no message can be found in them any more."""
    return sum(now[f"tandem_proxy_streams_{what}_total"] for what in ("bad_framing", "too_large"))


async def test_a_message_that_comes_in_single_bytes_is_answered(tcp: str) -> None:
    async with connected(tcp) as line:
        for at in request("slow"):
            line.send(bytes([at]))
            await asyncio.sleep(0)
        assert call_id_of(await line.answer()) == b"slow"


async def test_noise_and_mutated_messages_harm_no_other_connection(tcp: str) -> None:
    mutator = Mutator(5118, list(torture.MESSAGES.values()))
    async with connected(tcp) as good:
        for data in (*mutator.messages(150), *mutator.noise(50)):
            async with connected(tcp) as line:
                line.send(data)
                await line.drain()
        good.send(request("good"))
        assert call_id_of(await good.answer()) == b"good"


# -- many connections ------------------------------------------------------------------------------


async def test_one_address_can_not_take_all_connections(switch: Switch, tcp: str) -> None:
    address = loopback_address()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_PER_ADDRESS):  # half open: a message begun, and never ended
            line = await stack.enter_async_context(connected(tcp, address))
            line.send(b"INVITE sip:sink@example.test SIP/2.0\r\nVia: ")
        over = await stack.enter_async_context(connected(tcp, address))
        assert await over.rest() == b""
        other = await stack.enter_async_context(connected(tcp))
        other.send(request("other"))
        assert call_id_of(await other.answer()) == b"other"
        await call_sink(switch, calls=10, rate=10)
    await served_again(tcp, address)


async def served_again(tcp: str, address: str) -> None:
    """Once the connections are gone, their address may come again."""
    for _ in range(100):
        async with connected(tcp, address) as line:
            line.send(request("again"))
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                assert call_id_of(await line.answer()) == b"again"
                return
    raise AssertionError(f"{address} is still refused")


# -- WebSocket -------------------------------------------------------------------------------------

HANDSHAKE: Final = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: sip\r\n\r\n"
)


def frame(payload: bytes, head: int = 0x82, *, length: int | None = None) -> bytes:
    """A masked frame (RFC 6455 §5.2); the mask is zero. `length` may lie."""
    size = len(payload) if length is None else length
    if size < 126:
        sized = bytes([0x80 | size])
    elif size < 65_536:
        sized = b"\xfe" + size.to_bytes(2, "big")
    else:
        sized = b"\xff" + size.to_bytes(8, "big")
    return bytes([head]) + sized + b"\0\0\0\0" + payload


def bad_handshakes() -> Iterator[bytes]:
    yield random.Random(7118).randbytes(2000) + b"\r\n\r\n"
    yield request("plain")
    yield HANDSHAKE.replace(b"GET", b"POST")
    yield HANDSHAKE.replace(b"Sec-WebSocket-Protocol: sip\r\n", b"")
    yield HANDSHAKE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"x")
    yield HANDSHAKE.replace(b"Version: 13", b"Version: \xff")
    yield HANDSHAKE.replace(b"Host: localhost", b"X: " + b"y" * 100_000)
    yield HANDSHAKE.replace(b"Host: localhost", b"X: y\r\n" * 3000 + b"X: y")


BAD_FRAMES: Final = {
    "without a mask": b"\x82\x03abc",
    "reserved bits": frame(b"abc", 0xF2),
    "reserved opcode": frame(b"abc", 0x83),
    "of four exabytes": frame(b"", length=1 << 62),
    "of a negative length": frame(b"", length=(1 << 64) - 1),
    "over the limit": frame(b"x" * 70_000),
    "control frame too long": frame(b"x" * 200, 0x89),
    "control frame in pieces": frame(b"x", 0x09),
    "continuing nothing": frame(b"x", 0x80),
    "pieces over the limit": frame(b"x" * 60_000, 0x02) + frame(b"x" * 60_000, 0x00),
    "close with a bad code": frame(b"\x00\x01", 0x88),
}


async def opened(line: Line) -> Line:
    """After the handshake."""
    line.send(HANDSHAKE)
    assert (await line.answer()).startswith(b"HTTP/1.1 101 ")
    return line


@pytest.mark.parametrize("data", list(bad_handshakes()), ids=lambda data: data[:12].hex())
async def test_a_bad_handshake_ends_the_connection(data: bytes, ws: str) -> None:
    async with connected(ws) as line:
        line.send(data)
        assert b" 101 " not in await line.rest()


@pytest.mark.parametrize("kind", BAD_FRAMES)
async def test_a_bad_frame_ends_the_connection(kind: str, ws: str) -> None:
    async with connected(ws) as line:
        await opened(line)
        line.send(BAD_FRAMES[kind])
        answer = await line.rest()
    assert answer[:1] in (b"\x88", b"")  # a close frame, where one can be sent


async def test_messages_of_garbage_are_counted_and_the_connection_goes_on(
    switch: Switch, ws: str
) -> None:
    before = await counts(switch)
    garbage = [os.urandom(size) for size in (1, 7, 300, 60_000)]
    async with connected(ws) as line:
        await opened(line)
        for data in garbage:
            line.send(frame(b"\xff" + data, random.choice((0x81, 0x82))))
        line.send(frame(request("after")))
        assert b"Call-ID: after\r\n" in await line.answer()
    assert refused(await counts(switch)) == refused(before) + len(garbage)


async def test_each_ping_of_a_flood_gets_its_pong(ws: str) -> None:
    async with connected(ws) as line:
        await opened(line)
        line.send(frame(b"x", 0x89) * 1000)
        assert await line.exactly(3000) == b"\x8a\x01x" * 1000


# -- the API ---------------------------------------------------------------------------------------

INJECTIONS: Final = (
    "a\r\nX-Injected: 1",
    "a\nX-Injected: 1",
    "a\rX-Injected: 1",
    "a\r\n\r\nb",
    "a\0b",
)


@pytest.mark.parametrize("text", INJECTIONS)
@pytest.mark.parametrize("field", ["username", "domain", "owner", "in_dialplan", "ip_acl"])
async def test_an_account_with_a_line_break_in_a_field_is_refused(
    field: str, text: str, switch: Switch
) -> None:
    body: dict[str, object] = {"username": "good", "password": "secret-1"}
    body[field] = [text] if field == "ip_acl" else text
    answer = await switch.api.client.post("/api/v1/sip-accounts", json=body)
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert field in answer.text


@pytest.mark.parametrize("text", INJECTIONS)
@pytest.mark.parametrize("field", ["name", "aliases"])
async def test_a_domain_with_a_line_break_is_refused(field: str, text: str, switch: Switch) -> None:
    body: dict[str, object] = {"name": "good.example"}
    body[field] = [text] if field == "aliases" else text
    answer = await switch.api.client.post("/api/v1/domains", json=body)
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("text", ["a%0d%0aX-Injected:%201", "%0d%0a%0d%0aINVITE"])
async def test_escaped_line_breaks_in_sip_get_into_no_header(text: str, switch: Switch) -> None:
    async with await Stranger.open(switch.address("udp")) as stranger:
        for method in ("INVITE", "REGISTER", "OPTIONS"):
            uri, value = f"sip:{text}@example.test", f"<sip:{text}@example.test>"
            stranger.send(request(f"{method}-uri", method, uri))
            stranger.send(request(f"{method}-to", method, replace=("To", value)))
            stranger.send(request(f"{method}-from", method, replace=("From", f"{value};tag=1")))
        await stranger.settle()
        assert stranger.answers
        assert not any(b"\r\nX-Injected" in data for data in stranger.answers)
