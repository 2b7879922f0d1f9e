"""Responses, both ways: take our Via off and follow what it says (RFC 3261 §16.11, §18.2.2)."""

from __future__ import annotations

import ipaddress

from services.proxy.domain.edge import MARK, Edge
from services.proxy.domain.scan import Head, drop_items, scan, splice
from services.proxy.domain.verdict import Address, Back, Drop, ToAppserver
from services.proxy.domain.viaedit import TopVia, read_via, read_via_at


def from_public(edge: Edge, data: bytes) -> ToAppserver | Drop:
    """A response from outside: only one to a request that we sent comes in."""
    head = scan(data)
    via = read_via(head) if head is not None else None
    if head is None or via is None or via.branch is None:
        return Drop("response_unparseable")
    appserver = edge.read_via_out(via.branch)
    if appserver is None:
        return Drop("response_forged")
    if len(head.items("via")) < 2:
        return Drop("response_without_next_via")
    return ToAppserver(splice(data, drop_items(head, "via", 1)), appserver)


def from_link(edge: Edge, data: bytes) -> Back | Drop:
    """A response from an appserver, in any legal spelling."""
    head = scan(data)
    via = read_via(head) if head is not None else None
    if head is None or via is None or via.branch is None:
        return Drop("link_unparseable")
    parts = via.branch.split(b".", 1)
    if not via.branch.startswith(MARK) or len(parts) != 2:
        return Drop("link_response_not_ours")
    ref = parts[0][len(MARK) :]
    return Back(splice(data, drop_items(head, "via", 1)), ref, fallback(head))


def fallback(head: Head) -> Address | None:
    """§18.2.2: where a response goes whose connection is gone: a new one to `received` at the
    port of sent-by. Nobody listens for WebSocket connections at a client."""
    items = head.items("via")
    via: TopVia | None = read_via_at(head.data, *items[1][:2]) if len(items) > 1 else None
    if via is None:
        return None
    transport = head.data[items[1][0] : items[1][1]].upper()
    name = "tls" if transport.startswith(b"SIP/2.0/TLS") else "tcp"
    if transport.startswith(b"SIP/2.0/WS"):
        return None
    try:
        host = str(ipaddress.ip_address(via.value("received") or via.host))
    except ValueError:
        return None
    return Address(name, host, via.port or (5061 if name == "tls" else 5060))
