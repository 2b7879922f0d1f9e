"""Route values as bytes: which of them are ours, and what they say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from services.proxy.domain.edge import Edge
from services.proxy.domain.scan import Head
from tandem.siptransport.flowtoken import FlowName

_URI_RE: Final = re.compile(
    rb"(?P<scheme>sips?):(?:(?P<user>[^@<>\"\s]*)@)?"
    rb"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)(?::(?P<port>[0-9]{1,5}))?"
    rb"(?P<params>(?:;[^;?<>\"\s]*)*)",
    re.IGNORECASE,
)
_DEFAULT_PORTS: Final = {"tls": 5061, "ws": 80, "wss": 443}

MAX_OWN_ROUTES: Final = 8
"""Route values that are looked at: we write two per passage, and a spiral passes twice."""


@dataclass(frozen=True, slots=True)
class RouteUri:
    """What forwarding reads of a Route value or Request-URI."""

    user: str
    host: str
    """Lower case, with the brackets of IPv6."""
    port: int | None
    params: dict[str, str]
    secure: bool

    @property
    def transport(self) -> str:
        """Of a URI that is sent to by itself (RFC 3263 §4.1, without DNS)."""
        transport = self.params.get("transport", "").lower()
        if self.secure:
            return "wss" if transport in ("ws", "wss") else "tls"
        return transport or "udp"

    @property
    def target_port(self) -> int:
        """Its port, or the default one of its transport."""
        return self.port or _DEFAULT_PORTS.get(self.transport, 5060)


def read_uri(text: bytes) -> RouteUri | None:
    """A URI, or an address with one in angle brackets; None for another scheme or a bad one."""
    at = text.find(b"<") + 1
    match = _URI_RE.match(text, at) if at else _URI_RE.match(text)
    if match is None:
        return None
    params: dict[str, str] = {}
    for item in match["params"].decode("ascii", "replace").split(";")[1:]:
        name, _, value = item.partition("=")
        params.setdefault(name.lower(), value)
    return RouteUri(
        (match["user"] or b"").decode("ascii", "replace"),
        match["host"].decode().lower(),
        int(match["port"]) if match["port"] else None,
        params,
        match["scheme"].lower() == b"sips",
    )


def is_own(edge: Edge, uri: RouteUri) -> bool:
    """Whether it names this proxy: by an address of ours or a domain that we serve."""
    if uri.host in edge.domains and uri.port in (None, 5060, 5061):
        return True
    if uri.port is None and uri.host in edge.own:
        return True  # a link in memory has an address without a port
    return f"{uri.host}:{uri.target_port}" in edge.own


@dataclass(frozen=True, slots=True)
class OwnRoutes:
    """What the Route values of ours on top say."""

    count: int = 0
    owner: str | None = None
    flow: FlowName | None = None
    dst: RouteUri | None = None
    """The one that has a `dst` parameter."""


def own_routes(edge: Edge, head: Head) -> OwnRoutes:
    """Read the Route values on top that are ours: signed by this cluster, or to our address."""
    count, owner, flow, dst = 0, None, None, None
    for start, end, _ in head.items("route")[:MAX_OWN_ROUTES]:
        uri = read_uri(head.data[start:end])
        if uri is None:
            break
        its_owner, its_flow = edge.key.open_owner(uri.user), edge.key.open_flow(uri.user)
        if its_owner is None and its_flow is None and not is_own(edge, uri):
            break
        count += 1
        owner = owner or its_owner
        flow = flow or its_flow
        if dst is None and "dst" in uri.params:
            dst = uri
    return OwnRoutes(count, owner, flow, dst)


def routes_text(head: Head, skip: int = 0) -> bytes:
    """The Route values after the first `skip`, for the loop hash."""
    return b",".join(head.data[start:end] for start, end, _ in head.items("route")[skip:])
