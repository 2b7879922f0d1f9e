"""The application of provisioning when it runs alone: the API, and its health."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse

from tandem import __version__
from tandem.rpc.http import install


def make_app(router: APIRouter, ready: Callable[[], Awaitable[bool]]) -> FastAPI:
    """`ready` tells whether the database answers."""
    app = FastAPI(title="Tandem provisioning", version=__version__, redoc_url=None, docs_url=None)
    install(app)
    app.include_router(router)

    @app.get("/health/live", include_in_schema=False)
    async def live() -> PlainTextResponse:
        return PlainTextResponse("alive\n")

    @app.get("/health/ready", include_in_schema=False)
    async def is_ready() -> PlainTextResponse:
        return PlainTextResponse("ready\n") if await ready() else PlainTextResponse("no\n", 503)

    return app
