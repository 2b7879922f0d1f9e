"""The composition root of a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Final

from services.proxy.adapters.listeners import Advertised, UdpListener
from services.proxy.adapters.peers import PeerTable
from services.proxy.adapters.probes import OptionsProbes
from services.proxy.config import ProxyConfig
from services.proxy.domain.appservers import Appservers
from services.proxy.domain.dispatch import Dispatch
from services.proxy.domain.edge import Edge
from services.proxy.domain.hints import HintTable
from services.proxy.domain.limiter import Limiter
from services.proxy.domain.members import INTERVAL, Members
from services.proxy.domain.peer import Peer
from services.proxy.handlers.drops import Drops
from services.proxy.handlers.forwarder import UNREACHABLE, Forwarder
from services.proxy.handlers.orphans import Orphans
from services.proxy.handlers.pending import Pending
from tandem.bus.ports import Publisher
from tandem.runtime.address import HostPort
from tandem.siptransport.flowtoken import TokenKey
from tandem.siptransport.link import CONTROL, BatchLink
from tandem.siptransport.stream import Streams
from tandem.siptransport.tls import server_context
from tandem.siptransport.udp import UdpSocket

if TYPE_CHECKING:
    from services.proxy.handlers.spans import RequestSpans
    from tandem.runtime.telemetry import Tracing

FIRST_ANSWER: Final = 1.0
"""Seconds that the start waits for an appserver to answer a probe, so that `ready` means it."""
_SOMEWHERE: Final = ("192.0.2.1", "2001:db8::1")
"""Addresses outside (RFC 5737, RFC 3849), to ask which of ours the way there leaves from."""
PORT_TRIES: Final = 20
"""Free UDP ports tried until one is free for TCP too, where port 0 was asked for."""


class Proxy:
    """A stateless edge between the public and the appservers at the other ends of `link`."""

    def __init__(
        self,
        config: ProxyConfig,
        link: BatchLink,
        publisher: Publisher,
        tracing: Tracing | None = None,
    ) -> None:
        """Raises nothing; sockets are opened by `start`. The link is its owner's to close."""
        self.config = config
        self._counters: Counter[str] = Counter()
        self.addresses: list[tuple[str, str, int]] = []
        """(transport, host, port) of each public socket, once started."""
        self._link = link
        self._publisher = publisher
        self._tracing = tracing
        self._spans: RequestSpans | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._streams: Streams | None = None
        key = TokenKey(config.cluster_key.encode() or os.urandom(32))
        epoch = int.from_bytes(os.urandom(4), "big")
        self._edge = Edge(
            link.address, key, epoch, config.node_id, config.domains, config.public_name
        )
        self._clock = time.monotonic
        self.appservers = Appservers()
        """Those that are alive."""
        self.members = Members(
            config.appservers, self.appservers, self._clock, probed=not link.reliable
        )
        """All that are known of, with what they announced and answered."""
        self.hints = HintTable()
        """The next-call hints that are live."""
        self.dispatch = Dispatch(self.appservers, self.hints, remember=not link.reliable)
        """Who gets which call."""

    def begin(self) -> None:
        """Talk to appservers over the link from now on; `start` opens the public sockets."""
        clock = asyncio.get_running_loop().time
        self._limiter = limiter = Limiter(self.config.rate_limit)
        self._advertised = advertised = Advertised(self._edge, self.config.public_address)
        self._peers = peers = PeerTable(self._edge, advertised, limiter, clock)
        if self._tracing is not None:
            self._link = self._traced(self._tracing, self._link, peers)
        self._probes = OptionsProbes(self.members, self._link)
        self._drops = Drops(self._counters, self._publisher, clock)
        later = asyncio.get_running_loop().call_later
        self.pending = Pending(self.appservers, self._link, clock, later)
        peers.pending = None if self._link.reliable else self.pending
        self.forwarder = Forwarder(
            self._edge, self.appservers, self.dispatch, limiter, self._link, peers, self._probes,
            self._drops, peers.pending, self._counters, clock,
        )  # fmt: skip
        self.orphans = Orphans(
            self.appservers, self.members.has_stopped, self.dispatch, self.forwarder.answer, later
        )
        self._streams = peers.streams = Streams(peers)
        peers.receiver = self.forwarder.message
        peers.on_registered_closed = self._tell_closed
        peers.on_failed = self._failed
        self._link.receiver = self.forwarder.from_link
        self._on_tick()

    def _traced(self, tracing: Tracing, link: BatchLink, peers: PeerTable) -> BatchLink:
        # not at the top: most switches are not traced, and OpenTelemetry takes time to load
        from services.proxy.handlers.spans import RequestSpans, TracedLink

        self._spans = RequestSpans(tracing, peers.find, self._clock)
        return TracedLink(link, self._spans)

    async def start(self) -> None:
        """Find an appserver, open the sockets and begin to forward; raises OSError for an address
        that can't be had, and TlsFileError for a certificate that can't be used."""
        if self._streams is None:
            self.begin()
        assert self._streams is not None
        try:
            if not self._link.reliable:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._probes.found.wait(), FIRST_ANSWER)
            await self._listen(self._streams, self._advertised, self._limiter)
        except BaseException:
            await self.stop()
            raise

    @property
    def public_addresses(self) -> list[str]:
        """`transport:host:port` of each public socket as clients reach it."""
        found = []
        for transport, host, _ in self.addresses:
            somewhere = _SOMEWHERE[":" in host]
            address = self._advertised.to(transport, somewhere)
            if somewhere not in address:  # there is no way there from here
                found.append(f"{transport}:{address}")
        return found

    @property
    def counters(self) -> Counter[str]:
        """What happened since the start, by name (0 for any that is not in it); for metrics."""
        if self._streams is None:
            return Counter(self._counters)
        lost = sum(listener.socket.lost for listener in self._peers.listeners)
        forwarder = self.forwarder
        more = {
            "requests_in": sum(forwarder.methods_in.values()),
            "requests_out": sum(forwarder.methods_out.values()),
            "responses_in": sum(forwarder.classes_in),
            "responses_out": sum(forwarder.classes_out),
            "send_failed": lost,
        }
        more |= {f"streams_{name}": n for name, n in asdict(self._streams.counters).items()}
        found = Counter(more)
        found.update(self._counters)
        return found

    async def stop(self) -> None:
        """Close the public sockets, what was queued sent; a second call does nothing."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        self._link.receiver = lambda data, peer: None
        if self._spans is not None:
            self._spans.close()
        if self._streams is not None:
            streams, self._streams = self._streams, None
            for listener in self._peers.listeners:
                listener.socket.close()
            await streams.close()

    # -- sockets ---------------------------------------------------------------------------

    async def _listen(self, streams: Streams, advertised: Advertised, limiter: Limiter) -> None:
        config = self.config
        for where in config.sip_listen:
            socket, (host, port) = await self._udp_and_tcp(streams, where)
            advertised.listens("udp", host, port)
            advertised.listens("tcp", host, port)
            self._add_udp(socket, advertised, limiter)
            self.addresses += (("udp", host, port), ("tcp", host, port))
        cert, key = config.tls_cert, config.tls_key
        context = server_context(cert, key) if cert is not None and key is not None else None
        for transport, places in (
            ("tls", config.tls_listen), ("ws", config.ws_listen), ("wss", config.wss_listen),
        ):  # fmt: skip
            tls = context if transport != "ws" else None
            for where in places:
                host, port = await streams.listen(transport, where.host, where.port, ssl=tls)
                advertised.listens(transport, host, port)
                self.addresses.append((transport, host, port))

    async def _udp_and_tcp(
        self, streams: Streams, where: HostPort
    ) -> tuple[UdpSocket, tuple[str, int]]:
        """One port for both."""
        for attempt in range(1, PORT_TRIES + 1):
            socket = UdpSocket.open(where.host, where.port)
            try:
                return socket, await streams.listen("tcp", socket.host, socket.port)
            except OSError:
                socket.close()
                if where.port or attempt == PORT_TRIES:
                    raise
        raise AssertionError("the loop returns or raises")

    def _add_udp(self, socket: UdpSocket, advertised: Advertised, limiter: Limiter) -> None:
        clock, peers = asyncio.get_running_loop().time, self._peers
        number = len(peers.listeners)
        listener = UdpListener(number, socket, self._edge, advertised, limiter, peers.refs, clock)
        peers.listeners.append(listener)
        socket.receiver = partial(self.forwarder.datagrams, known=listener.peers, new=listener.peer)
        socket.start()

    # -- appservers ------------------------------------------------------------------------

    def _on_tick(self) -> None:
        self._tick = asyncio.get_running_loop().call_later(INTERVAL, self._on_tick)
        if not self._link.reliable:  # in one process the appserver lives as long as we do
            self._probes.tick()
        self.dispatch.tick(asyncio.get_running_loop().time())
        self._drops.tell()

    def _tell_closed(self, peer: Peer) -> None:
        token = self._edge.key.sign_flow(peer.name).encode()
        for appserver in self.appservers.alive:
            self._link.send(CONTROL + b"FLOW-CLOSED " + token, appserver)

    def _failed(self, request: bytes, appserver: str) -> None:
        self.forwarder.answer_link(request, UNREACHABLE, appserver)
