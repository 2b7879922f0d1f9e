"""Requests from appservers, for the public: where to, and what goes onto the wire.

Two steps, for between them the peer must be found or connected to: `plan` reads, `write` splices.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from services.proxy.domain.edge import DIALOG_METHODS, Edge
from services.proxy.domain.inbound import hop_edits, without_branch
from services.proxy.domain.learn import learn_outward
from services.proxy.domain.peer import Peer
from services.proxy.domain.routes import RouteUri, own_routes, read_uri, routes_text
from services.proxy.domain.scan import Head, drop_items, scan, splice
from services.proxy.domain.verdict import Address, Answer, Destination, Drop
from services.proxy.domain.viaedit import read_via
from tandem.siptransport.flowtoken import TRANSPORTS

UNROUTABLE: Final = Answer(503, "No numeric destination")


@dataclass(frozen=True, slots=True)
class Plan:
    """A request that can be sent: `dialog` tells that the appserver's side is named in it."""

    head: Head
    method: bytes
    uri: bytes
    popped: int
    """How many Route values on top were ours."""
    destination: Destination
    in_dialog: bool
    """Whether our public Route was in it, so that we are on the way already."""


def plan(edge: Edge, data: bytes) -> Plan | Answer | Drop:
    """Read a request that came over the link."""
    head = scan(data)
    line = data[: head.first_line_end].split(b" ") if head is not None else []
    if head is None or len(line) != 3:
        return Drop("link_unparseable")
    method, uri, _ = line
    if head.value("max-forwards") == b"0":
        return Drop("ack_483") if method == b"ACK" else Answer(483)
    routes = own_routes(edge, head)
    destination: Destination | None = routes.flow
    if destination is None and routes.dst is not None:
        destination = _of_dst(routes.dst)
    if destination is None:
        destination = _of_uri(head, routes.count, uri)
    if destination is None:
        return Drop("ack_unroutable") if method == b"ACK" else UNROUTABLE
    learn_outward(edge, head, uri, routes, destination)
    in_dialog = routes.owner is not None
    return Plan(head, method, uri, routes.count, destination, in_dialog)


def _of_dst(route: RouteUri) -> Address | None:
    """`dst=transport:host:port`, with `sni=name` for tls and wss (see `siptransport/link.py`)."""
    transport, _, where = route.params["dst"].lower().partition(":")
    host, _, port = where.rpartition(":")
    return _address(transport, host, port, route.params.get("sni"))


def _of_uri(head: Head, popped: int, uri: bytes) -> Address | None:
    """By the next Route, else the Request-URI, if its host is numeric: names are for appservers
    to resolve (RFC 3261 §16.6 step 7)."""
    items = head.items("route")[popped:]
    target = read_uri(head.data[items[0][0] : items[0][1]] if items else uri)
    if target is None:
        return None
    return _address(target.transport, target.host, str(target.target_port), None)


def _address(transport: str, host: str, port: str, sni: str | None) -> Address | None:
    try:
        numeric = str(ipaddress.ip_address(host.strip("[]")))
        number = int(port)
    except ValueError:
        return None
    if transport not in TRANSPORTS or not 0 < number < 65536:
        return None
    return Address(transport, numeric, number, sni)


def write(edge: Edge, plan: Plan, peer: Peer, appserver: str) -> bytes | None:
    """The request as it goes to `peer`; None where it has no Via of the appserver."""
    head = plan.head
    via = read_via(head)
    if via is None:
        return None
    loop = edge.loop_hash(plan.uri, routes_text(head, plan.popped))
    tail = edge.tail(via.branch, without_branch(head, plan.uri))
    lines = edge.via_out(peer, appserver, loop, tail)
    if plan.method in DIALOG_METHODS and not plan.in_dialog:
        lines += edge.record_route_out(peer, appserver)
    at = head.first_line_end + 2
    edits = [*hop_edits(head), *drop_items(head, "route", plan.popped)]
    return splice(head.data, [(at, at, lines), *edits])
