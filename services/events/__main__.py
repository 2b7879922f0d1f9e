"""`python -m services.events`: one instance of the service; several share a database and a
broker."""

from __future__ import annotations

import asyncio
import hmac
import os
import sys
from typing import TYPE_CHECKING

import grpc
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from services.events.app import Events
from services.events.config import EventsConfig
from services.events.ports import StorageError
from tandem.bus.metrics import register_bus
from tandem.bus.open import open_bus
from tandem.bus.ports import CountedBus
from tandem.rpc.channel import open_channel
from tandem.rpc.httpservice import make_service_app
from tandem.rpc.remote import RemoteSessions
from tandem.rpc.security import Security
from tandem.rpc.server import GrpcServer
from tandem.rpc.sessions import Principal, Sessions
from tandem.runtime import logs
from tandem.runtime.config import ConfigError, load
from tandem.runtime.httpserver import HttpServer
from tandem.runtime.lifecycle import bounded, settle, stop_signal
from tandem.runtime.metrics import Metrics

if TYPE_CHECKING:
    from tandem.runtime.telemetry import Tracing

WRONG_SETTING = 2
"""The exit status of a start that a setting prevented."""


class OneToken:
    """Knows an administrator, who has the token of the settings, and asks `others` for the rest."""

    def __init__(self, token: str, others: Sessions | None = None) -> None:
        self._token = token.encode()
        self._others = others

    async def verify(self, token: str) -> Principal | None:
        """See `tandem.rpc.sessions.Sessions`."""
        if self._token and hmac.compare_digest(token.encode(), self._token):
            return Principal("admin", admin=True)
        return await self._others.verify(token) if self._others is not None else None


def make_app(events: Events, metrics: Metrics, origins: tuple[str, ...] = ()) -> FastAPI:
    """The service's HTTP surface."""
    app = make_service_app("Tandem events", [events.router()], metrics, events.ready)
    if origins:
        # The token travels in a header or the address, so no cookie is ever needed.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET"],
            allow_headers=["Authorization", "X-API-Key", "Last-Event-ID"],
            expose_headers=["Retry-After"],
            max_age=3600,
        )
    return app


def main() -> int:
    """Run until SIGTERM or Ctrl-C; the exit status is 2 for a wrong setting, or for what the
    settings name and can't be had."""
    try:
        config = load(EventsConfig, os.environ)
        logs.set_up()
        asyncio.run(serve(config))
    except (ConfigError, StorageError, OSError) as error:
        sys.stderr.write(f"tandem events: {error}\n".replace("\n", " ").strip() + "\n")
        return WRONG_SETTING
    return 0


async def serve(config: EventsConfig) -> None:
    """Start, wait for the signal, stop. Raises ConfigError, StorageError and OSError."""
    security = config.security()
    tracing = _tracing(config)
    bus, channel = _bus(config), _channel(config, security, tracing)
    sessions = OneToken(config.api_token, RemoteSessions(channel) if channel else None)
    events, metrics = Events(config, bus, sessions, cluster=True), Metrics()
    events.register(metrics)
    register_bus(metrics, bus)
    if tracing is not None:
        metrics.counters("tandem_spans", tracing.export, "OpenTelemetry spans")
    app = make_app(events, metrics, config.console_origins)
    http = HttpServer(app, config.http_listen, config.http_cert, config.http_key)
    rpc = GrpcServer(config.grpc_listen, security, sessions, events.ready, tracing)
    events.serve(rpc)
    metrics.counters("tandem_grpc", rpc.counters, "gRPC calls")
    async with stop_signal() as stop:
        try:
            http.open()
            await events.start()
            await bus.start()
            await rpc.start()
            await http.start()
            events.join(grpc=rpc.address, http=http.address)
            settle()
            _say(f"http {http.url}", f"grpc {rpc.address}")
            _say(f"ready {http.url}")
            await stop.wait()
        finally:
            events.close_consoles()
            await bounded(events.leave(), "the announcements")
            await bounded(http.stop(), "the HTTP server")
            await bounded(rpc.stop(), "the gRPC server")
            await bounded(bus.close(), "the bus")
            await bounded(events.stop(), "the event service")
            if channel is not None:
                await bounded(channel.close(), "the channel to provisioning")
            if tracing is not None:
                await bounded(asyncio.to_thread(tracing.close), "the traces")


def _bus(config: EventsConfig) -> CountedBus:
    try:
        return open_bus(config.broker_url, config.node_id)
    except ValueError as fault:
        raise ConfigError(f"TANDEM_BROKER_URL: {fault}") from None


def _tracing(config: EventsConfig) -> Tracing | None:
    if not config.otlp_endpoint:
        return None
    # most switches are not traced, and OpenTelemetry takes time to load
    from tandem.runtime.telemetry import Tracing

    return Tracing("events", config.node_id, config.otlp_endpoint)


def _channel(
    config: EventsConfig, security: Security, tracing: Tracing | None
) -> grpc.aio.Channel | None:
    if not config.directory_url:
        return None
    try:
        return open_channel(config.directory_url, security, tracing=tracing)
    except ValueError as fault:
        raise ConfigError(f"TANDEM_DIRECTORY_URL: {fault}") from None


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
