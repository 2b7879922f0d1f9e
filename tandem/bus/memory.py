"""The bus of one process: each subscriber has a bounded queue and one task that empties it.

`publish` is called from the path of SIP messages. It makes one envelope and appends it to each
queue, and does nothing at all for a topic that nobody subscribed to. It must be called from the
thread of the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Final

from tandem.bus.ports import Envelope, Handler, Keep, Topic

logger = logging.getLogger(__name__)

QUEUE_LIMIT: Final = 100_000
"""Envelopes that wait for one subscriber: some tens of MB, minutes of a busy switch's events."""
BATCH_LIMIT: Final = 500
"""Envelopes given to a handler at a time, so that no batch holds the loop for long."""
CLOSE_SECONDS: Final = 5.0
"""How long `close` lets handlers work on what is queued."""
LINGER: Final[Mapping[Topic, float]] = {Topic.EVENTS: 0.05}
"""Seconds from the first envelope of a batch to its delivery, for topics whose handlers have a
high cost per batch (a database transaction) and whose readers are people."""


class Subscription:
    """A bounded queue, its handler and the counters that metrics show."""

    def __init__(
        self, topic: Topic, name: str, handler: Handler, *, limit: int, linger: float
    ) -> None:
        self.topic = topic
        self.name = name
        self.delivered = 0
        """Envelopes handed to the handler."""
        self.dropped = 0
        """Envelopes that gave way because the queue was full, or that `close` had no time for."""
        self.failed = 0
        """Batches that ended in an exception of the handler."""
        self._handler = handler
        self._linger = linger
        self._queue: deque[Envelope] = deque(maxlen=limit)
        self._limit = limit
        self._ready = asyncio.Event()
        self._scheduled = False
        self._closing = False

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
        if self._linger and not self._closing:
            asyncio.get_running_loop().call_later(self._linger, self._ready.set)
        else:
            self._ready.set()

    async def run(self) -> None:
        """Deliver until closed and empty."""
        while self._queue or not self._closing:
            await self._ready.wait()
            self._ready.clear()
            self._scheduled = False
            while self._queue:
                await self._deliver(self._take())

    def _take(self) -> list[Envelope]:
        queue = self._queue
        return [queue.popleft() for _ in range(min(len(queue), BATCH_LIMIT))]

    async def _deliver(self, batch: list[Envelope]) -> None:
        try:
            await self._handler(batch)
        except Exception:
            self.failed += 1
            logger.exception("subscriber %s failed on a batch of %s", self.name, self.topic)
        self.delivered += len(batch)
        # A handler that never waits must not starve the SIP side while its queue is full.
        await asyncio.sleep(0)

    def finish(self) -> None:
        """Have `run` deliver what is queued, without lingering, and return."""
        self._closing = True
        self._ready.set()

    def abandon(self) -> None:
        """Count what is left as dropped."""
        self.dropped += len(self._queue)
        self._queue.clear()


class MemoryBus:
    """Implements `tandem.bus.ports.Bus` inside one process and event loop."""

    def __init__(
        self, node: str, clock: Callable[[], float] = time.time, *, queue_limit: int = QUEUE_LIMIT
    ) -> None:
        self.subscriptions: list[Subscription] = []
        self.published = 0
        """Envelopes published to at least one subscriber."""
        self._node = node
        self._clock = clock
        self._queue_limit = queue_limit
        self._by_topic: dict[Topic, list[Subscription]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._started = False
        self._closed = False
        # Ids sort as text: the start in nanoseconds, then a number of fixed width.
        self._prefix = f"{node}-{int(clock() * 1e9):016x}-"
        self._numbers = count(1)

    def publish(self, topic: Topic, payload: Any) -> None:
        """Queue `payload` for each subscriber of `topic`; a few microseconds, never raises."""
        subscriptions = self._by_topic.get(topic)
        if not subscriptions or self._closed:
            return
        self.published += 1
        number = f"{self._prefix}{next(self._numbers):010x}"
        envelope = Envelope(number, self._clock(), self._node, payload)
        for subscription in subscriptions:
            subscription.put(envelope)

    def on_resumed(self, callback: Callable[[], None]) -> None:
        """Nothing is ever cut off here."""

    def subscribe(
        self, topic: Topic, handler: Handler, *, name: str, keep: Keep = Keep.LIVE
    ) -> None:
        """Deliver to `handler` from `start` on all that is published from now on."""
        subscription = Subscription(
            topic, name, handler, limit=self._queue_limit, linger=LINGER.get(topic, 0.0)
        )
        self.subscriptions.append(subscription)
        self._by_topic.setdefault(topic, []).append(subscription)
        if self._started and not self._closed:
            self._run(subscription)

    async def start(self) -> None:
        """Begin to deliver, also what was published before."""
        if self._started:
            return
        self._started = True
        for subscription in self.subscriptions:
            self._run(subscription)

    def _run(self, subscription: Subscription) -> None:
        name = f"bus {subscription.topic} {subscription.name}"
        self._tasks.append(asyncio.get_running_loop().create_task(subscription.run(), name=name))

    async def close(self) -> None:
        """Take nothing more, deliver what is queued for at most CLOSE_SECONDS, then stop."""
        self._closed = True
        for subscription in self.subscriptions:
            subscription.finish()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
            await _cancel(late)
        for subscription in self.subscriptions:
            subscription.abandon()


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
