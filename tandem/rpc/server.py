"""A gRPC server: one listener, its services, health and reflection.

    server = GrpcServer(config.grpc_listen, security, sessions, ready)
    server.add(add_DirectoryServicer_to_server, servicer, "tandem.directory.v1.Directory")
    await server.start()

Every method but those of health and reflection is for callers who prove who they are; servicers
ask with `caller_of`, `require_service`, `require_admin` and `require_principal`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import (  # type: ignore[import-untyped]
    health,
    health_pb2,
    health_pb2_grpc,
)
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]

from tandem.rpc.caller import Caller, caller_of, require_admin, require_principal, require_service
from tandem.rpc.guard import Guard
from tandem.rpc.security import Security
from tandem.rpc.sessions import Sessions
from tandem.runtime.address import HostPort

if TYPE_CHECKING:
    from tandem.runtime.telemetry import Tracing

__all__ = [
    "Caller",
    "GrpcServer",
    "caller_of",
    "require_admin",
    "require_principal",
    "require_service",
]

MAX_REQUEST_BYTES: Final = 1024 * 1024
"""A request: ours have some kB."""
MAX_CALLS: Final = 2000
"""Calls under way at a time, open streams included; more get RESOURCE_EXHAUSTED."""
STOP_SECONDS: Final = 2.0
"""How long calls under way may go on when the server stops."""
LOOK_SECONDS: Final = 1.0
"""Between two looks at whether the service is ready."""
OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),  # of our own making: bounded where it is made
    ("grpc.so_reuseport", 0),  # two servers on one port would share callers by chance
    ("grpc.max_concurrent_streams", 200),  # of one connection
    ("grpc.keepalive_time_ms", 10_000),  # a client that vanished frees its streams
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),  # channels of ours ping
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_connection_age_grace_ms", 5_000),
)

_log = logging.getLogger(__name__)
_Status = health_pb2.HealthCheckResponse


class GrpcServer:
    """`ready` tells what health answers for each service; None: they serve once started.

    Without `sessions` only services are let in. With `tracing`, calls that are part of a trace
    leave a span.
    """

    def __init__(
        self,
        listen: HostPort,
        security: Security,
        sessions: Sessions | None = None,
        ready: Callable[[], Awaitable[bool]] | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._listen = listen
        self._security = security
        self._ready = ready
        self._guard = Guard(security, sessions, tracing)
        self._server = grpc.aio.server(
            interceptors=(self._guard,), options=OPTIONS, maximum_concurrent_rpcs=MAX_CALLS
        )
        self._health = health.aio.HealthServicer()
        self._names: list[str] = []
        self._watch: asyncio.Task[None] | None = None
        self._started = False
        self.counters = self._guard.counters
        """Calls by how they ended, for `Metrics.counters`."""

    @property
    def address(self) -> HostPort:
        """Where it listens; the real port once it is started."""
        return self._listen

    def add(self, register: Callable[[Any, Any], None], servicer: object, name: str) -> None:
        """Serve one more service, before `start`: the generated `add_…_to_server`, the servicer
        and the service's full name."""
        register(servicer, self._server)
        self._names.append(name)

    async def start(self) -> None:
        """Listen and answer. Raises OSError when the address is taken or not ours."""
        names = [health.SERVICE_NAME, reflection.SERVICE_NAME]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection([*self._names, *names], self._server)
        await self._show(self._ready is None)
        self._bind()
        await self._server.start()
        self._started = True
        if self._ready is not None:
            self._watch = asyncio.get_running_loop().create_task(
                self._watching(self._ready), name="grpc health"
            )

    async def stop(self) -> None:
        """Take nothing new, let calls end for STOP_SECONDS, close. Also before `start`."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._started:
            await self._health.enter_graceful_shutdown()
            await self._server.stop(STOP_SECONDS)
            self._started = False

    def _bind(self) -> None:
        # gRPC tells that it failed, but not why: ask the system first
        family = socket.AF_INET6 if ":" in self._listen.host else socket.AF_INET
        with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((self._listen.host, self._listen.port))
        try:
            port = self._add_port()
        except RuntimeError as error:
            raise OSError(errno.EADDRINUSE, f"can't listen on {self._listen}") from error
        self._listen = HostPort(self._listen.host, port)

    def _add_port(self) -> int:
        if not self._security.tls:
            return self._server.add_insecure_port(str(self._listen))
        key, chain, authority = self._security.read()
        credentials = grpc.ssl_server_credentials(
            [(key, chain)], root_certificates=authority, require_client_auth=True
        )
        return self._server.add_secure_port(str(self._listen), credentials)

    async def _watching(self, ready: Callable[[], Awaitable[bool]]) -> None:
        while True:
            try:
                await self._show(await ready())
            except Exception:
                _log.exception("nobody knows whether this service is ready")
                await self._show(False)
            await asyncio.sleep(LOOK_SECONDS)

    async def _show(self, ready: bool) -> None:
        status = _Status.SERVING if ready else _Status.NOT_SERVING
        for name in ("", *self._names):
            await self._health.set(name, status)
