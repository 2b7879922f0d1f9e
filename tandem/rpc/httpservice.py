"""The HTTP surface that all services have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse, Response

from tandem import __version__
from tandem.rpc.http import install
from tandem.rpc.httpcount import CountResponses
from tandem.runtime.metrics import CONTENT_TYPE, Metrics


def make_service_app(
    title: str,
    routers: Sequence[APIRouter],
    metrics: Metrics,
    ready: Callable[[], Awaitable[bool]],
) -> FastAPI:
    """The HTTP surface of one service: its routers (none will do), /health/live, /health/ready and
    /metrics. `ready` tells whether it can do its work."""
    app = FastAPI(title=title, version=__version__, docs_url=None, redoc_url=None)
    install(app)
    for router in routers:
        app.include_router(router)

    @app.get("/health/live", include_in_schema=False)
    async def live() -> PlainTextResponse:
        return PlainTextResponse("alive\n")

    @app.get("/health/ready", include_in_schema=False)
    async def is_ready() -> PlainTextResponse:
        return PlainTextResponse("ready\n") if await ready() else PlainTextResponse("no\n", 503)

    @app.get("/metrics", include_in_schema=False)
    async def show_metrics() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    counts: Counter[str] = Counter()
    metrics.labelled("tandem_http_responses", "class", lambda: counts, "Answers to HTTP requests")
    app.add_middleware(CountResponses, counts=counts)
    return app
