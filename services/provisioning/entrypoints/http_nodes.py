"""/nodes: the servers of the cluster, for administrators."""

from __future__ import annotations

from typing import Any, Final

from services.provisioning.entrypoints.http_models import NodeView
from services.provisioning.entrypoints.http_route import Caller, Cases, Listing, Part, routes
from services.provisioning.handlers.customers import only_administrators
from tandem.rpc.http import PROBLEM_RESPONSES

router = routes("/nodes", 403)
_NOT_FOUND: Final[dict[int | str, dict[str, Any]]] = {404: PROBLEM_RESPONSES[404]}


@router.get("", summary="List the servers")
async def listing(caller: Caller, cases: Cases, part: Part) -> Listing[NodeView]:
    """By kind and id; those that stopped or were lost within the last hour too."""
    only_administrators(caller)
    nodes = cases.operations.nodes()
    items = [
        NodeView.of(seen.said, seen.silent_seconds)
        for seen in nodes[part.offset : part.offset + part.count]
    ]
    return Listing(items=items, total=len(nodes))


@router.post("/{node}/drain", summary="Have a server take nothing new", responses=_NOT_FOUND)
async def drain(node: str, caller: Caller, cases: Cases) -> NodeView:
    """It finishes what it has; the answer comes when it says that it drains."""
    only_administrators(caller)
    seen = await cases.operations.drain(node, True)
    return NodeView.of(seen.said, seen.silent_seconds)


@router.post("/{node}/undrain", summary="Have it take part again", responses=_NOT_FOUND)
async def undrain(node: str, caller: Caller, cases: Cases) -> NodeView:
    """The answer comes when it says that it is active."""
    only_administrators(caller)
    seen = await cases.operations.drain(node, False)
    return NodeView.of(seen.said, seen.silent_seconds)
