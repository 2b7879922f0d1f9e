"""The same over gRPC: `tandem.eventfeed.v1.EventFeed`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import grpc
from google.protobuf.struct_pb2 import Struct

from services.events.domain.event import StoredEvent, shown_owner
from services.events.domain.filters import FilterError
from services.events.domain.view import View
from services.events.handlers.consoles import (
    Closed,
    Consoles,
    Heartbeat,
    Item,
    Ticket,
    TooManyConsoles,
)
from services.events.handlers.feed import Gap
from services.events.handlers.queries import Queries
from services.events.handlers.viewing import Forbidden, make_view
from services.events.ports import StorageError
from tandem.rpc.caller import Context, caller_of, require_principal
from tandem.rpc.sessions import Principal
from tandem.stubs.eventfeed.v1 import eventfeed_pb2 as pb
from tandem.stubs.eventfeed.v1.eventfeed_pb2_grpc import EventFeedServicer

SERVICE: Final = "tandem.eventfeed.v1.EventFeed"
SEND_SECONDS: Final = 60.0
"""How long one write may wait for a client that does not read; then the stream is cut."""
MAX_CALLS: Final = 2000
"""Calls in one list, the newest: some MB."""
Code = grpc.StatusCode

logger = logging.getLogger(__name__)


class FeedServicer(EventFeedServicer):
    """See protos/tandem/eventfeed/v1."""

    def __init__(self, queries: Queries, consoles: Consoles) -> None:
        self._queries = queries
        self._consoles = consoles

    async def Follow(self, request: pb.FollowRequest, context: Context) -> None:
        """Events as they happen, from a cursor on."""
        viewer = await require_principal(context)
        view = await _view(viewer, request, context)
        cursor = request.cursor if request.HasField("cursor") else None
        if cursor is not None and cursor < 0:
            await context.abort(Code.INVALID_ARGUMENT, "A cursor is the id of an event.")
        try:
            self._consoles.check_room(viewer.username)
        except TooManyConsoles as error:
            await context.abort(Code.RESOURCE_EXHAUSTED, str(error))
        with self._consoles.counted(viewer.username):
            items = self._consoles.follow(Ticket(view, caller_of(context).token), cursor)
            await _send_all(items, viewer, context)

    async def ListCalls(
        self, request: pb.ListCallsRequest, context: Context
    ) -> pb.ListCallsResponse:
        """The calls under way."""
        viewer = await require_principal(context)
        page = self._queries.live_calls(viewer, 0, MAX_CALLS)
        return pb.ListCallsResponse(calls=[_struct(call) for call in page["items"]])

    async def GetCall(self, request: pb.GetCallRequest, context: Context) -> pb.GetCallResponse:
        """A call, under way or ended, with its events."""
        viewer = await require_principal(context)
        try:
            found = await self._queries.call_and_events(viewer, request.call_id)
        except StorageError as error:
            logger.warning("answered UNAVAILABLE: %s", error)
            await context.abort(Code.UNAVAILABLE, "The event log cannot be read now. Try again.")
        if found is None:
            await context.abort(Code.NOT_FOUND, f"There is no call {request.call_id!r}.")
        call, events = found
        return pb.GetCallResponse(
            call=_struct(call), events=[_event(event, viewer) for event in events]
        )


async def _view(viewer: Principal, request: pb.FollowRequest, context: Context) -> View:
    try:
        return make_view(
            viewer,
            request.filter,
            traces=request.traces,
            trace_customer=request.trace_customer,
        )
    except FilterError as error:
        await context.abort(Code.INVALID_ARGUMENT, f"The filter is wrong: {error}.")
    except Forbidden as error:
        await context.abort(Code.PERMISSION_DENIED, str(error))
    raise AssertionError("abort raises")


async def _send_all(items: AsyncGenerator[Item, None], viewer: Principal, context: Context) -> None:
    async with aclosing(items):
        async for item in items:
            for message in _messages(item, viewer):
                try:
                    async with asyncio.timeout(SEND_SECONDS):
                        await context.write(message)
                except TimeoutError:
                    text = "You do not read: come back with the last id."
                    await context.abort(Code.DEADLINE_EXCEEDED, text)


def _messages(item: Item, viewer: Principal) -> Sequence[pb.FollowResponse]:
    if isinstance(item, Heartbeat):
        return [pb.FollowResponse(cursor=item.cursor)]
    if isinstance(item, Gap):
        return [pb.FollowResponse(gap=pb.Gap(after=item.after, next=item.next))]
    if isinstance(item, Closed):
        return [pb.FollowResponse(closed=item.reason)]
    return [pb.FollowResponse(event=_event(event, viewer)) for event in item]


def _event(event: StoredEvent, viewer: Principal) -> pb.Event:
    return pb.Event(
        id=event.id,
        time=event.time,
        node=event.node,
        service=event.service,
        type=event.type,
        owner=shown_owner(event.owners, viewer) or "",
        call_id=event.call_id or "",
        message=event.message,
        data=_struct(event.data),
    )


def _struct(document: Mapping[str, Any]) -> Struct:
    found = Struct()
    found.update(document)
    return found
