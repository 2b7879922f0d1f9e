"""Provisioning's and an events node's gRPC with made-up answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from tandem.rpc.security import Security
from tandem.rpc.server import GrpcServer
from tandem.rpc.sessions import Principal
from tandem.runtime.address import HostPort
from tandem.stubs.bus.v1.location_pb2 import Binding
from tandem.stubs.bus.v1.nodes_pb2 import NodeAnnounced
from tandem.stubs.eventfeed.v1 import eventfeed_pb2 as feed
from tandem.stubs.eventfeed.v1.eventfeed_pb2_grpc import (
    EventFeedServicer,
    add_EventFeedServicer_to_server,
)
from tandem.stubs.ops.v1 import ops_pb2 as ops
from tandem.stubs.ops.v1.ops_pb2_grpc import OpsServicer, add_OpsServicer_to_server

TOKEN = "good-token"
Context = grpc.aio.ServicerContext[Any, Any]


class OneToken:
    """Sessions of one administrator."""

    async def verify(self, token: str) -> Principal | None:
        """See `tandem.rpc.sessions.Sessions`."""
        return Principal("admin", admin=True) if token == TOKEN else None


@dataclass
class FakeOps(OpsServicer):
    """Lists what it is given."""

    nodes: list[ops.Node] = field(default_factory=list)
    bindings: list[Binding] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    listed: int = 0
    """How often somebody looked."""

    async def ListNodes(self, request: ops.ListNodesRequest, context: Context) -> Any:
        """All."""
        self.listed += 1
        return ops.ListNodesResponse(nodes=self.nodes)

    async def DrainNode(self, request: ops.DrainNodeRequest, context: Context) -> Any:
        """It obeys at once."""
        for node in self.nodes:
            if node.said.node == request.node:
                node.said.state = "draining"
                return ops.DrainNodeResponse(node=node)
        await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such node.")

    async def ListBindings(self, request: ops.ListBindingsRequest, context: Context) -> Any:
        """A page of all."""
        self.asked.append(request)
        page = self.bindings[request.offset : request.offset + request.count]
        return ops.ListBindingsResponse(bindings=page, total=len(self.bindings))


Stream = Callable[[feed.FollowRequest], AsyncIterator[feed.FollowResponse]]


@dataclass
class FakeFeed(EventFeedServicer):
    """Each `Follow` takes the next of its streams."""

    streams: list[Stream] = field(default_factory=list)
    asked: list[feed.FollowRequest] = field(default_factory=list)
    refusal: grpc.StatusCode | None = None
    call: dict[str, Any] = field(default_factory=dict)

    async def GetCall(self, request: feed.GetCallRequest, context: Context) -> Any:
        """The one that is known."""
        assert request.call_id == self.call.get("id")
        answer = feed.GetCallResponse()
        answer.call.update(self.call)
        return answer

    async def Follow(
        self, request: feed.FollowRequest, context: Context
    ) -> AsyncIterator[feed.FollowResponse]:
        """The next stream; the last one never ends."""
        self.asked.append(request)
        if self.refusal is not None:
            await context.abort(self.refusal, "No.")
        if self.streams:
            async for answer in self.streams.pop(0)(request):
                yield answer
        else:
            await asyncio.Event().wait()


async def serve_ops(fake_ops: FakeOps) -> GrpcServer:
    """Provisioning alone, which knows nothing of events."""
    server = GrpcServer(HostPort("127.0.0.1", 0), Security(cluster_key="k" * 32), OneToken())
    server.add(add_OpsServicer_to_server, fake_ops, "tandem.ops.v1.Ops")
    await server.start()
    return server


async def serve(fake_ops: FakeOps, fake_feed: FakeFeed) -> GrpcServer:
    """Both on one free port."""
    server = GrpcServer(HostPort("127.0.0.1", 0), Security(cluster_key="k" * 32), OneToken())
    server.add(add_OpsServicer_to_server, fake_ops, "tandem.ops.v1.Ops")
    server.add(add_EventFeedServicer_to_server, fake_feed, "tandem.eventfeed.v1.EventFeed")
    await server.start()
    return server


def node(name: str, kind: str, **said: Any) -> ops.Node:
    """A node that was heard half a second ago."""
    announced = NodeAnnounced(node=name, kind=kind, state=said.pop("state", "active"), **said)
    return ops.Node(said=announced, silent_seconds=0.5)


def event(number: int, message: str = "") -> feed.FollowResponse:
    """An event."""
    made = feed.Event(
        id=number, time=1e9, node="n", service="proxy", type="proxy.dropped", message=message
    )
    made.data.update({"count": number, "share": 0.5})
    return feed.FollowResponse(event=made)
