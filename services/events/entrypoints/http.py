"""`/api/v1`: calls, call records and events."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, WebSocket
from fastapi.responses import JSONResponse
from starlette.requests import HTTPConnection
from starlette.responses import Response

from services.events.entrypoints.http_params import read_cursor, read_time, read_view
from services.events.entrypoints.http_socket import serve_socket
from services.events.entrypoints.http_stream import EventStream
from services.events.handlers.consoles import Consoles, Ticket, TooManyConsoles
from services.events.handlers.queries import Queries
from services.events.ports import RecordQuery, StorageError
from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.http import (
    PROBLEM_RESPONSES,
    RETRY_AFTER_SECONDS,
    Problem,
    authenticate,
    bearer_token,
    unavailable,
)
from tandem.rpc.sessions import Principal, Sessions

logger = logging.getLogger(__name__)

MAX_COUNT: Final = 1000
"""Items of one page."""

Offset = Annotated[int, Query(ge=0, le=10**9, description="How many items to leave out.")]
Count = Annotated[int, Query(ge=1, le=MAX_COUNT, description="How many items to give at most.")]
Time = Annotated[str | None, Query(max_length=40, description="RFC 3339, or Unix seconds.")]


class EventsApi:
    """The handlers of the routes; each asks who is there first."""

    def __init__(self, queries: Queries, consoles: Consoles, sessions: Sessions) -> None:
        self._queries = queries
        self._consoles = consoles
        self._sessions = sessions

    def router(self) -> APIRouter:
        """All routes, to be put into an application with `tandem.rpc.http.install`."""
        problems: dict[int | str, dict[str, Any]] = {
            c: PROBLEM_RESPONSES[c] for c in (401, 422, 503)
        }
        router = APIRouter(
            prefix="/api/v1", responses=problems, dependencies=[Depends(self._identify)]
        )
        for path, endpoint, tag in (
            ("/calls", self.list_calls, "calls"),
            ("/calls/{call_id}", self.get_call, "calls"),
            ("/cdrs", self.list_records, "cdrs"),
            ("/cdrs/{call_id}", self.get_record, "cdrs"),
            ("/events", self.events, "events"),
        ):
            router.add_api_route(path, _guarded(endpoint), methods=["GET"], tags=[tag])
        sockets = APIRouter(prefix="/api/v1")
        sockets.add_api_websocket_route("/events/ws", self.socket)
        both = APIRouter()
        both.include_router(router)
        both.include_router(sockets)
        return both

    async def _identify(self, request: Request) -> None:
        stream = request.url.path.endswith("/events")
        request.state.viewer = await authenticate(request, self._sessions, in_query=stream)

    async def list_calls(
        self, request: Request, offset: Offset = 0, count: Count = 100
    ) -> dict[str, Any]:
        """The calls under way, newest first."""
        return self._queries.live_calls(_viewer(request), offset, count)

    async def get_call(self, request: Request, call_id: str) -> dict[str, Any]:
        """A call, under way or ended, with its events."""
        return _found(await self._queries.call(_viewer(request), call_id), "call", call_id)

    async def list_records(
        self,
        request: Request,
        offset: Offset = 0,
        count: Count = 100,
        since: Time = None,
        until: Time = None,
        status: Annotated[int | None, Query(ge=100, le=699)] = None,
        account: Annotated[str | None, Query(max_length=255)] = None,
    ) -> dict[str, Any]:
        """Call records, newest first."""
        viewer = _viewer(request)
        owner = None if viewer.admin else viewer.username
        query = RecordQuery(
            owner, read_time("since", since), read_time("until", until), status, account
        )
        return await self._queries.records(viewer, query, offset, count)

    async def get_record(self, request: Request, call_id: str) -> dict[str, Any]:
        """One call record."""
        found = await self._queries.record(_viewer(request), call_id)
        return _found(found, "call record", call_id)

    async def events(self, request: Request, count: Count = 100) -> Response:
        """Events: as a stream (`text/event-stream`), or one page for `Accept: application/json`.

        `filter` says which, `cursor` or `Last-Event-ID` after which one; `traces=1` has full SIP
        traces made and sent too, one's own or, for administrators, those of `trace_customer`.
        """
        view, cursor = read_view(request, _viewer(request)), read_cursor(request)
        if _wants_page(request):
            page = await self._queries.events(view, cursor, count)
            shown = [event.document(view.viewer) for event in page.items]
            return JSONResponse({"items": shown, "cursor": page.cursor})
        self._check_room(view.viewer)
        items = self._consoles.follow(Ticket(view, _token(request)), cursor)
        return EventStream(items, view.viewer, self._consoles.counted(view.viewer.username))

    async def socket(self, socket: WebSocket) -> None:
        """The same stream over a WebSocket; errors come as the answer to the handshake."""
        try:
            viewer = await authenticate(socket, self._sessions)
            view, cursor = read_view(socket, viewer), read_cursor(socket)
            self._check_room(viewer)
        except DirectoryUnavailable:
            problem = unavailable("Nobody can tell now who holds this token. Try again.")
            await socket.send_denial_response(problem.response())
            return
        except Problem as problem:
            await socket.send_denial_response(problem.response())
            return
        with self._consoles.counted(viewer.username):
            items = self._consoles.follow(Ticket(view, _token(socket)), cursor)
            await serve_socket(socket, items, viewer)

    def _check_room(self, viewer: Principal) -> None:
        try:
            self._consoles.check_room(viewer.username)
        except TooManyConsoles as error:
            wait = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            raise Problem(429, str(error), headers=wait) from None


def _guarded(endpoint: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """A database that is away becomes a 503."""

    @functools.wraps(endpoint)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await endpoint(*args, **kwargs)
        except StorageError as error:
            logger.warning("answered 503: %s", error)
            raise unavailable("The event log cannot be read now. Try again.") from None

    return call


def _viewer(request: Request) -> Principal:
    viewer: Principal = request.state.viewer
    return viewer


def _token(connection: HTTPConnection) -> str:
    return bearer_token(connection, in_query=True) or ""


def _found(item: dict[str, Any] | None, what: str, call_id: str) -> dict[str, Any]:
    if item is None:
        raise Problem(404, f"There is no {what} {call_id!r}.")
    return item


def _wants_page(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/event-stream" not in accept
