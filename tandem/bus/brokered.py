"""A bus over a broker, but for the broker's protocol: outboxes, subscribers, and the loop that
keeps a session with the broker up. `amqp.AmqpBus` brings the session.

`publish` puts an envelope into the topic's outbox and returns. A session takes from there what it
can hand over; what the broker does not confirm goes again under the same id.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from typing import Any, Final, Protocol

from tandem.bus.counters import TopicCounts
from tandem.bus.kept import KeptSubscription
from tandem.bus.node_events import MessagesLost
from tandem.bus.outbox import KEPT, Outbox, outbox_for
from tandem.bus.ports import Envelope, Handler, Keep, Topic
from tandem.bus.subscription import Subscription

logger = logging.getLogger(__name__)

SET_UP_SECONDS: Final = 60.0
"""For all declarations of a session: quorum queues can take seconds on a busy broker."""
BACK_OFF: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Seconds before the next attempt to connect; the last one counts from then on."""
STEADY_SECONDS: Final = 10.0
"""A session that lasted so long was a good one, and the next attempt comes at once. One that breaks
again and again right after its start must not be made anew twenty times a second."""
CLOSE_SECONDS: Final = 5.0
"""How long `close` lets the outbox be flushed, and then handlers finish."""
TOLD: Final = KEPT | {Topic.HINTS}
"""Topics whose losses are told in an event; on others all is said again."""

AnySubscription = Subscription | KeptSubscription


class Session(Protocol):
    """What is set up with the broker, until anything of it breaks."""

    async def open(self) -> None:
        """Connect, declare, subscribe. Raises what goes wrong."""

    async def publish(self) -> None:
        """Empty the outboxes from now on."""

    async def consume(self, subscription: AnySubscription) -> None:
        """Feed a subscription."""

    def run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """A task that ends with the session; the session ends if it raises."""

    async def ended(self) -> str:
        """Wait for the end; returns why."""

    async def stop_consuming(self) -> None:
        """Nothing more arrives after this."""

    async def delete_queues(self) -> None:
        """Those of Keep.NODE: they end with a clean close."""

    async def close(self) -> None:
        """Close what is left; never raises."""


def told(error: BaseException) -> str:
    """An exception in a log line."""
    return f"{type(error).__name__} {error}".strip()


