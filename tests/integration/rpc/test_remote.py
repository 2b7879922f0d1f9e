"""Provisioning asked over real gRPC, and what is left of it when servers are killed or stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tandem.rpc import remote
from tandem.rpc.channel import Channels, open_channel
from tandem.rpc.directory import DirectoryUnavailable, Domain
from tandem.rpc.remote import ATTEMPT_SECONDS, ATTEMPTS, RemoteDirectory, RemoteSessions
from tandem.rpc.security import Security
from tandem.rpc.sessions import Principal
from tests.support.rpc import Known, serving
from tests.support.rpc_server import KEY
from tests.support.waiting import eventually
from tests.unit.rpc.test_messages import BINDING

SECURITY = Security(cluster_key=KEY)
PATIENCE = 30.0
BEARABLE = ATTEMPTS * ATTEMPT_SECONDS + 5.0
"""The longest that a call may last, and what a busy machine adds."""


class Server:
    """A Directory in a process of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.address = ""
        self._process: Process | None = None

    async def start(self) -> None:
        """Start on a free port, or on the one that it had."""
        command = [sys.executable, "-m", "tests.support.rpc_server", self.name]
        self._process = await asyncio.create_subprocess_exec(
            *command, *([self.address] if self.address else []), stdout=PIPE
        )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)
        self.address = line.decode().strip()

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


@pytest.fixture
async def servers() -> AsyncIterator[list[Server]]:
    both = [Server("a"), Server("b")]
    try:
        for server in both:
            await server.start()
        yield both
    finally:
        for server in both:
            await server.kill()


@contextlib.asynccontextmanager
async def directory_of(*addresses: str) -> AsyncIterator[RemoteDirectory]:
    channel = open_channel(",".join(addresses), SECURITY)
    try:
        yield RemoteDirectory(channel)
    finally:
        await channel.close()


async def answering(directory: RemoteDirectory) -> str:
    account = await directory.account("desk", "example.com")
    assert account is not None
    return account.owner


async def test_accounts_and_domains_are_found_and_missed() -> None:
    async with serving(Known(), SECURITY) as server, directory_of(str(server.address)) as directory:
        account = await directory.account("desk", "example.com")
        assert account is not None
        assert account.aor == "desk@example.com"
        assert await directory.account("nobody", "example.com") is None
        assert await directory.account("no \udcff name", "example.com") is None
        assert await directory.domains() == [Domain("example.com", ("sip.example.com",))]


async def test_a_large_snapshot_comes_whole_and_blocks_nobody() -> None:
    known = Known()
    known.snapshot = [
        replace(BINDING, aor=f"u{number}@x", reg_id=number) for number in range(20_000)
    ]
    async with serving(known, SECURITY) as server, directory_of(str(server.address)) as directory:
        reading = asyncio.ensure_future(directory.bindings())
        meanwhile = 0
        while not reading.done():
            await answering(directory)
            meanwhile += 1
        assert reading.result() == known.snapshot
        assert meanwhile > 10, "look-ups were answered between the pieces"


async def test_tokens_are_verified() -> None:
    async with serving(Known(), SECURITY) as server:
        channel = open_channel(str(server.address), SECURITY)
        sessions = RemoteSessions(channel)
        assert await sessions.verify("alice-token") == Principal("alice")
        assert await sessions.verify("admin-token") == Principal("root", admin=True)
        assert await sessions.verify("other") is None
        await channel.close()


async def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    known = Known()
    known.hangs = True
    async with serving(known, SECURITY) as server, directory_of(str(server.address)) as directory:
        began = time.monotonic()
        with pytest.raises(DirectoryUnavailable, match="DEADLINE_EXCEEDED"):
            await directory.account("desk", "example.com")
        assert time.monotonic() - began < BEARABLE
        known.hangs = False
        assert await answering(directory) == "a"


async def test_something_else_on_the_port_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        async with directory_of(f"{host}:{port}") as directory:
            began = time.monotonic()
            with pytest.raises(DirectoryUnavailable):
                await directory.account("desk", "example.com")
            assert time.monotonic() - began < BEARABLE


async def test_a_snapshot_that_stops_half_way_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PIECE_SECONDS", 0.3)
    known = Known()
    known.snapshot = [BINDING] * 2000
    known.hangs = True
    async with serving(known, SECURITY) as server, directory_of(str(server.address)) as directory:
        with pytest.raises(DirectoryUnavailable, match="nothing came for too long"):
            await directory.bindings()


async def test_a_closed_channel_is_a_directory_that_is_away() -> None:
    channel = open_channel("127.0.0.1:9", SECURITY)
    await channel.close()
    with pytest.raises(DirectoryUnavailable):
        await RemoteDirectory(channel).account("desk", "example.com")


async def test_a_killed_server_costs_no_look_up(servers: list[Server]) -> None:
    async with directory_of(*(server.address for server in servers)) as directory:
        first = await answering(directory)
        dead = next(server for server in servers if server.name == first)
        await dead.kill()
        for _ in range(20):
            assert await answering(directory) != first
        await dead.start()
        alive = next(server for server in servers if server is not dead)
        await alive.kill()

        async def back() -> bool:
            with contextlib.suppress(DirectoryUnavailable):
                return await answering(directory) == dead.name
            return False

        await eventually(back, "the server that came back")


async def test_a_server_that_stands_still_is_left_after_one_call(servers: list[Server]) -> None:
    async with directory_of(*(server.address for server in servers)) as directory:
        first = await answering(directory)
        frozen = next(server for server in servers if server.name == first)
        frozen.send(signal.SIGSTOP)
        try:
            assert await answering(directory) != first
            began = time.monotonic()
            for _ in range(20):
                assert await answering(directory) != first
            assert time.monotonic() - began < 20 * ATTEMPT_SECONDS
        finally:
            frozen.send(signal.SIGCONT)


async def test_without_any_server_the_answer_comes_at_once_and_later_is_right(
    servers: list[Server],
) -> None:
    async with directory_of(servers[0].address) as directory:
        assert await answering(directory) == "a"
        await servers[0].kill()
        began = time.monotonic()
        with pytest.raises(DirectoryUnavailable):
            await answering(directory)
        assert time.monotonic() - began < BEARABLE
        await servers[0].start()

        async def back() -> bool:
            with contextlib.suppress(DirectoryUnavailable):
                return await answering(directory) == "a"
            return False

        await eventually(back, "the server")


async def test_targets_that_cannot_be_read_are_refused() -> None:
    for targets in ("", ",", "nonsense", "127.0.0.1:50051,other"):
        with pytest.raises(ValueError, match=r"HOST:PORT"):
            open_channel(targets, SECURITY)


async def test_the_state_of_several_targets_is_the_best(servers: list[Server]) -> None:
    channel = open_channel(f"127.0.0.1:9,{servers[0].address}", SECURITY)
    assert isinstance(channel, Channels)
    await asyncio.wait_for(channel.channel_ready(), PATIENCE)
    state = channel.get_state()
    await servers[0].kill()
    await asyncio.wait_for(channel.wait_for_state_change(state), PATIENCE)
    await channel.close()
