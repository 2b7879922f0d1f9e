"""Counts the answers of an HTTP server by their class."""

from __future__ import annotations

from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLASSES = ("2xx", "3xx", "4xx", "5xx")


class CountResponses:
    """ASGI middleware; `counts` is for metrics. Health and metrics themselves are left out."""

    def __init__(self, app: ASGIApp, counts: Counter[str]) -> None:
        self._app = app
        self._counts = counts
        counts.update(dict.fromkeys(CLASSES, 0))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["path"].startswith(("/health/", "/metrics")):
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._counts[f"{message['status'] // 100}xx"] += 1
            await send(message)

        await self._app(scope, receive, counted)
