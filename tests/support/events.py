"""The event service behind a real HTTP server, its clients, and events to feed it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from services.events.__main__ import make_app
from services.events.app import Events
from services.events.config import EventsConfig
from services.events.domain.event import StoredEvent
from tandem.bus.call_events import CallRecord
from tandem.bus.memory import MemoryBus
from tandem.bus.phone_events import RegistrationRemoved
from tandem.bus.ports import Bus, Topic
from tandem.rpc.security import Security
from tandem.rpc.server import GrpcServer
from tandem.rpc.sessions import Principal
from tandem.runtime.address import HostPort
from tandem.runtime.httpserver import HttpServer
from tandem.runtime.metrics import Metrics

TIMEOUT = 20.0
KEEP_FOR_EVER = 1e6


class Tokens:
    """Sessions in which a user's name is the token; `admin` is an administrator."""

    def __init__(self) -> None:
        self.users = {"admin", "alice", "bob"}

    async def verify(self, token: str) -> Principal | None:
        return Principal(token, admin=token == "admin") if token in self.users else None


@dataclass
class Running:
    """A running event service."""

    events: Events
    bus: Bus
    tokens: Tokens
    address: str

    def publish(self, owner: str | None, number: int, **changes: Any) -> None:
        self.bus.publish(Topic.EVENTS, removed(owner, number, **changes))

    async def stored(self, last: int) -> None:
        """Wait until the log has reached an id."""
        async with asyncio.timeout(TIMEOUT):
            while self.events.feed.last < last:
                await self.events.feed.wait(self.events.feed.last, 1.0)

    def client(self, user: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {user}"}
        base = f"http://{self.address}/api/v1"
        return httpx.AsyncClient(base_url=base, headers=headers, timeout=TIMEOUT, trust_env=False)


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Running]:
    """Start the service with a database in `folder`."""
    settings.setdefault("record_keep_days", KEEP_FOR_EVER)
    config = EventsConfig(database_url=f"sqlite:///{folder}/events.db", **settings)
    bus, tokens = MemoryBus("node-a"), Tokens()
    events = Events(config, bus, tokens)
    server = HttpServer(make_app(events, Metrics()), HostPort("127.0.0.1", 0))
    await events.start()
    await bus.start()
    await server.start()
    try:
        yield Running(events, bus, tokens, str(server.address))
    finally:
        events.close_consoles()
        await server.stop()
        await bus.close()
        await events.stop()


@dataclass
class Node(Running):
    """One of several events nodes, with a gRPC server too."""

    grpc: str
    security: Security


@asynccontextmanager
async def node(name: str, database_url: str, bus: Bus, **settings: Any) -> AsyncIterator[Node]:
    """Start one of several events nodes."""
    settings.setdefault("record_keep_days", KEEP_FOR_EVER)
    settings.setdefault("heartbeat_seconds", 0.2)
    config = EventsConfig(
        node_id=name, database_url=database_url, cluster_key="a key of all nodes", **settings
    )
    tokens, security = Tokens(), config.security()
    events = Events(config, bus, tokens, cluster=True)
    server = HttpServer(make_app(events, Metrics()), HostPort("127.0.0.1", 0))
    rpc = GrpcServer(HostPort("127.0.0.1", 0), security, tokens, events.ready)
    events.serve(rpc)
    await events.start()
    await bus.start()
    await rpc.start()
    await server.start()
    events.join(grpc=rpc.address, http=server.address)
    try:
        yield Node(events, bus, tokens, str(server.address), str(rpc.address), security)
    finally:
        events.close_consoles()
        await events.leave()
        await server.stop()
        await rpc.stop()
        await bus.close()
        await events.stop()


def removed(owner: str | None, number: int, **changes: Any) -> RegistrationRemoved:
    """An event whose `data.reason` tells it from others."""
    values: dict[str, Any] = {
        "owners": (owner,) if owner else (),
        "aor": f"{owner}@example.org",
        "contact": "sip:x@192.0.2.1",
        "received": "udp:192.0.2.1:5060",
        "reason": str(number),
    }
    return RegistrationRemoved(**{**values, **changes})


def record(call_id: str, owner: str = "alice", **changes: Any) -> CallRecord:
    """A call record of an answered call."""
    values: dict[str, Any] = {
        "owners": (owner,),
        "call_id": call_id,
        "direction": "out",
        "caller": "sip:a@example.org",
        "caller_name": "",
        "destination": "sip:b@example.org",
        "source": "udp:192.0.2.1:5060",
        "sip_call_id": "x@y",
        "answered_by": "sip:b@192.0.2.2",
        "created_at": 1000.0,
        "progress_at": 1001.0,
        "progress_status": 180,
        "answered_at": 1002.0,
        "ended_at": 1010.0,
        "status": 200,
        "status_reason": "OK",
        "end_reason": "caller hung up",
        "duration": 8.0,
        "ring_duration": 1.0,
        "legs": 1,
    }
    return CallRecord(**{**values, **changes})


def stored(number: int, type: str = "call.started", **changes: Any) -> StoredEvent:
    """An event as the log gives it."""
    values: dict[str, Any] = {
        "id": number,
        "time": 1000.0 + number,
        "node": "node-a",
        "service": "appserver",
        "type": type,
        "owners": ("alice",),
        "call_id": None,
        "message": "",
        "data": {},
    }
    return StoredEvent(**{**values, **changes})


@dataclass
class Message:
    """One server-sent message."""

    id: int | None
    event: str
    data: dict[str, Any]


async def sse(response: httpx.Response) -> AsyncGenerator[Message, None]:
    """The messages of a stream, as a browser would dispatch them (HTML §9.2.6)."""
    last_id: int | None = None
    event, data = "message", ""
    async for line in response.aiter_lines():
        name, _, value = line.partition(":")
        if name == "id":
            last_id = int(value)
        elif name == "event":
            event = value.strip()
        elif name == "data":
            data += value.strip()
        elif not line and data:
            yield Message(last_id, event, json.loads(data))
            event, data = "message", ""
