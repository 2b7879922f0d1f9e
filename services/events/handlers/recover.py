"""Which calls are under way, learnt from the log after a restart."""

from __future__ import annotations

from services.events.domain.calls import SILENT_SECONDS, LiveCalls
from services.events.domain.filters import parse_filter
from services.events.domain.view import View
from services.events.handlers.feed import PAGE
from services.events.ports import EventLog
from tandem.rpc.sessions import Principal

_OURSELVES = Principal("events", admin=True)


async def recover_calls(log: EventLog, calls: LiveCalls, now: float) -> None:
    """Apply the events of the last SILENT_SECONDS, after which a call counts as lost anyway."""
    # Not only call.*: a node that started again has ended its calls.
    view = View(_OURSELVES, parse_filter("service=appserver,proxy"))
    cursor = await log.last_before(now - SILENT_SECONDS)
    _, last = await log.bounds()
    while cursor < last:
        page = await log.read(view, cursor, last, PAGE)
        for event in page:
            calls.apply(event)
        cursor = page[-1].id if len(page) == PAGE else last
