"""The Ops service over gRPC (protos/tandem/ops/v1): what operators' tools call."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final, Protocol, TypeVar

import grpc

from services.provisioning.domain.errors import NotFound, Unanswered
from services.provisioning.handlers.nodes import Operations, SeenNode
from services.provisioning.ports import Page
from tandem.bus.location import Binding
from tandem.rpc.caller import Context, require_admin
from tandem.rpc.messages import bindings_out, hints_out, node_out
from tandem.rpc.sessions import Principal
from tandem.stubs.ops.v1 import ops_pb2 as pb
from tandem.stubs.ops.v1.ops_pb2_grpc import OpsServicer

NAME: Final = "tandem.ops.v1.Ops"
MAX_BINDINGS: Final = 1000
"""In one answer."""

T = TypeVar("T")


class Bindings(Protocol):
    """Where bindings are read: `handlers.location.LocationCopy`."""

    async def page(
        self, caller: Principal, offset: int, count: int, aor: str = ""
    ) -> Page[Binding]:
        """A piece of the caller's live bindings, or of those of one AOR."""


class GrpcOps(OpsServicer):
    """For administrators and services."""

    def __init__(self, operations: Operations, bindings: Bindings) -> None:
        self._operations = operations
        self._bindings = bindings

    async def ListNodes(
        self, _request: pb.ListNodesRequest, context: Context
    ) -> pb.ListNodesResponse:
        """All nodes."""
        await require_admin(context)
        return pb.ListNodesResponse(nodes=[_node(seen) for seen in self._operations.nodes()])

    async def DrainNode(
        self, request: pb.DrainNodeRequest, context: Context
    ) -> pb.DrainNodeResponse:
        """Have a node drain."""
        await require_admin(context)
        seen = await _done(self._operations.drain(request.node, True), context)
        return pb.DrainNodeResponse(node=_node(seen))

    async def UndrainNode(
        self, request: pb.UndrainNodeRequest, context: Context
    ) -> pb.UndrainNodeResponse:
        """Have it take part again."""
        await require_admin(context)
        seen = await _done(self._operations.drain(request.node, False), context)
        return pb.UndrainNodeResponse(node=_node(seen))

    async def ListBindings(
        self, request: pb.ListBindingsRequest, context: Context
    ) -> pb.ListBindingsResponse:
        """Live bindings of the durable copy."""
        await require_admin(context)
        if request.offset < 0 or not 0 <= request.count <= MAX_BINDINGS:
            text = f"offset: not below 0; count: not above {MAX_BINDINGS}"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        whose = Principal(request.owner, admin=not request.owner)
        page = await self._bindings.page(
            whose, request.offset, request.count or MAX_BINDINGS, request.aor
        )
        return pb.ListBindingsResponse(bindings=bindings_out(page.items), total=page.total)

    async def ListHints(
        self, _request: pb.ListHintsRequest, context: Context
    ) -> pb.ListHintsResponse:
        """The live hints of all appservers."""
        await require_admin(context)
        hints, silent = await self._operations.hints()
        return pb.ListHintsResponse(hints=hints_out(hints), silent_nodes=silent)

    async def HangUp(self, request: pb.HangUpRequest, context: Context) -> pb.HangUpResponse:
        """End a call."""
        await require_admin(context)
        return pb.HangUpResponse(
            node=await _done(self._operations.hang_up(request.call_id), context)
        )


async def _done(use_case: Awaitable[T], context: Context) -> T:
    try:
        return await use_case
    except NotFound as fault:
        await context.abort(grpc.StatusCode.NOT_FOUND, fault.detail)
    except Unanswered as fault:
        await context.abort(grpc.StatusCode.UNAVAILABLE, fault.detail)


def _node(seen: SeenNode) -> pb.Node:
    return pb.Node(said=node_out(seen.said), silent_seconds=seen.silent_seconds)
