"""The bus of one process: each subscriber has a bounded queue and one task that empties it.

`publish` is called from the path of SIP messages. It makes one envelope and appends it to each
queue, and does nothing at all for a topic that nobody subscribed to. It must be called from the
thread of the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Final

from tandem.bus.counters import TopicCounts
from tandem.bus.ports import Envelope, Handler, Keep, Topic
from tandem.bus.subscription import AT_ONCE, QUEUE_LIMIT, Pace, Subscription

CLOSE_SECONDS: Final = 5.0
"""How long `close` lets handlers work on what is queued."""
PACE: Final[Mapping[Topic, Pace]] = {Topic.EVENTS: Pace(linger=0.05, apart=0.1)}
"""Of topics whose handlers have a high cost per batch (a database transaction, as dear as the
storing of fifty events) and whose readers are people."""


class _Audience:
    """Who listens to a topic, and how much they were told."""

    __slots__ = ("published", "subscriptions")

    def __init__(self) -> None:
        self.subscriptions: list[Subscription] = []
        self.published = 0


class MemoryBus:
    """Implements `tandem.bus.ports.Bus` inside one process and event loop."""

    def __init__(
        self, node: str, clock: Callable[[], float] = time.time, *, queue_limit: int = QUEUE_LIMIT
    ) -> None:
        self.subscriptions: list[Subscription] = []
        self.connected = True
        """Always: there is no broker to lose."""
        self._node = node
        self._clock = clock
        self._queue_limit = queue_limit
        self._audiences: dict[Topic, _Audience] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._started = False
        self._closed = False
        # Ids sort as text: the start in nanoseconds, then a number of fixed width.
        self._prefix = f"{node}-{int(clock() * 1e9):016x}-"
        self._numbers = count(1)

    def publish(self, topic: Topic, payload: Any, *, to: str = "") -> None:
        """Queue `payload` for each subscriber of `topic`; a few microseconds, never raises. There
        is nobody else here, so what is for another node goes nowhere."""
        audience = self._audiences.get(topic)
        if audience is None or self._closed or (to and to != self._node):
            return
        audience.published += 1
        number = f"{self._prefix}{next(self._numbers):010x}"
        envelope = Envelope(number, self._clock(), self._node, payload)
        for subscription in audience.subscriptions:
            subscription.put(envelope)

    @property
    def published(self) -> int:
        """Envelopes published to at least one subscriber."""
        return sum(audience.published for audience in self._audiences.values())

    @property
    def queue_depth(self) -> int:
        """Envelopes that wait in this process for handlers."""
        return sum(map(len, self.subscriptions))

    def counters(self) -> dict[Topic, TopicCounts]:
        """What is counted for each topic, now. Handing over is confirming here."""
        found: dict[Topic, TopicCounts] = {}
        for topic in Topic:
            audience = self._audiences.get(topic)
            published = audience.published if audience else 0
            found[topic] = TopicCounts(published=published, confirmed=published)
        for subscription in self.subscriptions:
            found[subscription.topic].add(subscription, len(subscription))
        return found

    def on_resumed(self, callback: Callable[[], None]) -> None:
        """Nothing is ever cut off here."""

    def subscribe(
        self, topic: Topic, handler: Handler, *, name: str, keep: Keep = Keep.LIVE
    ) -> None:
        """Deliver to `handler` from `start` on all that is published from now on."""
        subscription = Subscription(
            topic,
            name,
            handler,
            limit=self._queue_limit,
            pace=PACE.get(topic, AT_ONCE),
            keep=keep,
        )
        self.subscriptions.append(subscription)
        self._audiences.setdefault(topic, _Audience()).subscriptions.append(subscription)
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
