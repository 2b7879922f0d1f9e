"""`python -m services.provisioning`: the service alone, on an in-process bus."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from services.provisioning.app import Provisioning
from services.provisioning.config import ProvisioningConfig
from services.provisioning.domain.errors import ProvisioningError
from services.provisioning.entrypoints.http_app import make_app
from tandem.bus.memory import MemoryBus
from tandem.runtime.config import ConfigError, load
from tandem.runtime.httpserver import HttpServer
from tandem.runtime.lifecycle import bounded, stop_signal

WRONG_SETTING = 2
"""The exit status of a start that a setting prevented."""


def main() -> int:
    """Run until SIGTERM or Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        return asyncio.run(serve(load(ProvisioningConfig, os.environ)))
    except (ConfigError, ProvisioningError, OSError) as fault:
        sys.stderr.write(f"tandem provisioning: {fault}\n")
        return WRONG_SETTING


async def serve(config: ProvisioningConfig) -> int:
    """Start, wait for the signal, stop."""
    bus = MemoryBus(config.node_id)
    service = Provisioning(config, bus)
    server = HttpServer(make_app(service.router(), service.ready), config.http_listen)
    async with stop_signal() as stop:
        try:
            server.open()
            await service.start()
            await bus.start()
            await _first_start(service, config)
            await server.start()
            sys.stdout.write(f"ready: http://{server.address}\n")
            sys.stdout.flush()
            await stop.wait()
        finally:
            await bounded(server.stop(), "the HTTP server")
            await bounded(bus.close(), "the bus")
            await bounded(service.stop(), "provisioning")
    return 0


async def _first_start(service: Provisioning, config: ProvisioningConfig) -> None:
    await service.ensure_domains(config.domains)
    made_up = await service.ensure_administrator(config.admin_password)
    if made_up:
        sys.stdout.write(f"Log in as admin with the password {made_up} (shown only now).\n")


if __name__ == "__main__":
    sys.exit(main())
