"""The public UDP sockets with the peers on each, and the address that each is reached by."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable
from typing import Final

from services.proxy.domain.edge import Edge
from services.proxy.domain.limiter import Limiter
from services.proxy.domain.peer import Peer
from tandem.runtime.address import HostPort
from tandem.siptransport.flowtoken import FlowName
from tandem.siptransport.udp import UdpSocket, pack_address, route_source, unpack_address

MAX_PEERS: Final = 65_536
"""Peers of a socket whose byte strings are kept, about 1.5 kB each; the oldest gives way and is
made anew when it comes back."""

DEFAULT_PORTS: Final = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}


class Advertised:
    """`host:port` that a remote address reaches us by."""

    def __init__(self, edge: Edge, public_address: str) -> None:
        self._edge = edge
        self._public = public_address
        self._sources: dict[str, str] = {}
        self._bound: dict[tuple[str, int], HostPort] = {}

    def listens(self, transport: str, host: str, port: int) -> None:
        """A socket of this transport was bound."""
        version = ipaddress.ip_address(host).version
        self._bound.setdefault((transport, version), HostPort(host, port))
        self._edge.own.add(str(HostPort(host, port)))
        if self._public:
            self._edge.own.add(str(HostPort(self._public, port)))

    def to(self, transport: str, remote: str) -> str:
        """What we write into Via and Record-Route towards `remote`."""
        version = ipaddress.ip_address(remote).version
        bound = self._bound.get((transport, version))
        port = bound.port if bound else DEFAULT_PORTS[transport]
        if self._public and ipaddress.ip_address(self._public).version == version:
            return str(HostPort(self._public, port))
        if bound is not None and not ipaddress.ip_address(bound.host).is_unspecified:
            return str(bound)
        found = str(HostPort(self._source(remote), port))
        self._edge.own.add(found)
        return found

    def _source(self, remote: str) -> str:
        found = self._sources.get(remote)
        if found is None:
            if len(self._sources) >= MAX_PEERS:
                self._sources.clear()
            with contextlib.suppress(OSError):
                found = route_source(remote)
            found = self._sources[remote] = found or remote
        return found


class UdpListener:
    """One public UDP socket. `peers` is looked at for each datagram."""

    def __init__(
        self,
        number: int,
        socket: UdpSocket,
        edge: Edge,
        advertised: Advertised,
        limiter: Limiter,
        refs: dict[bytes, Peer],
        clock: Callable[[], float],
    ) -> None:
        self.number = number
        self.socket = socket
        self.peers: dict[bytes, Peer] = {}
        self._edge = edge
        self._advertised = advertised
        self._limiter = limiter
        self._refs = refs
        self._clock = clock

    def takes(self, host: str) -> bool:
        """Whether this socket can send to a numeric address."""
        return (":" in host) == (":" in self.socket.host)

    def peer(self, packed: bytes) -> Peer:
        """The peer at a packed address, made when it is new."""
        found = self.peers.get(packed)
        if found is None:
            if len(self.peers) >= MAX_PEERS:
                gone = self.peers.pop(next(iter(self.peers)))
                self._refs.pop(gone.ref, None)
            found = self.peers[packed] = self._new(packed)
            self._refs[found.ref] = found
        return found

    def peer_at(self, host: str, port: int) -> Peer:
        """The same by host and port."""
        return self.peer(pack_address(host, port))

    def _new(self, packed: bytes) -> Peer:
        host, port = unpack_address(packed)
        name = FlowName(self._edge.link, "udp", host, port, self.number)
        bucket = self._limiter.bucket(host, self._clock())
        public = self._advertised.to("udp", host)
        peer = Peer(name, public, self._edge.ref(name), bucket)
        peer.sender, peer.address = self.socket.send, packed
        return self._edge.dress(peer)
