"""The one HTTP surface of local mode: API, console page, health, metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from fastapi import APIRouter, FastAPI

from services.provisioning.entrypoints.http_console import add_console
from tandem.rpc.httpservice import make_service_app
from tandem.runtime.metrics import Metrics


def make_app(
    routers: Sequence[APIRouter], metrics: Metrics, ready: Callable[[], Awaitable[bool]]
) -> FastAPI:
    """Put the services' routers together. `ready` tells whether calls are taken."""
    app = make_service_app("Tandem", routers, metrics, ready)
    add_console(app)
    return app
