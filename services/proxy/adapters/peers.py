"""All peers, on UDP and on connections: the `Peers` port, and the user of the streams' flows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from services.proxy.adapters.listeners import Advertised, UdpListener
from services.proxy.domain.edge import Edge
from services.proxy.domain.limiter import Limiter
from services.proxy.domain.peer import Peer
from services.proxy.domain.verdict import Destination
from services.proxy.handlers.pending import Pending
from tandem.siptransport.flow import Flow
from tandem.siptransport.flowtoken import FlowName
from tandem.siptransport.stream import Streams

MAX_EXPECTED: Final = 64
"""Requests per connection that are answered 503 when it ends before anything came back; what is
beyond waits for the appserver's own timer."""

UDP_KEEPALIVE: Final = b"\0\0\0\0"
"""Four zero bytes: phones drop them unread, and many log CRLFs as malformed messages."""


class PeerTable:
    """Peers by every name they have. `receiver` and the `on_` attributes are for the composition
    to set."""

    def __init__(
        self, edge: Edge, advertised: Advertised, limiter: Limiter, clock: Callable[[], float]
    ) -> None:
        self.refs: dict[bytes, Peer] = {}
        self.listeners: list[UdpListener] = []
        self.streams: Streams | None = None
        self.receiver: Callable[[bytes, Peer], None] = lambda data, peer: None
        self.on_registered_closed: Callable[[Peer], None] = lambda peer: None
        self.on_failed: Callable[[bytes, str], None] = lambda request, appserver: None
        self.pending: Pending | None = None
        """What is told of responses on connections, and of their end."""
        self._edge = edge
        self._advertised = advertised
        self._limiter = limiter
        self._clock = clock
        self._flows: dict[int, Peer] = {}
        self._expected: dict[int, deque[tuple[bytes, str]]] = {}

    # -- the port --------------------------------------------------------------------------

    def reach(self, destination: Destination) -> Peer | None:
        """See ports.Peers."""
        if isinstance(destination, FlowName):
            return self._flow(destination)
        host, port = destination.host, destination.port
        if destination.transport == "udp":
            listener = next((each for each in self.listeners if each.takes(host)), None)
            return listener.peer_at(host, port) if listener is not None else None
        if self.streams is None:
            return None
        name = destination.server_name
        return self.of_flow(
            self.streams.connect(destination.transport, host, port, server_name=name)
        )

    def _flow(self, name: FlowName) -> Peer | None:
        if name.transport != "udp":
            if self.streams is None or not self._edge.holds(name):
                return None
            flow = self.streams.get(name.connection)
            return self.of_flow(flow) if flow is not None else None
        if name.listener < len(self.listeners) and self.listeners[name.listener].takes(name.host):
            return self.listeners[name.listener].peer_at(name.host, name.port)
        return None

    def find(self, ref: bytes) -> Peer | None:
        """See ports.Peers."""
        known = self.refs.get(ref)
        if known is not None:
            return known
        name = self._edge.read_ref(ref)
        if name is None:
            return None
        if name.connection:
            return None  # an open connection is in `refs`
        return self._flow(name) if name.port else None

    def keepalive(self, peer: Peer) -> None:
        """See ports.Peers."""
        if peer.name.transport == "udp":
            peer.sender(UDP_KEEPALIVE, peer.address)
        elif self.streams is not None:
            flow = self.streams.get(peer.name.connection)
            if flow is not None:
                flow.keepalive()

    def expect(self, peer: Peer, request: bytes, appserver: str) -> None:
        """See ports.Peers."""
        queue = self._expected.get(peer.name.connection)
        if queue is not None and len(queue) < MAX_EXPECTED:
            queue.append((request, appserver))

    # -- what the streams call -------------------------------------------------------------

    def on_message(self, data: bytes, flow: Flow) -> None:
        """A message of a connection."""
        peer = self._flows.get(flow.id) or self.of_flow(flow)
        expected = self._expected[flow.id]
        if expected:
            expected.clear()
        self.receiver(data, peer)

    def on_flow_closed(self, flow: Flow, reason: str) -> None:
        """A connection is gone, or could not be made."""
        peer = self._flows.pop(flow.id, None)
        if peer is None:
            return
        self.refs.pop(peer.ref, None)
        if self.pending is not None and peer.waiting:
            self.pending.closed(peer.waiting)
        for request, appserver in self._expected.pop(flow.id, ()):
            self.on_failed(request, appserver)
        if peer.registered:
            self.on_registered_closed(peer)

    def of_flow(self, flow: Flow) -> Peer:
        """The peer at the other end of a connection."""
        found = self._flows.get(flow.id)
        if found is None:
            found = self._flows[flow.id] = self._new(flow)
            self.refs[found.ref] = found
            self._expected[flow.id] = deque()
        return found

    def _new(self, flow: Flow) -> Peer:
        host, port = flow.remote
        host = host.partition("%")[0]
        edge = self._edge
        name = FlowName(edge.link, flow.transport, host, port, 0, edge.epoch, flow.id)
        bucket = self._limiter.bucket(host, self._clock())
        peer = Peer(name, self._advertised.to(flow.transport, host), edge.ref(name), bucket)
        send = flow.send
        pending = self.pending
        if pending is None:
            peer.sender = lambda data, address: send(data)
            return edge.dress(peer)
        waiting = peer.waiting = {}

        def watched(data: bytes, address: bytes) -> object:
            if waiting and data.startswith(b"SIP/"):
                pending.responded(waiting, data)
            return send(data)

        peer.sender = watched
        return edge.dress(peer)
