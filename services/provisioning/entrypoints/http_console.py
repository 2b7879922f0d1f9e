"""The console's page: static files, and where the page finds the events API."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.provisioning.domain.eventsurl import events_base

STATIC: Final = Path(__file__).parent.parent / "static"

_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def add_console(app: FastAPI, events_urls: Sequence[str] = ()) -> None:
    """Serve the page at `/`, its files, and `/console-config.json`.

    `events_urls` are the base URLs of the events API as browsers reach it, each as good as the
    others; none: it has the same origin as the page. Raises ValueError for what is no such URL.
    """
    bases = [events_base(url) for url in events_urls]
    app.add_middleware(_SecurityHeaders, bases)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/console-config.json", include_in_schema=False)
    async def config() -> dict[str, list[str]]:
        return {"events_urls": bases}

    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def _policy(bases: Sequence[str]) -> str:
    """The page runs only what came with it, asks nobody but us, and nobody frames it."""
    origins = (f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, bases))
    connect = " ".join(["'self'", *dict.fromkeys(origins)])
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src {connect}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


class _SecurityHeaders:
    """Plain ASGI, so that event streams pass through unbuffered."""

    def __init__(self, app: ASGIApp, bases: Sequence[str]) -> None:
        self._app = app
        self._headers = {"Content-Security-Policy": _policy(bases), **_HEADERS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, send_secured)
