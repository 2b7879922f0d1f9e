"""What is asked of provisioning: nodes, bindings, hints, draining."""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any, Final

from tandem.bus.nodes import NodeState
from tandem.stubs.ops.v1 import ops_pb2 as ops
from tandemctl.client import DEADLINE_SECONDS, Client
from tandemctl.errors import NOT_FOUND, Problem
from tandemctl.output import clock, plain, seconds, show_json, show_table, warn, write

PAGE: Final = 1000
WAIT_SECONDS: Final = 1.0
"""Between two looks at a node that drains."""


async def nodes(client: Client, options: argparse.Namespace) -> None:
    """`tandemctl nodes`."""
    found = await client.nodes()
    if options.json:
        show_json([node_document(node) for node in found])
        return
    show_table(
        ("node", "kind", "state", "weight", "calls", "bindings", "hints", "sip", "grpc", "heard"),
        (
            (
                *(n.said.node, n.said.kind, n.said.state),
                n.said.weight if n.said.kind == "appserver" else "",
                *(n.said.calls, n.said.bindings, n.said.hints),
                n.said.sip,
                n.said.grpc,
                f"{seconds(n.silent_seconds)} ago",
            )
            for n in found
        ),
        "No node is known.",
    )


def node_document(node: ops.Node) -> dict[str, Any]:
    """A node as JSON: what it says of itself, and for how long it is silent."""
    return {**plain(node.said), "silent_seconds": round(node.silent_seconds, 3)}


async def bindings(client: Client, options: argparse.Namespace) -> None:
    """`tandemctl bindings`."""
    found: list[Any] = []
    while True:
        request = ops.ListBindingsRequest(
            aor=options.aor, owner=options.owner, offset=len(found), count=PAGE
        )
        page = await client.ask(client.ops.ListBindings(request, timeout=DEADLINE_SECONDS))
        found += page.bindings
        if not page.bindings or len(found) >= page.total:
            break
    if options.json:
        show_json([plain(binding) for binding in found])
        return
    now = time.time()
    show_table(
        ("aor", "owner", "from", "contact", "phone", "appserver", "proxy", "for"),
        (
            (
                *(b.aor, b.owner, b.received, b.contact, b.user_agent, b.node, b.proxy),
                seconds(b.expires_at - now),
            )
            for b in found
        ),
        "No phone is registered.",
    )


async def hints(client: Client, options: argparse.Namespace) -> None:
    """`tandemctl hints`."""
    answer = await client.ask(
        client.ops.ListHints(ops.ListHintsRequest(), timeout=DEADLINE_SECONDS)
    )
    if answer.silent_nodes:
        warn(f"no answer from {', '.join(answer.silent_nodes)}: their hints are missing here")
    if options.json:
        show_json([plain(hint) for hint in answer.hints])
        return
    now = time.time()
    show_table(
        ("hint", "appserver", "customer", "users", "caller", "for"),
        (
            (
                *(h.id, h.node, h.customer, ",".join(h.users), h.pattern or "anybody"),
                seconds(h.expires_at - now),
            )
            for h in answer.hints
        ),
        "No call waits for a callback.",
    )


async def drain(client: Client, options: argparse.Namespace) -> None:
    """`tandemctl drain NODE [--wait]`."""
    request = ops.DrainNodeRequest(node=options.node)
    answer = await client.ask(client.ops.DrainNode(request, timeout=DEADLINE_SECONDS))
    node = answer.node
    if options.wait is not None:
        node = await _drained(client, node, options.wait)
    _show_node(node, options)


async def undrain(client: Client, options: argparse.Namespace) -> None:
    """`tandemctl undrain NODE`."""
    request = ops.UndrainNodeRequest(node=options.node)
    answer = await client.ask(client.ops.UndrainNode(request, timeout=DEADLINE_SECONDS))
    _show_node(answer.node, options)


async def hang_up(client: Client, options: argparse.Namespace) -> None:
    """`tandemctl calls hangup ID`."""
    request = ops.HangUpRequest(call_id=options.call)
    answer = await client.ask(client.ops.HangUp(request, timeout=DEADLINE_SECONDS))
    if options.json:
        show_json({"call_id": options.call, "node": answer.node})
    else:
        write(f"{options.call} was ended on {answer.node}")


async def _drained(client: Client, node: ops.Node, patience: float) -> ops.Node:
    """Wait until the node has no call left, or has stopped."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    name, shown = node.said.node, -1
    while node.said.calls and node.said.state in (NodeState.ACTIVE, NodeState.DRAINING):
        if loop.time() > deadline:
            raise Problem(f"{name} still has {node.said.calls} calls after {seconds(patience)}")
        if node.said.calls != shown:
            shown = node.said.calls
            warn(f"{name} drains: {shown} calls left")
        await asyncio.sleep(WAIT_SECONDS)
        found = [other for other in await client.nodes() if other.said.node == name]
        if not found:
            raise Problem(f"{name} is not known any more", NOT_FOUND)
        node = found[0]
    return node


def _show_node(node: ops.Node, options: argparse.Namespace) -> None:
    if options.json:
        show_json(node_document(node))
    else:
        said = node.said
        write(f"{said.node} is {said.state} with {said.calls} calls ({clock(time.time())})")
