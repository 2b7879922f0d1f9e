"""From the bus into the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from services.events.domain.event import Draft, draft
from services.events.handlers.tail import Tail
from services.events.ports import EventLog, Refused, StorageError
from tandem.bus.event import Event
from tandem.bus.ports import Envelope

logger = logging.getLogger(__name__)

FAILURE_SECONDS: Final = 60.0
"""A batch that we could not store and have not seen again for so long, another node has."""


class Ingest:
    """The handler of Topic.EVENTS, which several nodes share. A batch that can't be stored stays
    with the broker, which gives it again, to whomever: nothing is lost, and `delay` shows it."""

    def __init__(self, log: EventLog, tail: Tail, clock: Callable[[], float]) -> None:
        self.stored = 0
        """Events stored."""
        self.duplicates = 0
        """Events that came again, and second records of a call."""
        self.unreadable = 0
        """Payloads that are no event, or whose text or data could not be made."""
        self.refused = 0
        """Events that the database can't hold, though it works; they are left out."""
        self.postponed = 0
        """Batches that could not be stored now and were given back."""
        self.failing = False
        """Whether the last batch could not be stored."""
        self._log = log
        self._tail = tail
        self._clock = clock
        self._delay = 0.0
        self._postponed_of = 0.0
        self._postponed_at = 0.0
        self._reached = 0

    async def __call__(self, batch: Sequence[Envelope]) -> None:
        """Take one batch. Raises StorageError while the database is away."""
        drafts = [item for item in map(self._draft, batch) if item is not None]
        if not drafts:
            return
        oldest = min(item.time for item in drafts)
        try:
            await self._store(drafts)
        except StorageError as error:
            self.postponed += 1
            self._postponed_of, self._postponed_at = oldest, self._clock()
            self._reached = self._tail.reached
            if not self.failing:
                self.failing = True
                logger.error("events wait in their queue: %s", error)
            raise
        self._delay = max(0.0, self._clock() - oldest)
        self._postponed_at = 0.0
        if self.failing:
            self.failing = False
            logger.warning("events are stored again, after %.0f s", self._delay)

    def delay(self) -> float:
        """Seconds that the oldest event waits which we could not store yet; when there is none,
        how long the oldest of the last batch had waited."""
        now = self._clock()
        if self._tail.reached > self._reached:
            self._postponed_at = 0.0  # since we could not, another node stores events
        if self._postponed_at and now - self._postponed_at < FAILURE_SECONDS:
            return max(0.0, now - self._postponed_of)
        return self._delay

    def _draft(self, envelope: Envelope) -> Draft | None:
        try:
            if not isinstance(envelope.payload, Event):
                raise TypeError(f"{type(envelope.payload).__name__} is no event")
            return draft(envelope)
        except Exception:
            self.unreadable += 1
            logger.exception("unreadable event from node %s", envelope.node)
            return None

    async def _store(self, drafts: list[Draft]) -> None:
        try:
            appended = await self._log.append(drafts)
        except Refused as error:
            if len(drafts) > 1:
                for item in drafts:
                    await self._store([item])
                return
            self.refused += 1
            logger.error("event %s is left out: %s", drafts[0].envelope_id, error)
            return
        self.stored += len(appended.events)
        self.duplicates += len(drafts) - len(appended.events)
        self._tail.stored(appended)