class BrokeredBus:
    """Implements `tandem.bus.ports.CountedBus`."""

    def __init__(
        self, node: str, clock: Callable[[], float], prefix: str, addresses: Sequence[str]
    ) -> None:
        self.node = node
        self.clock = clock
        self.subscriptions: list[AnySubscription] = []
        self.outboxes: dict[Topic, Outbox] = {topic: outbox_for(topic) for topic in Topic}
        self.hurry = asyncio.Event()
        """Set when nothing is to linger any more."""
        self._addresses = addresses
        self._prefix = prefix
        self._resumed: list[Callable[[], None]] = []
        self._session: Session | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._attempted = asyncio.Event()
        self._closed = False
        self._down = False
        # Ids sort as text: the start in nanoseconds, then a number of fixed width.
        self._ids = f"{node}-{int(clock() * 1e9):016x}-"
        self._numbers = count(1)

    def session(self, place: int) -> Session:
        """A new one with the broker at that place of the addresses."""
        raise NotImplementedError

    # -- what services use -----------------------------------------------------------------------

    def publish(self, topic: Topic, payload: Any, *, to: str = "") -> None:
        """Put `payload` into the outbox of `topic`; a few microseconds, never raises."""
        if not self._closed:
            number = f"{self._ids}{next(self._numbers):010x}"
            self.outboxes[topic].put(Envelope(number, self.clock(), self.node, payload, to))

    def subscribe(
        self, topic: Topic, handler: Handler, *, name: str, keep: Keep = Keep.LIVE
    ) -> None:
        """Deliver to `handler` from `start` on."""
        subscription: AnySubscription = (
            Subscription(topic, name, handler)
            if keep is Keep.LIVE
            else KeptSubscription(topic, name, handler, keep)
        )
        self.subscriptions.append(subscription)
        if self._keeper is not None and not self._closed:
            self._work(subscription)
            if (session := self._session) is not None:
                session.run(session.consume(subscription), f"bus {name} begins")

    def on_resumed(self, callback: Callable[[], None]) -> None:
        """Call back when deliveries go on after they were cut off, or begin after `start`."""
        self._resumed.append(callback)

    async def start(self) -> None:
        """Connect, and deliver from then on. A broker that is away is tried for ever, and then
        this returns after the first attempt."""
        if self._keeper is not None:
            return
        for subscription in self.subscriptions:
            self._work(subscription)
        loop = asyncio.get_running_loop()
        self._keeper = loop.create_task(self._keep_connected(), name="bus connection")
        await self._attempted.wait()

    async def close(self) -> None:
        """Flush the outbox and let handlers finish, each for at most CLOSE_SECONDS; then leave."""
        if self._closed:
            return
        self._closed = True
        self.hurry.set()
        if self._keeper is not None:
            await self._flush()
            await self._finish()
        lost = {t: n for t, o in self.outboxes.items() if (n := o.abandon()) and t in TOLD}
        for topic, number in lost.items():
            logger.warning("%d message(s) on %s lost: the broker was away", number, topic)

    # -- what is counted -------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether messages go through now."""
        return self._session is not None

    @property
    def queue_depth(self) -> int:
        """Envelopes that wait in this process for handlers."""
        return sum(map(len, self.subscriptions))

    def counters(self) -> dict[Topic, TopicCounts]:
        """What is counted for each topic, now."""
        now = self.clock()
        found = {
            topic: TopicCounts(
                published=outbox.published,
                confirmed=outbox.confirmed,
                outbox=len(outbox),
                outbox_age=outbox.age(now),
                dropped=outbox.dropped.copy(),
            )
            for topic, outbox in self.outboxes.items()
        }
        for subscription in self.subscriptions:
            found[subscription.topic].add(subscription, len(subscription))
        return found

    # -- what a session needs --------------------------------------------------------------------

    def exchange(self, topic: Topic) -> str:
        """The name of the topic's exchange."""
        return f"{self._prefix}.{topic}"

    def shared_queue(self, topic: Topic, name: str) -> str:
        """The name of a queue that is kept."""
        return f"{self._prefix}.{topic}.{name}"

    def queue_name(self, subscription: AnySubscription) -> str:
        """The name of its queue. One of Keep.LIVE has a new one each time: the broker may not have
        noticed yet that the connection that owned the last one is gone."""
        name = self.shared_queue(subscription.topic, subscription.name)
        if isinstance(subscription, Subscription):
            return f"{name}.{next(self._numbers):x}.{self._ids}"
        return name

    def tell_losses(self) -> None:
        """One event for each topic and reason; not while it would push another event out."""
        events = self.outboxes[Topic.EVENTS]
        if len(events) > events.limit // 2:
            return
        for topic, outbox in self.outboxes.items():
            told, outbox.untold = outbox.untold, type(outbox.untold)()
            if topic in TOLD:
                for reason, number in told.items():
                    lost = MessagesLost(topic=topic.value, count=number, reason=str(reason))
                    self.publish(Topic.EVENTS, lost)

    # -- the connection --------------------------------------------------------------------------

    def _work(self, subscription: AnySubscription) -> None:
        name = f"bus {subscription.topic} {subscription.name}"
        task = asyncio.get_running_loop().create_task(subscription.run(), name=name)
        self._workers.append(task)

    async def _keep_connected(self) -> None:
        failures = 0
        while True:
            for place, address in enumerate(self._addresses):
                session = self.session(place)
                try:
                    if await self._serve(session, address) >= STEADY_SECONDS:
                        failures = 0
                except Exception as error:
                    self._report("the broker at %s can't be used: %s", address, told(error))
                finally:
                    self._session = None
                    await session.close()
            self._attempted.set()
            await asyncio.sleep(BACK_OFF[min(failures, len(BACK_OFF) - 1)])
            failures += 1

    async def _serve(self, session: Session, address: str) -> float:
        """Set a session up, and wait for its end; how many seconds it lasted."""
        async with asyncio.timeout(SET_UP_SECONDS):
            await session.open()
        if self._down:
            logger.warning("the broker at %s is back", address)
            self._down = False
        self._session = session
        if self._attempted.is_set():
            self.call_back()
        for outbox in self.outboxes.values():
            outbox.expire(self.clock())
        self.tell_losses()
        async with asyncio.timeout(SET_UP_SECONDS):
            await session.publish()
        self._attempted.set()
        began = time.monotonic()
        why = await session.ended()
        if not self._closed:
            self._report("the broker at %s is lost: %s", address, why)
        return time.monotonic() - began

    def _report(self, text: str, *details: str) -> None:
        """Once for each outage."""
        log = logger.debug if self._down else logger.warning
        log(text, *details)
        self._down = True

    def call_back(self) -> None:
        """Tell those who asked that deliveries go on."""
        for callback in self._resumed:
            try:
                callback()
            except Exception:
                logger.exception("a callback failed after the broker came back")

    async def _flush(self) -> None:
        deadline = time.monotonic() + CLOSE_SECONDS
        while any(self._worth()):
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(0.01)

    def _worth(self) -> list[int]:
        """How much waits: without a broker only what must not be lost counts."""
        return [len(o) for t, o in self.outboxes.items() if self.connected or t in KEPT]

    async def _finish(self) -> None:
        session = self._session
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                if session is not None:
                    await session.stop_consuming()
                for subscription in self.subscriptions:
                    subscription.finish()
                if self._workers:
                    await asyncio.wait(self._workers)
                if session is not None:
                    await session.delete_queues()
        except Exception as error:  # whatever a broken connection raises: we leave anyway
            logger.warning("the bus did not close in good order: %s", told(error))
        tasks = [*self._workers, *([self._keeper] if self._keeper else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
