"""Many calls: sipp calls `sink`, and sipp answers.

async with answering(switch) as port: ...       `sink` is registered and answers
await call_sink(switch, calls=3000, rate=50)    fails if one call fails
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from tests.support.installs import require
from tests.support.ports import free_port
from tests.support.switch import DOMAIN, Switch

SCENARIOS: Final = Path(__file__).parents[2] / "bench" / "scenarios"
PASSWORD: Final = "secret1"
ANSWER_SECONDS: Final = 10.0
"""For the answer to a REGISTER, and for a program to end."""
SIPP_SECONDS: Final = 180.0
"""sipp gives up after this, whatever became of its calls."""


@contextlib.asynccontextmanager
async def answering(switch: Switch, user: str = "sink") -> AsyncIterator[int]:
    """Add the account `user`, register it from a port, and let sipp answer there."""
    sipp = require("sipp")
    port = free_port()
    await switch.api.add_account(user, PASSWORD)
    await register(switch, user, port)
    command = [sipp, "-sn", "uas", "-i", "127.0.0.1", "-p", str(port), "-nostdin"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def call_sink(
    switch: Switch, *, calls: int, rate: int, hold_ms: int = 0, user: str = "sink"
) -> None:
    """Place `calls` calls to `user`, `rate` a second, each held so long; all must succeed."""
    target = switch.address("udp")
    command = [
        require("sipp"), "-sf", str(SCENARIOS / "uac.xml"), "-s", user, target,
        "-i", "127.0.0.1", "-p", str(free_port()), "-m", str(calls), "-r", str(rate),
        "-l", str(max(1000, calls)), "-d", str(hold_ms), "-nostdin",
        "-timeout", f"{SIPP_SECONDS:.0f}s", "-timeout_error",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, f"sipp: {process.returncode}\n{output.decode()[-2500:]}"


async def register(switch: Switch, user: str, port: int) -> None:
    """Register `user` at 127.0.0.1:PORT, over UDP and with MD5."""
    host, _, at = switch.address("udp").rpartition(":")
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.setblocking(False)
        phone.bind(("127.0.0.1", port))
        phone.connect((host, int(at)))
        credentials = ""
        for number, status in ((1, 401), (2, 200)):
            phone.send(_register(user, port, number, credentials))
            answer = await asyncio.wait_for(loop.sock_recv(phone, 65535), ANSWER_SECONDS)
            assert answer.startswith(b"SIP/2.0 %d" % status), answer
            if status == 401:
                credentials = _credentials(user, answer.decode())


def _register(user: str, port: int, number: int, credentials: str) -> bytes:
    aor = f"<sip:{user}@{DOMAIN}>"
    return (
        f"REGISTER sip:{DOMAIN} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK-{user}-{port}-{number};rport\r\n"
        f"Max-Forwards: 70\r\nFrom: {aor};tag=s\r\nTo: {aor}\r\n"
        f"Call-ID: {user}-{port}\r\nCSeq: {number} REGISTER\r\n"
        f"Contact: <sip:{user}@127.0.0.1:{port}>\r\nExpires: 3600\r\n{credentials}"
        "Content-Length: 0\r\n\r\n"
    ).encode()


def _credentials(user: str, challenge: str) -> str:
    realm, nonce = (_quoted(challenge, name) for name in ("realm", "nonce"))
    uri = f"sip:{DOMAIN}"
    secret = _md5(f"{user}:{realm}:{PASSWORD}")
    response = _md5(f"{secret}:{nonce}:00000001:c0ffee:auth:{_md5(f'REGISTER:{uri}')}")
    return (
        f'Authorization: Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", '
        f'response="{response}", algorithm=MD5, cnonce="c0ffee", qop=auth, nc=00000001\r\n'
    )


def _quoted(text: str, name: str) -> str:
    found = re.search(rf'{name}="([^"]*)"', text)
    assert found, text
    return found[1]


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
