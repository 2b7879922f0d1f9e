"""`python -m services.appserver`: one appserver, of a cluster or alone behind proxies of a list."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from services.appserver.adapters.admission import Admission
from services.appserver.adapters.file_directory import FileDirectory
from services.appserver.adapters.outside import OutsideResolver
from services.appserver.app import AppServer
from services.appserver.config import AppServerConfig
from tandem.bus.metrics import register_bus, register_nodes
from tandem.bus.nodes import NodeAnnounced, Nodes, NodeState
from tandem.bus.open import open_bus
from tandem.bus.ports import CountedBus
from tandem.rpc.channel import open_channel
from tandem.rpc.directory import Directory
from tandem.rpc.httpservice import make_service_app
from tandem.rpc.programs import NoPrograms, Programs
from tandem.rpc.remote import RemoteDirectory, RemotePrograms, RemoteSessions
from tandem.rpc.security import Security
from tandem.rpc.server import GrpcServer
from tandem.rpc.sessions import Sessions
from tandem.runtime.config import ConfigError
from tandem.runtime.httpserver import HttpServer
from tandem.runtime.lifecycle import bounded, settle, stop_signals
from tandem.runtime.logs import set_up
from tandem.runtime.metrics import Metrics
from tandem.siptransport.resolver import Resolver
from tandem.siptransport.udp import UdpSocket
from tandem.siptransport.udplink import UdpLink

if TYPE_CHECKING:
    from tandem.runtime.telemetry import Tracing

WRONG_SETTING: Final = 2
"""The exit status of a start that a setting prevented."""
GRACE_SECONDS: Final = 1.0
"""From the announcement that we drain to the stop: proxies that hear it by their probes alone
have moved on by then."""
POLL_SECONDS: Final = 0.1
"""Between two looks at whether the last call is over."""


class Process:
    """An appserver and what it needs to run by itself. What was started is stopped in reverse."""

    def __init__(self, config: AppServerConfig) -> None:
        self._config = config
        self._stops: list[tuple[str, Callable[[], Awaitable[object]]]] = []

    async def run(self) -> None:
        """Until SIGTERM or Ctrl-C. Raises ConfigError, or OSError for an address that can't be
        had."""
        async with stop_signals() as (stop, at_once):
            try:
                appserver = await self._start()
                await stop.wait()
                await self._drain(appserver, at_once)
            finally:
                while self._stops:
                    name, end = self._stops.pop()
                    await bounded(end(), name)

    def _then(self, name: str, stop: Callable[[], Awaitable[object]]) -> None:
        self._stops.append((name, stop))

    async def _start(self) -> AppServer:
        config = self._config
        security = _security(config)
        tracing = self._tracing()
        directory, programs, sessions = self._directory(security, tracing)
        bus = _bus(config)
        admission = Admission(config.proxies)
        socket = UdpSocket.open(config.internal_listen.host, config.internal_listen.port)
        link = UdpLink(socket, admits=admission)
        self._then("the link", _plain(link.close))
        link.start()
        resolver = Resolver()
        self._then("the resolver", resolver.close)
        appserver = AppServer(
            config,
            bus,
            directory,
            link,
            OutsideResolver(resolver),
            tracing=tracing,
            programs=programs,
        )
        nodes = Nodes(bus, appserver.describe, time.monotonic)
        nodes.listeners.append(partial(_admit, admission, link))
        metrics = Metrics()
        appserver.register(metrics)
        register_bus(metrics, bus)
        register_nodes(metrics, nodes)
        if tracing is not None:
            metrics.counters("tandem_spans", tracing.export, "OpenTelemetry spans")
        http = self._http(metrics, appserver)
        grpc = self._grpc(security, sessions, appserver, metrics)
        appserver.subscribe()
        if grpc is not None:
            self._then("the gRPC server", grpc.stop)
            await grpc.start()
        appserver.join(
            nodes,
            grpc=str(grpc.address) if grpc is not None else "",
            http=str(http.address) if http is not None else "",
        )
        self._then("the bus", bus.close)
        await bus.start()
        self._then("the appserver", appserver.stop)
        await appserver.start()
        if http is not None:
            self._then("the HTTP server", http.stop)
            await http.start()
        settle()
        _say(link, grpc, http)
        return appserver

    def _directory(
        self, security: Security | None, tracing: Tracing | None
    ) -> tuple[Directory, Programs, Sessions | None]:
        """And what customers program, and who can tell whose a token is; with a file of accounts
        nothing and nobody."""
        config = self._config
        if config.directory_url and security is not None:
            try:
                channel = open_channel(config.directory_url, security, tracing=tracing)
            except ValueError as error:
                raise ConfigError(f"TANDEM_DIRECTORY_URL: {error}") from None
            self._then("the channel to provisioning", lambda: channel.close(None))
            return RemoteDirectory(channel), RemotePrograms(channel), RemoteSessions(channel)
        if config.accounts_file is None:
            raise ConfigError("TANDEM_DIRECTORY_URL is not set, nor is TANDEM_ACCOUNTS_FILE")
        try:
            return FileDirectory(config.accounts_file), NoPrograms(), None
        except ValueError as error:
            raise ConfigError(f"TANDEM_ACCOUNTS_FILE: {error}") from None

    def _tracing(self) -> Tracing | None:
        if not self._config.otlp_endpoint:
            return None
        # most switches are not traced, and OpenTelemetry takes time to load
        from tandem.runtime.telemetry import Tracing

        made = Tracing("appserver", self._config.node_id, self._config.otlp_endpoint)
        self._then("the traces", lambda: asyncio.to_thread(made.close))
        return made

    def _http(self, metrics: Metrics, appserver: AppServer) -> HttpServer | None:
        listen = self._config.http_listen
        if listen is None:
            return None
        app = make_service_app("Tandem appserver", [], metrics, appserver.ready)
        server = HttpServer(app, listen)
        server.open()
        return server

    def _grpc(
        self,
        security: Security | None,
        sessions: Sessions | None,
        appserver: AppServer,
        metrics: Metrics,
    ) -> GrpcServer | None:
        listen = self._config.grpc_listen
        if listen is None:
            return None
        if security is None:
            raise ConfigError("TANDEM_CLUSTER_KEY is not set: gRPC needs it")
        server = GrpcServer(listen, security, sessions, appserver.ready)
        appserver.serve(server)
        metrics.counters("tandem_grpc", server.counters, "gRPC calls")
        return server

    async def _drain(self, appserver: AppServer, at_once: asyncio.Event) -> None:
        """Wait for the calls to end, as long as the settings say, or a second signal."""
        loop = asyncio.get_running_loop()
        appserver.leave()
        began = loop.time()
        while not at_once.is_set():
            passed = loop.time() - began
            idle = not len(appserver.calls) or passed >= self._config.drain_seconds
            if idle and passed >= GRACE_SECONDS:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(at_once.wait(), POLL_SECONDS)


def _bus(config: AppServerConfig) -> CountedBus:
    try:
        return open_bus(config.broker_url, config.node_id)
    except ValueError as error:
        raise ConfigError(f"TANDEM_BROKER_URL: {error}") from None


def _security(config: AppServerConfig) -> Security | None:
    """What protects gRPC; None for an appserver without a cluster."""
    if not config.cluster_key:
        return None
    try:
        return Security(
            config.grpc_cert,
            config.grpc_key,
            config.grpc_ca,
            config.cluster_key,
            config.grpc_name,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _admit(
    admission: Admission, link: UdpLink, now: NodeAnnounced, before: NodeAnnounced | None
) -> None:
    """Listen to the proxies of the cluster where they are. One that is lost may only be cut off
    from the broker."""
    if now.kind != "proxy":
        return
    if before is not None and (before.sip != now.sip or now.state == NodeState.STOPPED):
        if admission.left(before.sip):
            link.ask_again()
    if now.sip and now.state != NodeState.STOPPED:
        admission.announced(now.sip)


def _plain(function: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def call() -> None:
        function()

    return call


def _say(link: UdpLink, grpc: GrpcServer | None, http: HttpServer | None) -> None:
    lines = [f"internal {link.address}"]
    if grpc is not None:
        lines.append(f"grpc {grpc.address}")
    if http is not None:
        lines.append(f"http http://{http.address}")
    sys.stdout.write("\n".join([*lines, "ready", ""]))
    sys.stdout.flush()


def main() -> int:
    """The exit status."""
    set_up()
    try:
        asyncio.run(Process(AppServerConfig.from_env(os.environ)).run())
    except (ConfigError, OSError) as error:
        sys.stderr.write(f"tandem appserver: {error}\n")
        return WRONG_SETTING
    return 0


if __name__ == "__main__":
    sys.exit(main())
