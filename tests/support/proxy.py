"""A proxy's pure part with one appserver, and messages to put through it."""

from __future__ import annotations

from services.proxy.domain.appservers import Appservers
from services.proxy.domain.dispatch import Dispatch
from services.proxy.domain.edge import Edge
from services.proxy.domain.fast import FastPath
from services.proxy.domain.inbound import Inbound, Verdict
from services.proxy.domain.limiter import Bucket
from services.proxy.domain.peer import Peer
from services.proxy.domain.verdict import ToAppserver
from tandem.siptransport.flowtoken import FlowName, TokenKey

APPSERVER = "10.0.0.9:7000"
LINK = "10.0.0.1:7000"
PUBLIC = "198.51.100.1:5060"
KEY = TokenKey(b"the cluster's key")


def make_edge(key: TokenKey = KEY, node: str = "proxy1") -> Edge:
    """A proxy that serves example.com and listens on PUBLIC."""
    edge = Edge(LINK, key, 7, node, ("example.com",))
    edge.own.add(PUBLIC)
    return edge


def make_peer(
    edge: Edge, host: str = "203.0.113.7", port: int = 5062, transport: str = "udp"
) -> Peer:
    """A phone."""
    connection = 0 if transport == "udp" else 3
    epoch = edge.epoch if connection else 0
    name = FlowName(edge.link, transport, host, port, 0, epoch, connection)
    public = "[2001:db8::1]:5060" if ":" in host else PUBLIC
    return edge.dress(Peer(name, public, edge.ref(name), Bucket(100.0, 0.0)))


class World:
    """An edge, its appservers and one phone."""

    def __init__(self, active: tuple[str, ...] = (APPSERVER,)) -> None:
        self.edge = make_edge()
        self.appservers = Appservers(active)
        self.dispatch = Dispatch(self.appservers)
        self.fast = FastPath(self.edge, self.appservers, self.dispatch)
        self.inbound = Inbound(self.edge, self.appservers, self.dispatch)
        self.peer = make_peer(self.edge)

    def general(self, data: bytes, peer: Peer | None = None) -> Verdict:
        """The verdict of the general way."""
        return self.inbound.request(data, peer or self.peer)

    def forwarded_to(self, data: bytes, peer: Peer | None = None) -> tuple[bytes, str]:
        """What the general way sends, and to which appserver."""
        verdict = self.general(data, peer)
        assert isinstance(verdict, ToAppserver), verdict
        return verdict.data, verdict.appserver

    def forwarded(self, data: bytes, peer: Peer | None = None) -> bytes:
        """What the general way sends to the appserver."""
        verdict = self.general(data, peer)
        assert isinstance(verdict, ToAppserver), verdict
        assert verdict.appserver == APPSERVER
        return verdict.data


def request(
    method: str = "INVITE",
    uri: str = "sip:bob@example.com",
    *,
    via: str = "SIP/2.0/UDP 203.0.113.7:5062;branch=z9hG4bKabc;rport",
    headers: tuple[str, ...] = (),
    hops: str | None = "70",
    body: str = "",
) -> bytes:
    """A request as a phone sends it."""
    lines = [f"{method} {uri} SIP/2.0", f"Via: {via}"]
    if hops is not None:
        lines.append(f"Max-Forwards: {hops}")
    lines += [
        "From: <sip:alice@example.com>;tag=1",
        "To: <sip:bob@example.com>",
        "Call-ID: one@203.0.113.7",
        f"CSeq: 1 {method}",
        *headers,
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join([*lines, "", ""]) + body).encode()


def response_to(data: bytes, status: int = 200) -> bytes:
    """A response that copies what a response copies."""
    lines = data.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    kept = [
        line
        for line in lines
        if line.lower().startswith((b"via:", b"from:", b"to:", b"call-id:", b"cseq:"))
    ]
    return b"\r\n".join([b"SIP/2.0 %d OK" % status, *kept, b"Content-Length: 0", b"", b""])


def values(data: bytes, name: str) -> list[str]:
    """The values of all lines of this header."""
    head = data.partition(b"\r\n\r\n")[0].decode()
    prefix = name.lower() + ":"
    return [
        line[len(prefix) :].strip()
        for line in head.split("\r\n")
        if line.lower().startswith(prefix)
    ]
