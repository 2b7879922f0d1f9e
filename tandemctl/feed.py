"""What is asked of events nodes: calls, and the event stream."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any, Final

import grpc

from tandem.stubs.eventfeed.v1 import eventfeed_pb2 as feed
from tandemctl.client import DEADLINE_SECONDS, Client
from tandemctl.errors import TRANSIENT, Problem, problem_of
from tandemctl.output import (
    clock,
    plain_struct,
    printable,
    show_json,
    show_json_line,
    show_table,
    warn,
    write,
)

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 5.0
FIRST_SHOWN: Final = ("id", "state", "owner", "caller", "destination", "answered_by", "node")
"""Of a call; the other fields follow by name, for a protobuf map has no order."""


async def calls(client: Client, options: argparse.Namespace) -> None:
    """`tandemctl calls`."""
    stub, where = await client.feed()
    answer = await client.ask_feed(
        stub.ListCalls(feed.ListCallsRequest(), timeout=DEADLINE_SECONDS), where
    )
    found = [plain_struct(call) for call in answer.calls]
    if options.json:
        show_json(found)
        return
    show_table(
        ("call", "since", "from", "to", "state", "appserver"),
        (
            (
                call.get("id", ""),
                _time(call.get("started_at")),
                call.get("caller", ""),
                call.get("destination", ""),
                call.get("state", ""),
                call.get("node", ""),
            )
            for call in found
        ),
        "No call is under way.",
    )


async def show_call(client: Client, options: argparse.Namespace) -> None:
    """`tandemctl calls show ID`."""
    stub, where = await client.feed()
    request = feed.GetCallRequest(call_id=options.call)
    answer = await client.ask_feed(stub.GetCall(request, timeout=DEADLINE_SECONDS), where)
    call = plain_struct(answer.call)
    events = [event_document(event) for event in answer.events]
    if options.json:
        show_json({**call, "events": events})
        return
    shown = (call.pop("record", None) or {}) | call
    for name, value in sorted(shown.items(), key=_rank):
        if name != "events" and value not in (None, "", [], {}):
            write(f"{name:14} {printable(_text(value))}")
    write("")
    for event in events:
        write(event_line(event))


class Tail:
    """`tandemctl events tail`: follows over the deaths of events nodes."""

    def __init__(self, client: Client, options: argparse.Namespace) -> None:
        self._client = client
        self._options = options
        self._cursor: int | None = options.cursor
        self._left: int | None = options.count
        self._lost = False

    async def run(self) -> None:
        """Until it is interrupted, or as many events as were asked for have come."""
        pause = FIRST_PAUSE
        again = False
        while self._left != 0:
            before = self._cursor
            try:
                await self._follow(again=again)
                return
            except Problem as problem:
                # at the very start a wrong address is told, not tried for ever
                if not _again(problem) or (not self._lost and self._cursor is None):
                    raise
                if not self._lost:
                    warn(f"{problem}; trying again")
                self._lost = True
            if self._cursor != before:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            again = True

    async def _follow(self, *, again: bool) -> None:
        stub, where = await self._client.feed(again=again)
        options = self._options
        request = feed.FollowRequest(
            filter=options.filter,
            cursor=self._cursor,
            traces=options.traces is not None,
            trace_customer=options.traces or "",
        )
        try:
            async for answer in stub.Follow(request):
                if self._lost:
                    warn("connected again")
                    self._lost = False
                self._take(answer)
                if self._left == 0:
                    return
        except grpc.aio.AioRpcError as error:
            problem = problem_of(error, where)
            raise (Lost(str(problem)) if error.code() in TRANSIENT else problem) from None
        raise Lost(f"{where} ended the stream")

    def _take(self, answer: feed.FollowResponse) -> None:
        kind = answer.WhichOneof("item")
        if kind == "event":
            event = event_document(answer.event)
            if self._cursor is not None and event["id"] <= self._cursor:
                return
            self._cursor = event["id"]
            if self._options.json:
                show_json_line(event)
            else:
                write(event_line(event))
            if self._left is not None:
                self._left -= 1
        elif kind == "gap":
            after, following = answer.gap.after, answer.gap.next
            self._cursor = max(self._cursor or 0, following - 1)
            warn(f"a gap: events after {after} and before {following} are not kept any more")
            if self._options.json:
                show_json_line({"gap": {"after": after, "next": following}})
        elif kind == "cursor":
            self._cursor = max(self._cursor or 0, answer.cursor)
        elif kind == "closed":
            raise Lost(f"the stream was closed: {answer.closed}")


class Lost(Problem):
    """The stream broke; another attempt may go well."""


def _again(problem: Problem) -> bool:
    return isinstance(problem, Lost)


def event_document(event: feed.Event) -> dict[str, Any]:
    """An event as JSON: as GET /api/v1/events shows it, but for the time, which is Unix seconds."""
    return {
        "id": event.id,
        "time": event.time,
        "node": event.node,
        "service": event.service,
        "type": event.type,
        "owner": event.owner or None,
        "call_id": event.call_id or None,
        "message": event.message,
        "data": plain_struct(event.data),
    }


def event_line(event: dict[str, Any]) -> str:
    """One line for people, or more where the event is a SIP message."""
    head = f"{clock(event['time'])}  {event['node']:14}  {event['type']:26}  "
    lines = [head + printable(event["message"])]
    message = event["data"].get("message")
    if event["type"] == "sip.trace" and isinstance(message, str):
        lines += [f"    {printable(line)}" for line in message.splitlines()]
    return "\n".join(lines)


def _time(value: object) -> str:
    return value if isinstance(value, str) else clock(value)


def _rank(field: tuple[str, object]) -> tuple[int, str]:
    name = field[0]
    return (FIRST_SHOWN.index(name) if name in FIRST_SHOWN else len(FIRST_SHOWN), name)


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return " ".join(f"{name} {_text(value[name])}" for name in sorted(value))
    return str(value)
