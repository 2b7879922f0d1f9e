"""Real gRPC on loopback: servers of a Directory that a test commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from services.provisioning.entrypoints.grpc_directory import NAME, GrpcDirectory
from tandem.bus.location import Binding
from tandem.rpc.directory import Account, DirectoryUnavailable, Domain
from tandem.rpc.security import Security
from tandem.rpc.server import GrpcServer
from tandem.rpc.sessions import Principal
from tandem.runtime.address import HostPort
from tandem.stubs.directory.v1.directory_pb2_grpc import add_DirectoryServicer_to_server

LOOPBACK = HostPort("127.0.0.1", 0)
HA1 = "5ec4e7" * 5 + "00"


class Known:
    """A directory, its bindings and its sessions, as a test wants them."""

    def __init__(self, name: str = "a") -> None:
        self.name = name
        """The owner of all accounts: tells which server answered."""
        self.asked = 0
        self.hangs = False
        self.database_is_away = False
        self.crashes = False
        self.snapshot: list[Binding] = []
        self.tokens = {"alice-token": Principal("alice"), "admin-token": Principal("root", True)}

    async def account(self, username: str, domain: str) -> Account | None:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.database_is_away:
            raise DirectoryUnavailable("password=secret")
        if self.crashes:
            raise RuntimeError("a fault")
        if username == "nobody":
            return None
        return Account(id="1", owner=self.name, username=username, domain=domain, ha1={"MD5": HA1})

    async def domains(self) -> list[Domain]:
        return [Domain("example.com", ("sip.example.com",))]

    async def bindings(self) -> list[Binding]:
        return self.snapshot

    async def pieces(self) -> AsyncIterator[Sequence[Binding]]:
        for start in range(0, len(self.snapshot), 1000):
            if self.hangs and start:
                await asyncio.Event().wait()
            yield self.snapshot[start : start + 1000]

    async def verify(self, token: str) -> Principal | None:
        return self.tokens.get(token)


@asynccontextmanager
async def serving(
    known: Known,
    security: Security,
    listen: HostPort = LOOPBACK,
    ready: Callable[[], Awaitable[bool]] | None = None,
) -> AsyncIterator[GrpcServer]:
    """A server of the Directory between start and stop."""
    server = GrpcServer(listen, security, known, ready)
    server.add(add_DirectoryServicer_to_server, GrpcDirectory(known, known.pieces, known), NAME)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
