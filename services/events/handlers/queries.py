"""What the API asks: calls, call records, pages of events, each within a viewer's scope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.events.domain.calls import LiveCalls
from services.events.domain.event import StoredEvent, shown_owner
from services.events.domain.times import rfc3339
from services.events.domain.view import EVERYBODY, View
from services.events.handlers.feed import PAGE, Feed
from services.events.ports import EventLog, RecordQuery
from tandem.rpc.sessions import Principal

MAX_CALL_EVENTS: Final = 500
"""Events shown with a call."""
MAX_PAGES: Final = 40
"""Pages of the log looked through for one answer: a rare filter does not read it all."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, oldest first, and the cursor to go on from."""

    items: list[StoredEvent]
    cursor: int


class Queries:
    """Reads, never writes."""

    def __init__(self, log: EventLog, calls: LiveCalls, feed: Feed) -> None:
        self._log = log
        self._calls = calls
        self._feed = feed

    def live_calls(self, viewer: Principal, offset: int, count: int) -> dict[str, Any]:
        """A page of the calls under way, newest first."""
        calls = self._calls.seen_by(viewer)
        items = [call.document(viewer) for call in calls[offset : offset + count]]
        return {"items": items, "total": len(calls)}

    async def call(self, viewer: Principal, call_id: str) -> dict[str, Any] | None:
        """A call, under way or ended, with its events; None if there is none for `viewer`."""
        found = await self.call_and_events(viewer, call_id)
        if found is None:
            return None
        call, events = found
        return {**call, "events": [event.document(viewer) for event in events]}

    async def call_and_events(
        self, viewer: Principal, call_id: str
    ) -> tuple[dict[str, Any], list[StoredEvent]] | None:
        """As `call`, with the events as they are stored."""
        live = self._calls.get(call_id)
        if live is not None and viewer.may_see(live.owners):
            return live.document(viewer), await self._events_of(viewer, call_id)
        record = await self.record(viewer, call_id)
        events = await self._events_of(viewer, call_id)
        if record is None and not events:
            return None
        return {"id": call_id, "state": "ended", "record": record}, events

    async def _events_of(self, viewer: Principal, call_id: str) -> list[StoredEvent]:
        events = await self._log.of_call(call_id, MAX_CALL_EVENTS)
        view = View(viewer, traces=EVERYBODY)
        return [event for event in events if view.shows(event)]

    async def records(
        self, viewer: Principal, query: RecordQuery, offset: int, count: int
    ) -> dict[str, Any]:
        """A page of call records, newest first."""
        page = await self._log.records(query, offset, count)
        return {"items": [_shown(record, viewer) for record in page.items], "total": page.total}

    async def record(self, viewer: Principal, call_id: str) -> dict[str, Any] | None:
        """One call record; None if there is none for `viewer`."""
        record = await self._log.record(call_id)
        if record is None or not viewer.may_see(record["owners"]):
            return None
        return _shown(record, viewer)

    async def events(self, view: View, after: int | None, count: int) -> EventPage:
        """The `count` events after `after`, or without it the newest."""
        if after is None:
            return await self._newest(view, count)
        cursor, items = self._feed.start_cursor(after), list[StoredEvent]()
        for _ in range(MAX_PAGES):
            page = await self._feed.read(view, cursor)
            items += page.events
            cursor = page.cursor
            if len(items) >= count or cursor >= self._feed.last:
                break
        if len(items) > count:
            return EventPage(items[:count], items[count - 1].id)
        return EventPage(items, cursor)

    async def _newest(self, view: View, count: int) -> EventPage:
        last = self._feed.last
        before, items = last + 1, list[StoredEvent]()
        for _ in range(MAX_PAGES):
            found = await self._log.latest(view, before, PAGE)
            items += [event for event in found if view.shows(event)]
            if len(items) >= count or len(found) < PAGE:
                break
            before = found[-1].id
        return EventPage(items[:count][::-1], last)


def _shown(record: Mapping[str, Any], viewer: Principal) -> dict[str, Any]:
    shown = {name: value for name, value in record.items() if name != "owners"}
    times = {name: rfc3339(shown[name]) for name in shown if name.endswith("_at")}
    return {**shown, **times, "owner": shown_owner(record["owners"], viewer)}
