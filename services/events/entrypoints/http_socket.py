"""The same events over a WebSocket, one JSON object per message."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from services.events.entrypoints.http_stream import SEND_SECONDS, gap_document, to_json
from services.events.handlers.consoles import Closed, Heartbeat, Item
from services.events.handlers.feed import Gap
from tandem.rpc.sessions import Principal

GOING_AWAY: Final = 1001
"""RFC 6455 §7.4.1."""
CLOSE_SECONDS: Final = 2.0
"""How long the close frame may wait behind what the client does not read."""
TRY_AGAIN_LATER: Final = 1013
"""IANA's registry of close codes: the client does not read."""


async def serve_socket(
    socket: WebSocket, items: AsyncGenerator[Item, None], viewer: Principal
) -> None:
    """Send items until they end or the client leaves; what the client says is ignored."""
    await socket.accept()
    sending = asyncio.ensure_future(_send_all(socket, items, viewer))
    leaving = asyncio.ensure_future(_gone(socket))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)


async def _send_all(
    socket: WebSocket, items: AsyncGenerator[Item, None], viewer: Principal
) -> None:
    try:
        async with aclosing(items):
            async for item in items:
                for message in _messages(item, viewer):
                    async with asyncio.timeout(SEND_SECONDS):
                        await socket.send_text(to_json(message))
    except TimeoutError:
        await _close(socket, TRY_AGAIN_LATER, "too slow: come back with the last id")
    else:
        await _close(socket, GOING_AWAY, "")


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    with contextlib.suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.close(code, reason)


def _messages(item: Item, viewer: Principal) -> list[dict[str, Any]]:
    if isinstance(item, Heartbeat):
        return [{"type": "heartbeat", "id": item.cursor}]
    if isinstance(item, Gap):
        return [gap_document(item)]
    if isinstance(item, Closed):
        return [{"type": "closed", "message": item.reason}]
    return [event.document(viewer) for event in item]


async def _gone(socket: WebSocket) -> None:
    try:
        while True:
            await socket.receive_text()
    except (WebSocketDisconnect, KeyError):
        return  # KeyError: a binary message, which nobody asked for
