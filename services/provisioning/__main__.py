"""`python -m services.provisioning`: one instance of the service; several share a database and a
broker."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING

from services.provisioning.app import Provisioning
from services.provisioning.config import ProvisioningConfig
from services.provisioning.domain.errors import ProvisioningError
from services.provisioning.entrypoints.fastagi import register_fastagi
from services.provisioning.entrypoints.http_console import add_console
from tandem.bus.metrics import register_bus, register_nodes
from tandem.bus.open import open_bus
from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.httpservice import make_service_app
from tandem.rpc.server import GrpcServer
from tandem.runtime import logs
from tandem.runtime.config import ConfigError, load
from tandem.runtime.httpserver import HttpServer
from tandem.runtime.lifecycle import bounded, settle, stop_signal
from tandem.runtime.metrics import Metrics

if TYPE_CHECKING:
    from tandem.runtime.telemetry import Tracing

WRONG_SETTING = 2
"""The exit status of a start that a setting prevented."""
AGAIN_SECONDS = 1.0
"""Between two attempts to make what the first start makes."""

_log = logging.getLogger(__name__)


def main() -> int:
    """Run until SIGTERM or Ctrl-C."""
    logs.set_up()
    try:
        return asyncio.run(serve(load(ProvisioningConfig, os.environ)))
    except (ConfigError, ProvisioningError, OSError) as fault:
        sys.stderr.write(f"tandem provisioning: {fault}\n")
        return WRONG_SETTING


async def serve(config: ProvisioningConfig) -> int:
    """Start, wait for the signal, stop."""
    try:
        bus = open_bus(config.broker_url, config.node_id)
    except ValueError as fault:
        raise ConfigError(f"TANDEM_BROKER_URL: {fault}") from None
    security = config.security()
    service = Provisioning(config, bus, security=security)
    metrics = Metrics()
    service.register(metrics)
    register_bus(metrics, bus)
    register_nodes(metrics, service.nodes)
    app = make_service_app("Tandem provisioning", [service.router()], metrics, service.ready)
    add_console(app, config.events_url)
    http = HttpServer(app, config.http_listen, config.http_cert, config.http_key)
    fastagi = service.fastagi(config.fastagi_listen) if config.fastagi_listen else None
    if fastagi is not None:
        register_fastagi(metrics, fastagi)
    tracing = _tracing(config)
    if tracing is not None:
        metrics.counters("tandem_spans", tracing.export, "OpenTelemetry spans")
    grpc = GrpcServer(config.grpc_listen, security, service.sessions, service.ready, tracing)
    service.serve(grpc)
    metrics.counters("tandem_grpc", grpc.counters, "gRPC calls")
    later: asyncio.Task[None] | None = None
    async with stop_signal() as stop:
        try:
            http.open()
            await service.start()
            await bus.start()
            await grpc.start()
            if not await _first_start(service, config):
                later = asyncio.create_task(_later(service, config), name="first start")
            await http.start()
            if fastagi is not None:
                await fastagi.start()
            service.join(grpc=grpc.address, http=http.address)
            settle()
            _say(f"http {http.url}", f"grpc {grpc.address}")
            if fastagi is not None:
                _say(f"fastagi {fastagi.address}")
            _say(f"ready: {http.url}")
            await stop.wait()
        finally:
            if later is not None:
                later.cancel()
            await bounded(service.leave(), "the announcements")
            if fastagi is not None:
                await bounded(fastagi.stop(), "the FastAGI server")
            await bounded(http.stop(), "the HTTP server")
            await bounded(grpc.stop(), "the gRPC server")
            await bounded(bus.close(), "the bus")
            await bounded(service.stop(), "provisioning")
            if tracing is not None:
                await bounded(asyncio.to_thread(tracing.close), "the traces")
    return 0


def _tracing(config: ProvisioningConfig) -> Tracing | None:
    if not config.otlp_endpoint:
        return None
    # most switches are not traced, and OpenTelemetry takes time to load
    from tandem.runtime.telemetry import Tracing

    return Tracing("provisioning", config.node_id, config.otlp_endpoint)


async def _first_start(service: Provisioning, config: ProvisioningConfig) -> bool:
    """Make domains and the administrator; False while the database is away."""
    try:
        made_up = await service.first_start(config.domains, config.admin_password)
    except DirectoryUnavailable:
        return False
    if made_up:
        _say(f"Log in as admin with the password {made_up} (shown only now).")
    return True


async def _later(service: Provisioning, config: ProvisioningConfig) -> None:
    await service.opened.wait()
    try:
        done = await _first_start(service, config)
        while not done:
            await asyncio.sleep(AGAIN_SECONDS)
            done = await _first_start(service, config)
    except ProvisioningError as fault:
        _log.error("the administrator or the domains could not be made: %s", fault)


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
