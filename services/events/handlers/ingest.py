"""From the bus into the log, the directory of live calls and the feed, in this order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from services.events.domain.calls import LiveCalls
from services.events.domain.event import Draft, StoredEvent, draft
from services.events.handlers.feed import Feed
from services.events.ports import EventLog, StorageError
from tandem.bus.events import Event
from tandem.bus.ports import Envelope

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = (0.1, 0.5, 2.0, 5.0)
"""Waits between attempts to store a batch; meanwhile the bus queues. Then the batch is lost,
counted, since waiting for ever would only lose others."""


class Ingest:
    """The handler of Topic.EVENTS."""

    def __init__(self, log: EventLog, calls: LiveCalls, feed: Feed) -> None:
        self.stored = 0
        """Events stored."""
        self.duplicates = 0
        """Events that came again."""
        self.unreadable = 0
        """Payloads that are no event, or whose text or data could not be made."""
        self.lost = 0
        """Events that could not be stored."""
        self._log = log
        self._calls = calls
        self._feed = feed

    async def __call__(self, batch: Sequence[Envelope]) -> None:
        """Take one batch."""
        drafts = [item for item in map(self._draft, batch) if item is not None]
        if not drafts:
            return
        stored = await self._store(drafts)
        for event in stored:
            self._calls.apply(event)
        self._feed.announce(stored)

    def _draft(self, envelope: Envelope) -> Draft | None:
        try:
            if not isinstance(envelope.payload, Event):
                raise TypeError(f"{type(envelope.payload).__name__} is no event")
            return draft(envelope)
        except Exception:
            self.unreadable += 1
            logger.exception("unreadable event from node %s", envelope.node)
            return None

    async def _store(self, drafts: list[Draft]) -> list[StoredEvent]:
        for wait in (*RETRY_SECONDS, None):
            try:
                stored = await self._log.append(drafts)
            except StorageError as error:
                logger.error("cannot store %d events: %s", len(drafts), error)
                if wait is not None:
                    await asyncio.sleep(wait)
                continue
            self.stored += len(stored)
            self.duplicates += len(drafts) - len(stored)
            return stored
        self.lost += len(drafts)
        return []
