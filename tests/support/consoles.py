"""Consoles that follow the events over SSE, WebSocket and gRPC, and may be cut off.

console = Console("sse", token, cursor)
console.follow(node)                 from its last id on, at any events node
await console.cut()                  the connection is gone
await console.reached(event_id)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tandem.rpc.channel import open_channel
from tandem.rpc.security import Security
from tandem.stubs.eventfeed.v1 import eventfeed_pb2 as pb
from tandem.stubs.eventfeed.v1.eventfeed_pb2_grpc import EventFeedStub
from tests.support.cluster import Cluster, Node
from tests.support.events import sse
from tests.support.waiting import eventually

KINDS: Final = ("sse", "websocket", "grpc")
UNUSED: Final = Security(cluster_key="the token is the customer's own")


@dataclass(frozen=True)
class Seen:
    """An event as a console was shown it."""

    id: int
    node: str
    type: str
    call_id: str
    data: Any = field(compare=False)


@dataclass
class Console:
    """One console; it keeps what it was shown over all of its connections."""

    kind: str
    token: str
    cursor: int
    traces: bool = False
    seen: list[Seen] = field(default_factory=list)
    gaps: int = 0
    _task: asyncio.Task[None] | None = None

    @property
    def ids(self) -> list[int]:
        """The ids of all that it was shown, in that order."""
        return [event.id for event in self.seen]

    def of_type(self, type: str) -> list[Seen]:
        """What it was shown of one type."""
        return [event for event in self.seen if event.type == type]

    @property
    def following(self) -> bool:
        """Whether its connection is there."""
        return self._task is not None and not self._task.done()

    def follow(self, node: Node) -> None:
        """Connect to this events node and go on after the last id."""
        run = {"sse": self._sse, "websocket": self._websocket, "grpc": self._grpc}[self.kind]
        self._task = asyncio.create_task(run(node))

    async def cut(self) -> None:
        """End the connection from this side, if it is there."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def lost(self) -> None:
        """Wait until the connection has ended from the other side."""
        assert self._task is not None
        await asyncio.wait_for(self._task, 30)

    async def reached(self, event_id: int, seconds: float = 30.0) -> None:
        """Wait until it has considered all events up to this id."""

        async def look() -> bool:
            return self.cursor >= event_id

        await eventually(look, f"{self.kind} to reach {event_id} (is at {self.cursor})", seconds)

    # -- the three ways ------------------------------------------------------------------------

    async def _sse(self, node: Node) -> None:
        headers = {"Authorization": f"Bearer {self.token}", "Last-Event-ID": str(self.cursor)}
        params = {"traces": "1"} if self.traces else {}
        async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as client:
            with suppress(httpx.TransportError):
                url = f"{node.http}/api/v1/events"
                async with client.stream("GET", url, params=params) as response:
                    assert response.status_code == 200, response.status_code
                    async with aclosing(sse(response)) as messages:
                        async for message in messages:
                            if message.event == "message":
                                self._take(message.data)
                            self.gaps += message.event == "gap"

    async def _websocket(self, node: Node) -> None:
        address = f"ws{node.http.removeprefix('http')}/api/v1/events/ws?cursor={self.cursor}"
        if self.traces:
            address += "&traces=1"
        headers = {"Authorization": f"Bearer {self.token}"}
        socket = await connect(address, additional_headers=headers, proxy=None)
        try:
            with suppress(ConnectionClosed):
                async for frame in socket:
                    message = json.loads(frame)
                    if message["type"] == "heartbeat":
                        self.cursor = max(self.cursor, message["id"])
                    elif message["type"] == "gap":
                        self.gaps += 1
                    elif message["type"] != "closed":
                        self._take(message)
        finally:
            socket.transport.abort()

    async def _grpc(self, node: Node) -> None:
        channel = open_channel(node.grpc, UNUSED, token=self.token)
        async with channel:
            stub: Any = EventFeedStub(channel)
            request = pb.FollowRequest(cursor=self.cursor, traces=self.traces)
            with suppress(grpc.aio.AioRpcError):
                async for said in stub.Follow(request, timeout=600):
                    kind = said.WhichOneof("item")
                    if kind == "event":
                        event = said.event
                        self._add(event.id, event.node, event.type, event.call_id, event.data)
                    elif kind == "cursor":
                        self.cursor = max(self.cursor, said.cursor)
                    self.gaps += kind == "gap"

    def _take(self, event: dict[str, Any]) -> None:
        call = event["call_id"] or ""
        self._add(event["id"], event["node"], event["type"], call, event["data"])

    def _add(self, id: int, node: str, type: str, call_id: str, data: Any) -> None:
        self.seen.append(Seen(id, node, type, call_id, data))
        self.cursor = id


@asynccontextmanager
async def consoles(*open: Console) -> AsyncIterator[None]:
    """Cut all of them in the end."""
    try:
        yield
    finally:
        for console in open:
            await console.cut()


async def all_events(cluster: Cluster, after: int, at: int = 0) -> list[Seen]:
    """All events after an id, by the pages of one events node."""
    api, found = cluster.events_apis[at], list[Seen]()
    while True:
        page = await api.get("/events", cursor=after, count=1000)
        for event in page["items"]:
            found.append(
                Seen(
                    event["id"], event["node"], event["type"], event["call_id"] or "", event["data"]
                )
            )
        if page["cursor"] == after:
            return found
        after = page["cursor"]
