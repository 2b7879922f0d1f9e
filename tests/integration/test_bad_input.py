"""Whatever is thrown at the running switch, it stays up and a call that is made meanwhile works."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.support.sipp import SippPhone
from tests.support.switch import Switch
from tests.support.torture import MESSAGES

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPTIONS: Final = (
    b"OPTIONS sip:example.test SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK%d;rport\r\n"
    b"From: <sip:x@outside.test>;tag=1\r\nTo: <sip:example.test>\r\n"
    b"Call-ID: bad@test\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)
SEED: Final = 20


def nonsense() -> Iterator[bytes]:
    """The torture messages, random bytes, messages cut anywhere or with bytes changed."""
    yield from MESSAGES.values()
    rng = random.Random(SEED)
    whole = OPTIONS % 1
    for _ in range(300):
        yield rng.randbytes(rng.randrange(1, 1400))
    for end in range(1, len(whole)):
        yield whole[:end]
    for _ in range(700):
        spoiled = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            spoiled[rng.randrange(len(spoiled))] = rng.randrange(256)
        yield bytes(spoiled)
    yield b"\r\n\r\n"
    yield b""
    yield b"INVITE sip:a SIP/2.0\r\n" + b"Via: x\r\n" * 5000 + b"\r\n"
    yield whole.replace(b"Length: 0", b"Length: 99999")


@asynccontextmanager
async def flooded(switch: Switch, *, ipv6: bool = False) -> AsyncIterator[None]:
    """All of it arrives over UDP, while the body runs, again and again."""
    host, _, port = switch.address("udp", ipv6=ipv6).rpartition(":")
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.connect((host.strip("[]"), int(port)))

        async def send() -> None:
            while True:
                for number, data in enumerate(nonsense()):
                    sender.send(data)
                    if number % 20 == 0:
                        await asyncio.sleep(0.001)

        task = asyncio.create_task(send())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.mark.parametrize("ipv6", [False, True])
async def test_a_call_works_while_nonsense_arrives(
    switch: Switch, tmp_path: Path, ipv6: bool
) -> None:
    names = [f"{who}{'6' if ipv6 else '4'}" for who in ("calm", "cool")]
    server = switch.address("udp", ipv6=ipv6)
    for name in names:
        await switch.api.add_account(name, "secret1")
    caller, callee = (SippPhone(tmp_path, name, "secret1", server) for name in names)
    mark = await switch.api.mark()
    async with flooded(switch, ipv6=ipv6):
        await callee.run("register")
        answering = await callee.start("answer")
        try:
            await caller.run("call", callee=names[1])
            await answering.succeeded()
        finally:
            await answering.stop()
        assert (await switch.api.record_after(mark))["status"] == 200
    dropped = await switch.api.event_after(mark, "proxy.dropped")
    assert dropped["data"]["count"] > 0


async def test_a_malformed_request_that_can_be_answered_is_answered_400(switch: Switch) -> None:
    bad = (OPTIONS % 2).replace(b"OPTIONS", b"INVITE").replace(b"CSeq: 1", b"CSeq: one")
    answers = await exchange(switch, bad)
    assert answers.startswith(b"SIP/2.0 400 ")


async def test_options_to_the_switch_itself_is_answered(switch: Switch) -> None:
    assert (await exchange(switch, OPTIONS % 3)).startswith(b"SIP/2.0 200 ")


async def exchange(switch: Switch, data: bytes) -> bytes:
    """Send a datagram and return the answer."""
    loop = asyncio.get_running_loop()
    host, _, port = switch.address("udp").rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.connect((host, int(port)))
        await loop.sock_sendall(sender, data)
        return await asyncio.wait_for(loop.sock_recv(sender, 65536), 10)


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
async def test_nonsense_on_a_stream_ends_that_connection_alone(
    switch: Switch, transport: str
) -> None:
    host, _, port = switch.address(transport).rpartition(":")
    for data in (b"\x16\x03\x01" + bytes(300), b"GET / HTTP/1.1\r\n\r\n", random.randbytes(20_000)):
        reader, writer = await asyncio.open_connection(host, int(port))
        with suppress(ConnectionError):
            writer.write(data)
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 15)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    assert (await exchange(switch, OPTIONS % 4)).startswith(b"SIP/2.0 200 ")
