"""The stream transports: listeners and connections for TCP, TLS, WS and WSS (RFC 3261 §18).

One timer sweeps the deadlines of all connections; a connection has no task and no timer of its
own, but for the task that sets up an outgoing one.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import itertools
from collections import Counter
from collections.abc import Iterable
from ssl import SSLContext

from tandem.siptransport.codec import Codec, StreamCodec
from tandem.siptransport.connection import Connection, error_text
from tandem.siptransport.flow import (
    STREAM_TRANSPORTS,
    Address,
    Flow,
    FlowUser,
    StreamCounters,
    StreamLimits,
)
from tandem.siptransport.tls import TlsCodec, client_context
from tandem.siptransport.ws import WsCodec

_SECURE = frozenset({"tls", "wss"})

_Dialled = tuple[asyncio.Transport, Connection]

_Key = tuple[str, str, int, str]  # transport, host, port, server name


class Streams:
    """Owns the listeners and the connections. Made and used in one running event loop."""

    def __init__(
        self,
        user: FlowUser,
        limits: StreamLimits | None = None,
        client_tls: SSLContext | None = None,
    ) -> None:
        """`client_tls` is for outgoing TLS; without it the system's authorities are trusted."""
        self.user = user
        self.limits = limits or StreamLimits()
        self.counters = StreamCounters()
        self._loop = asyncio.get_running_loop()
        self.clock = self._loop.time
        self._client_tls = client_tls
        self._ids = itertools.count(1)
        self._servers: list[asyncio.Server] = []
        self._flows: dict[int, Connection] = {}
        self._incoming: Counter[str] = Counter()  # connections by network
        self._by_address: dict[_Key, Connection] = {}
        self._dialling: dict[int, asyncio.Task[_Dialled]] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._closing = False
        self._empty = asyncio.Event()

    # -- what the user calls -------------------------------------------------------------------

    async def listen(
        self,
        transport: str,
        host: str,
        port: int,
        *,
        ssl: SSLContext | None = None,
        reuse_port: bool = False,
    ) -> Address:
        """Listen on an IP address (IPv6 without brackets); port 0 takes a free one. With
        `reuse_port` the worker processes of a node share it. Returns what was bound. Raises
        OSError for an address in use, ValueError for wrong arguments."""
        if transport not in STREAM_TRANSPORTS:
            raise ValueError(f"no stream transport: {transport}")
        if (ssl is not None) != (transport in _SECURE):
            raise ValueError(f"{transport} {'needs a' if ssl is None else 'takes no'} TLS context")
        make_codec = functools.partial(_server_codec, transport, ssl)
        server = await self._loop.create_server(
            lambda: Connection(self, next(self._ids), transport, make_codec),
            host,
            port,
            backlog=self.limits.accepts,
            reuse_port=reuse_port,
        )
        self._servers.append(server)
        name = server.sockets[0].getsockname()
        return (name[0], name[1])

    def connect(
        self, transport: str, host: str, port: int, *, server_name: str | None = None
    ) -> Flow:
        """A flow to an IP address, at once: one that is there already, or a new one that queues
        what is sent until it is set up. `server_name` is what the certificate must be for (RFC
        5922: the domain of the URI); only a flow that was set up with it is given again."""
        host = _canonical(host)
        key = (transport, host, port, server_name or "")
        return self._by_address.get(key) or self._connect(key)

    def get(self, flow_id: int) -> Flow | None:
        """The flow of this id, if it is still open."""
        connection = self._flows.get(flow_id)
        return None if connection is None or connection.closed else connection

    def flows(self) -> Iterable[Flow]:
        """All open flows."""
        return [connection for connection in self._flows.values() if not connection.closed]

    async def close(self) -> None:
        """Stop to listen, close all flows after what was sent to them, and wait for their end
        (StreamLimits.linger at most, and one sweep)."""
        self._closing = True
        for server in self._servers:
            server.close()
        for connection in list(self._flows.values()):
            connection.close("shutting down")
        if self._flows:
            await self._empty.wait()
        if self._sweeper is not None:
            self._sweeper.cancel()

    # -- what connections call -----------------------------------------------------------------

    def admit(self, connection: Connection) -> bool:
        """See connection.Owner."""
        network = network_of(connection.remote[0])
        limits = self.limits
        full = len(self._flows) >= limits.connections
        if full or self._closing or self._incoming[network] >= limits.per_address:
            self.counters.refused += 1
            return False
        self._incoming[network] += 1
        self.counters.accepted += 1
        self._register(connection)
        self._by_address.setdefault((connection.transport, *connection.remote, ""), connection)
        return True

    def closing(self, connection: Connection) -> None:
        """See connection.Owner."""
        for name in {connection.server_name, ""}:
            key = (connection.transport, *connection.remote, name)
            if self._by_address.get(key) is connection:
                del self._by_address[key]
        task = self._dialling.get(connection.id)
        if task is not None:
            task.cancel()

    def lost(self, connection: Connection, reason: str) -> None:
        """See connection.Owner."""
        if self._flows.pop(connection.id, None) is None:
            return  # it was never admitted
        if connection.incoming:
            network = network_of(connection.remote[0])
            self._incoming[network] -= 1
            if not self._incoming[network]:
                del self._incoming[network]
        if not self._flows:
            self._empty.set()
        self.user.on_flow_closed(connection, reason)

    # -- inside --------------------------------------------------------------------------------

    def _connect(self, key: _Key) -> Connection:
        transport, host, port, server_name = key
        connection = Connection(
            self,
            next(self._ids),
            transport,
            lambda: self._client_codec(transport, server_name or host),
            (host, port),
            server_name,
        )
        problem = self._why_not(transport, host, port)
        self._register(connection)
        if problem:
            self._loop.call_soon(connection.give_up, problem)
            return connection
        self._by_address[key] = connection
        self._by_address.setdefault((transport, host, port, ""), connection)
        task = self._loop.create_task(
            self._loop.create_connection(lambda: connection, host, port), name=repr(connection)
        )
        self._dialling[connection.id] = task
        task.add_done_callback(functools.partial(self._dialled, connection))
        return connection

    def _dialled(self, connection: Connection, task: asyncio.Task[_Dialled]) -> None:
        del self._dialling[connection.id]
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            connection.give_up("cancelled" if error is None else error_text(error))

    def _why_not(self, transport: str, host: str, port: int) -> str:
        if transport not in ("tcp", "tls"):
            return f"no connection can be made over {transport}, only taken"
        if self._closing:
            return "shutting down"
        if len(self._flows) >= self.limits.connections:
            self.counters.refused += 1
            return "too many connections"
        if not _is_address(host):
            return f"not an IP address: {host}"
        return "" if 0 < port < 65536 else f"not a port: {port}"

    def _client_codec(self, transport: str, server_name: str) -> Codec:
        if transport == "tcp":
            return StreamCodec()
        if self._client_tls is None:
            self._client_tls = client_context()
        return TlsCodec(StreamCodec(), self._client_tls, server_side=False, server_name=server_name)

    def _register(self, connection: Connection) -> None:
        self._flows[connection.id] = connection
        self._empty.clear()
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self.limits.sweep, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self.clock()
        due = [connection for connection in self._flows.values() if connection.deadline <= now]
        for connection in due:
            connection.on_deadline()
        if self._flows:
            self._sweeper = self._loop.call_later(self.limits.sweep, self._sweep)


def network_of(host: str) -> str:
    """What the limit per address counts by: an IPv4 address, or the /64 that an IPv6 customer
    has to choose its addresses from."""
    if ":" not in host:
        return host
    packed = ipaddress.ip_address(host.partition("%")[0]).packed
    return packed[:8].hex()


def _canonical(host: str) -> str:
    if ":" not in host:
        return host
    host = host.strip("[]")
    return str(ipaddress.ip_address(host)) if _is_address(host) else host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _server_codec(transport: str, ssl: SSLContext | None) -> Codec:
    codec: Codec = WsCodec() if transport in ("ws", "wss") else StreamCodec()
    return codec if ssl is None else TlsCodec(codec, ssl, server_side=True)
