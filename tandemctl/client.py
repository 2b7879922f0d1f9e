"""Calls to the servers: each has a deadline, and what fails is one line."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import grpc

from tandem.bus.nodes import NodeState
from tandem.rpc.channel import open_channel
from tandem.rpc.security import Security
from tandem.stubs.eventfeed.v1.eventfeed_pb2_grpc import EventFeedStub
from tandem.stubs.ops.v1 import ops_pb2
from tandem.stubs.ops.v1.ops_pb2_grpc import OpsStub
from tandemctl.errors import NOT_ALLOWED, USAGE, Problem, problem_of

T = TypeVar("T")

DEADLINE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the servers are and how we show who we are."""

    server: str
    """`HOST:PORT[,HOST:PORT…]` of provisioning's gRPC."""
    events: str = ""
    """The same of the events nodes; empty: provisioning tells."""
    token: str = ""
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    name: str = ""
    """What the servers' certificates name; empty: their host."""


class Client:
    """Opens connections when they are needed."""

    def __init__(self, access: Access) -> None:
        """Raises Problem for settings that can't be used."""
        if not access.token:
            raise Problem("not logged in: tandemctl login, or --token", NOT_ALLOWED)
        self._access = access
        try:
            # A token of one's own is shown, never the service token that this key would make.
            self._security = Security(
                access.cert, access.key, access.ca, secrets.token_hex(32), access.name
            )
        except ValueError as error:
            text = str(error)
            for name in ("CERT", "KEY", "CA"):
                text = text.replace(f"TANDEM_GRPC_{name}", f"--{name.lower()}")
            raise Problem(text, USAGE) from None
        self._server = self._open(access.server)
        self._feed: tuple[str, grpc.aio.Channel] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._server.close()
        if self._feed is not None:
            await self._feed[1].close()

    @property
    def ops(self) -> OpsStub:
        """Provisioning's operators' service."""
        return OpsStub(self._server)

    async def ask(self, call: Awaitable[T]) -> T:
        """Await a call to provisioning; raises Problem."""
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise problem_of(error, self._access.server) from None

    async def nodes(self) -> list[ops_pb2.Node]:
        """All nodes, by kind and id."""
        answer = await self.ask(
            self.ops.ListNodes(ops_pb2.ListNodesRequest(), timeout=DEADLINE_SECONDS)
        )
        return list(answer.nodes)

    async def feed(self, *, again: bool = False) -> tuple[EventFeedStub, str]:
        """The event service of all events nodes, and their addresses. `again`: ask anew which
        there are, since those that were known do not answer."""
        if again and self._feed is not None and not self._access.events:
            with suppress(Problem):  # who knew them may be away as well
                targets = await self._events_targets()
                # provisioning's own address is the guess for when it knows of none (yet)
                if targets not in (self._feed[0], self._access.server):
                    await self._feed[1].close()
                    self._feed = None
        if self._feed is None:
            targets = self._access.events or await self._events_targets()
            self._feed = (targets, self._open(targets))
        return EventFeedStub(self._feed[1]), self._feed[0]

    async def ask_feed(self, call: Awaitable[T], where: str) -> T:
        """Await a call to an events node; raises Problem."""
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise problem_of(error, where) from None

    async def _events_targets(self) -> str:
        try:
            nodes = await self.nodes()
        except Problem as problem:
            if problem.status != NOT_ALLOWED:
                raise
            nodes = []  # nodes are for administrators, calls and events for everybody
        known = [node.said for node in nodes if node.said.kind == "events" and node.said.grpc]
        up = (NodeState.ACTIVE, NodeState.DRAINING)
        found = [said.grpc for said in known if said.state in up]
        if known and not found:
            raise Problem("no events node is up: see tandemctl nodes")
        # where all services are one process, its one server serves all
        return ",".join(sorted(found)) or self._access.server

    def _open(self, targets: str) -> grpc.aio.Channel:
        try:
            return open_channel(targets, self._security, token=self._access.token)
        except ValueError as error:
            raise Problem(str(error), USAGE) from None
