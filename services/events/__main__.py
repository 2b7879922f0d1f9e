"""`python -m services.events`: the event service alone, set by TANDEM_* variables."""

from __future__ import annotations

import asyncio
import hmac
import os
import sys

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, Response

from services.events.app import Events
from services.events.config import EventsConfig
from services.events.ports import StorageError
from tandem import __version__
from tandem.bus.memory import MemoryBus
from tandem.rpc import http
from tandem.rpc.sessions import Principal
from tandem.runtime import logs
from tandem.runtime.config import ConfigError, load
from tandem.runtime.httpserver import HttpServer
from tandem.runtime.lifecycle import bounded, stop_signal
from tandem.runtime.metrics import CONTENT_TYPE, Metrics


class OneToken:
    """Sessions with a single administrator: whoever has the token of the settings."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    async def verify(self, token: str) -> Principal | None:
        """See `tandem.rpc.sessions.Sessions`."""
        if self._token and hmac.compare_digest(token.encode(), self._token):
            return Principal("admin", admin=True)
        return None


def make_app(events: Events, metrics: Metrics) -> FastAPI:
    """The service's HTTP surface."""
    app = FastAPI(title="Tandem events", version=__version__, docs_url=None, redoc_url=None)
    http.install(app)
    app.include_router(events.router())

    @app.get("/health/live", include_in_schema=False)
    @app.get("/health/ready", include_in_schema=False)
    async def health() -> PlainTextResponse:
        return PlainTextResponse("ready\n")

    @app.get("/metrics", include_in_schema=False)
    async def show_metrics() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    return app


async def serve(config: EventsConfig) -> None:
    """Run until SIGTERM or Ctrl-C. Raises StorageError and OSError if it can't start."""
    bus, metrics = MemoryBus(config.node_id), Metrics()
    events = Events(config, bus, OneToken(config.api_token))
    events.register(metrics)
    server = HttpServer(make_app(events, metrics), config.http_listen)
    async with stop_signal() as stop:
        server.open()
        await events.start()
        await bus.start()
        await server.start()
        sys.stdout.write(f"ready http://{server.address}\n")
        sys.stdout.flush()
        await stop.wait()
        events.close_consoles()
        await bounded(server.stop(), "the HTTP server")
        await bounded(bus.close(), "the bus")
        await bounded(events.stop(), "the event service")


def main() -> int:
    """The exit status: 2 for a wrong setting, or what the settings name and can't be had."""
    try:
        config = load(EventsConfig, os.environ)
        logs.set_up()
        asyncio.run(serve(config))
    except (ConfigError, StorageError, OSError) as error:
        sys.stderr.write(f"tandem events: {error}\n".replace("\n", " ").strip() + "\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
