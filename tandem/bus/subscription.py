"""A subscriber: a bounded queue of envelopes and one task that empties it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from tandem.bus.counters import SubscriptionCounts
from tandem.bus.ports import Envelope, Handler, Keep, Topic
from tandem.bus.settle import Seen, Settler

logger = logging.getLogger(__name__)

QUEUE_LIMIT: Final = 100_000
"""Envelopes that wait for one subscriber: some tens of MB, minutes of a busy switch's events."""
BATCH_LIMIT: Final = 500
"""Envelopes given to a handler at a time, so that no batch holds the loop for long."""
RETRY_SECONDS: Final = 2.0
"""Pause before a batch that nothing helped with is tried anew."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a topic's envelopes are gathered to batches, in seconds: for handlers whose cost is by
    the batch. What one delivery leaves of a whole batch goes on at once."""

    linger: float
    """From the first envelope of a batch to its delivery, at least."""
    apart: float
    """From one delivery to the next, at least."""


AT_ONCE: Final = Pace(0.0, 0.0)


class Subscription(SubscriptionCounts):
    """A bounded queue, its handler and the counters that metrics show."""

    def __init__(
        self,
        topic: Topic,
        name: str,
        handler: Handler,
        *,
        limit: int = QUEUE_LIMIT,
        pace: Pace = AT_ONCE,
        keep: Keep = Keep.LIVE,
    ) -> None:
        super().__init__()
        self.topic = topic
        self.name = name
        self.seen = Seen()
        """Ids that were put, for who may bring them twice."""
        self._handler = handler
        self._pace = pace
        self._delivered_at = -math.inf
        self._queue: deque[Envelope] = deque(maxlen=limit)
        self._limit = limit
        self._ready = asyncio.Event()
        self._scheduled = False
        self._closing = False
        settler = Settler(name, handler, self, self._refuse, remember=False)
        self._settler = settler if keep is not Keep.LIVE else None

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, envelope: Envelope) -> None:
        """Queue; when the queue is full the oldest gives way."""
        queue = self._queue
        if len(queue) == self._limit:
            self.dropped += 1
        queue.append(envelope)
        if not self._scheduled:
            self._wake()

    def _wake(self) -> None:
        self._scheduled = True
        if self._pace is AT_ONCE or self._closing or len(self._queue) >= BATCH_LIMIT:
            self._ready.set()
            return
        loop = asyncio.get_running_loop()
        earliest = self._delivered_at + self._pace.apart
        loop.call_at(max(loop.time() + self._pace.linger, earliest), self._ready.set)

    async def run(self) -> None:
        """Deliver until closed and empty."""
        loop = asyncio.get_running_loop()
        while self._queue or not self._closing:
            await self._ready.wait()
            self._ready.clear()
            if self._queue:
                self._delivered_at = loop.time()
                await self._next_batch()
                # A handler that never waits must not starve the SIP side while its queue is full.
                await asyncio.sleep(0)
            self._scheduled = False
            if self._queue:
                self._wake()

    def _take(self, count: int) -> list[Envelope]:
        queue = self._queue
        return [queue.popleft() for _ in range(min(len(queue), count))]

    async def _next_batch(self) -> None:
        if self._settler is None:
            await self._deliver(self._take(BATCH_LIMIT))
        else:
            await self._settle(self._settler)

    async def _deliver(self, batch: list[Envelope]) -> None:
        try:
            await self._handler(batch)
        except Exception:
            self.failed += 1
            logger.exception("subscriber %s failed on a batch of %s", self.name, self.topic)
        self.delivered += len(batch)

    async def _settle(self, settler: Settler) -> None:
        batch = self._take(BATCH_LIMIT)
        try:
            while not await settler.settle(batch):
                await asyncio.sleep(RETRY_SECONDS)
                # what came meanwhile may show whether the fault is in the batch
                batch += self._take(BATCH_LIMIT - len(batch) or 1)
        except asyncio.CancelledError:
            self.dropped += len(batch)
            raise

    async def _refuse(self, envelope: Envelope) -> None:
        """There is no place to keep it: it is counted and told, and gone."""

    def finish(self) -> None:
        """Have `run` deliver what is queued, without lingering, and return."""
        self._closing = True
        self._ready.set()

    def abandon(self) -> None:
        """Count what is left as dropped."""
        self.dropped += len(self._queue)
        self._queue.clear()
