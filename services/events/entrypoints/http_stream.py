"""Events as server-sent events (HTML Living Standard §9.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.events.domain.event import StoredEvent
from services.events.handlers.consoles import Closed, Heartbeat, Item
from services.events.handlers.feed import Gap
from tandem.rpc.sessions import Principal

SEND_SECONDS: Final = 60.0
"""How long one write may wait for a client that does not read; then the stream is cut."""
RETRY_MILLISECONDS: Final = 2000
"""How soon a browser comes back."""


def to_json(value: Any) -> str:
    """Compact JSON on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def gap_document(gap: Gap) -> dict[str, Any]:
    """What a console is told of events that it can't have."""
    return {
        "type": "gap",
        "after": gap.after,
        "next": gap.next,
        "message": f"Events after {gap.after} and before {gap.next} are no longer kept.",
    }


def render(item: Item, viewer: Principal) -> str:
    """One item in the stream's text form."""
    if isinstance(item, Heartbeat):
        # An id without data moves the client's last id on and dispatches nothing.
        return f": heartbeat\nid: {item.cursor}\n\n"
    if isinstance(item, Gap):
        return f"event: gap\nid: {item.next - 1}\ndata: {to_json(gap_document(item))}\n\n"
    if isinstance(item, Closed):
        text = to_json({"type": "closed", "message": item.reason})
        return f"event: closed\ndata: {text}\n\n"
    return "".join(_render_event(event, viewer) for event in item)


def _render_event(event: StoredEvent, viewer: Principal) -> str:
    return f"id: {event.id}\ndata: {to_json(event.document(viewer))}\n\n"


class EventStream(Response):
    """Sends items until they end, the client leaves, or it does not read for SEND_SECONDS."""

    media_type = "text/event-stream"

    def __init__(
        self,
        items: AsyncGenerator[Item, None],
        viewer: Principal,
        admitted: AbstractContextManager[None],
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._items = items
        self._viewer = viewer
        self._admitted = admitted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._admitted:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            sending = asyncio.ensure_future(self._send_all(send))
            leaving = asyncio.ensure_future(_gone(receive))
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sending, leaving):
                    task.cancel()
                await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        await _send(send, f"retry: {RETRY_MILLISECONDS}\n\n")
        async with aclosing(self._items) as items:
            async for item in items:
                await _send(send, render(item, self._viewer))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send(send: Send, text: str) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
