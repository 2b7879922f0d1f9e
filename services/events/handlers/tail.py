"""How an events node follows the log: each event once, in the order of ids, whoever stored it.

What this node stored itself right behind what it had is taken as it is. All else is read from the
log, when another node says that it stored something (Topic.FEED), and now and then unasked, since
the broker may be away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from services.events.domain.calls import SILENT_SECONDS, LiveCalls
from services.events.domain.event import StoredEvent
from services.events.domain.filters import parse_filter
from services.events.domain.view import View
from services.events.handlers.feed import PAGE, Feed
from services.events.ports import Appended, EventLog, StorageError
from tandem.bus.interest import EventsStored
from tandem.bus.ports import Envelope, Publisher, Topic
from tandem.rpc.sessions import Principal

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
"""Silence after which a node of several looks for itself."""
RETRY_SECONDS: Final = 0.5
"""Between attempts to read a log that can't be read."""
_OURSELVES: Final = Principal("events", admin=True)
# Not only call.*: a node that went or started again has ended its calls.
_OF_CALLS: Final = View(_OURSELVES, parse_filter("type=call.*,node.*"))


class Tail:
    """Keeps the feed and the directory of live calls at the end of the log. `poll_seconds`: None
    for a node that writes alone."""

    def __init__(
        self,
        log: EventLog,
        calls: LiveCalls,
        feed: Feed,
        publisher: Publisher,
        *,
        poll_seconds: float | None,
    ) -> None:
        self.read_back = 0
        """Events read from the log that others had stored, or that came out of turn."""
        self.failed = 0
        """Times that the log could not be read."""
        self.failing = False
        """Whether it could not be read the last time."""
        self._log = log
        self._calls = calls
        self._feed = feed
        self._publisher = publisher
        self._poll_seconds = poll_seconds
        self._target = 0
        self._wake = asyncio.Event()
        self._started = False

    async def start(self, since: float | None) -> None:
        """Begin where the log ends. `since`: learn from what happened after that time which calls
        are under way. Raises StorageError."""
        await self._feed.start()
        if since is not None:
            await self._recover(since)
        self._started = True

    async def _recover(self, since: float) -> None:
        cursor, last = await self._log.last_before(since), self._feed.last
        while cursor < last:
            page = await self._log.read(_OF_CALLS, cursor, last, PAGE)
            self._learn(page)
            cursor = page[-1].id if len(page) == PAGE else last

    @property
    def reached(self) -> int:
        """The id of the newest event of the log that this node has taken."""
        return self._feed.last

    def stored(self, appended: Appended) -> None:
        """This node stored events: take them, and tell the others."""
        if not appended.events:
            return
        last = appended.events[-1].id
        if self._started and appended.after == self._feed.last:
            self._take(appended.events, last)
        else:
            self._look_for(last)
        self._publisher.publish(Topic.FEED, EventsStored(last))

    async def heard(self, batch: Sequence[Envelope]) -> None:
        """The subscriber of Topic.FEED."""
        for envelope in batch:
            if isinstance(envelope.payload, EventsStored):
                self._look_for(envelope.payload.last)

    def _look_for(self, last: int) -> None:
        if last > self._feed.last:
            self._target = max(self._target, last)
            self._wake.set()

    async def run(self) -> None:
        """Follow the log, for ever."""
        while True:
            try:
                # after a failure: a look tells whether the log can be read, also without news
                if self.failing or not await self._woken():
                    await self._poll()
                await self._read_to(self._target)
                if self.failing:
                    self.failing = False
                    logger.warning("the event log is followed again")
            except Exception as error:  # whatever it is, consoles must not stand still for good
                self.failed += 1
                if not self.failing:
                    unknown = None if isinstance(error, StorageError) else error
                    logger.warning(
                        "the event log cannot be followed now: %s", error, exc_info=unknown
                    )
                self.failing = True
                await asyncio.sleep(RETRY_SECONDS)

    async def _woken(self) -> bool:
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def _poll(self) -> None:
        first, last = await self._log.bounds()
        self._feed.raise_floor(first)
        self._target = max(self._target, last)

    async def _read_to(self, target: int) -> None:
        while (after := self._feed.last) < target:
            page = await self._log.follow(after, target, PAGE)
            self.read_back += len(page)
            reached = page[-1].id if len(page) == PAGE else target
            # Our own events may have been taken meanwhile.
            new = [event for event in page if event.id > self._feed.last]
            self._take(new, max(reached, self._feed.last))

    def _take(self, events: Sequence[StoredEvent], reached: int) -> None:
        self._learn(events)
        self._feed.announce(events, reached)

    def _learn(self, events: Sequence[StoredEvent]) -> None:
        for event in events:
            try:
                self._calls.apply(event)
            except Exception:  # a strange event must not stop the feed of all others
                logger.exception("the directory of calls can't read event %d", event.id)


def recovery_start(clock: Callable[[], float]) -> float:
    """From when on events tell which calls are under way: after SILENT_SECONDS a call counts as
    lost anyway."""
    return clock() - SILENT_SECONDS
