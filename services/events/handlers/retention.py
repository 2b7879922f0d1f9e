"""What is kept, and for how long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from services.events.domain.calls import LiveCalls
from services.events.handlers.feed import Feed
from services.events.ports import EventLog, StorageError

logger = logging.getLogger(__name__)

DAY: Final = 86400.0
INTERVAL_SECONDS: Final = 300.0
"""How often the log is looked through."""


@dataclass(frozen=True, slots=True)
class Keep:
    """The limits; `events` and `traces` are numbers of events, the others are seconds."""

    events: int
    event_seconds: float
    record_seconds: float
    traces: int
    trace_seconds: float


class Retention:
    """Removes what is too old or too much."""

    def __init__(
        self, log: EventLog, feed: Feed, calls: LiveCalls, keep: Keep, clock: Callable[[], float]
    ) -> None:
        self._log = log
        self._feed = feed
        self._calls = calls
        self._keep = keep
        self._clock = clock

    async def once(self) -> None:
        """Look through everything."""
        now = self._clock()
        self._calls.forget_silent(now)
        old = await self._log.last_before(now - self._keep.event_seconds)
        through = min(max(old, self._feed.last - self._keep.events), self._feed.last - 1)
        if through >= self._feed.first:
            self._feed.raise_floor(through + 1)
            await self._log.remove_events(through)
        await self._log.remove_traces(now - self._keep.trace_seconds, self._keep.traces)
        await self._log.remove_records(now - self._keep.record_seconds)

    async def run(self) -> None:
        """Look through everything now and then, for ever."""
        while True:
            try:
                await self.once()
            except StorageError as error:
                logger.warning("old events stay for now: %s", error)
            except Exception:  # a log that nobody clears fills the disk in the end
                logger.exception("old events stay for now")
            await asyncio.sleep(INTERVAL_SECONDS)
