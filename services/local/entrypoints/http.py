"""The one HTTP surface of local mode: API, console page, health, metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tandem import __version__
from tandem.rpc import http
from tandem.runtime.metrics import CONTENT_TYPE, Metrics

STATIC: Final = Path(__file__).parent.parent / "static"

# The page runs only what came with it, and nobody frames it.
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def make_app(
    routers: Sequence[APIRouter], metrics: Metrics, ready: Callable[[], Awaitable[bool]]
) -> FastAPI:
    """Put the services' routers together. `ready` tells whether calls are taken."""
    app = FastAPI(title="Tandem", version=__version__, docs_url=None, redoc_url=None)
    http.install(app)
    for router in routers:
        app.include_router(router)

    app.add_middleware(_SecurityHeaders)

    @app.get("/health/live", include_in_schema=False)
    async def live() -> PlainTextResponse:
        return PlainTextResponse("alive\n")

    @app.get("/health/ready", include_in_schema=False)
    async def is_ready() -> PlainTextResponse:
        return PlainTextResponse("ready\n") if await ready() else PlainTextResponse("no\n", 503)

    @app.get("/metrics", include_in_schema=False)
    async def show_metrics() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


class _SecurityHeaders:
    """Plain ASGI, so that event streams pass through unbuffered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self._app(scope, receive, send_secured)
