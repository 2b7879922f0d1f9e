"""The bus over RabbitMQ: DESIGN §4.

Each topic is a durable fanout exchange; one AMQP message is one Batch of one node. `publish` puts
an envelope into the topic's outbox and returns. While connected, one task per topic takes batches
out of its outbox, one at a time, so that the order stays; what the broker does not confirm goes
again under the same ids.

The connection is our own loop around aio-pika's plain connection and not its robust one: that one
restores channel by channel, and a consumer whose queue or exchange was deleted, or an exchange that
a publisher misses, needs more than it restores. Here any trouble (a connection or channel closed, a
consumer cancelled, a confirm that does not come) ends the whole session, and a new one declares all
anew: one way for all faults, the same as at the start, and done in some tens of milliseconds.
A session has two connections, as RabbitMQ stops reading from publishers when it is short of memory
or disk, and acknowledgements must get through then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any, Final
from urllib.parse import urlsplit

import aio_pika
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic
from pamqp.common import FieldTable

from tandem.bus.codec import decode, encode, join
from tandem.bus.counters import TopicCounts
from tandem.bus.events import MessagesLost
from tandem.bus.kept import KeptSubscription, Message
from tandem.bus.outbox import KEPT, Outbox, outbox_for
from tandem.bus.ports import Envelope, Handler, Keep, Topic
from tandem.bus.sender import empty
from tandem.bus.settle import Seen
from tandem.bus.subscription import Subscription

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 2
"""A broker that says nothing is given up after 9 s (aiormq: three times this and a second); it
gives us up after 4 s."""
CONNECT_SECONDS: Final = 3.0
"""For one connection to one of the URLs."""
SET_UP_SECONDS: Final = 20.0
"""For all declarations of a session: quorum queues can take seconds on a busy broker."""
CONFIRM_SECONDS: Final = 10.0
"""Without a confirm for so long the session is given up."""
BACK_OFF: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Seconds before the next attempt to connect; the last one counts from then on."""
TEND_SECONDS: Final = 5.0
"""Between two looks at whether exchanges and bindings are still there."""
CLOSE_SECONDS: Final = 5.0
"""How long `close` lets the outbox be flushed, and then handlers finish."""
GOOD_BYE_SECONDS: Final = 2.0
"""How long a connection may take to close."""
PREFETCH: Final = 32
"""Messages (batches) that a subscriber of Keep.NODE or Keep.SHARED has in hand."""
GIVE_BACK_SECONDS: Final = 3.0
"""How long a node whose handler fails leaves a shared queue to the others."""
NODE_QUEUE_MS: Final = 600_000
"""A queue of Keep.NODE that nobody reads from is deleted after this."""
NO_DELIVERY_LIMIT: Final = 1_000_000_000
"""RabbitMQ 4 drops a message after 20 deliveries unless told otherwise; what is bad, we find."""

CONFIRMED: Final = KEPT | {Topic.HINTS}
TOLD: Final = CONFIRMED
"""Topics whose losses are told in an event; on others all is said again."""
WELL_KNOWN: Final = ((Topic.EVENTS, "events"), (Topic.LOCATION, "provisioning"))
"""Shared queues that each node declares: nothing is lost, whichever service starts first."""

SHARED_QUEUE: Final[FieldTable] = {"x-queue-type": "quorum", "x-delivery-limit": NO_DELIVERY_LIMIT}
NODE_QUEUE: Final[FieldTable] = {**SHARED_QUEUE, "x-expires": NODE_QUEUE_MS}

AnySubscription = Subscription | KeptSubscription


class BrokerTrouble(Exception):
    """Why a session ended."""


class _Consumer:
    """Feeds one subscription from its queue; a `kept.Source`."""

    def __init__(self, session: Session, subscription: AnySubscription) -> None:
        self._session = session
        self._subscription = subscription
        self._channel: AbstractChannel | None = None
        self._tag: str | None = None
        self._seen = session.bus.seen_by(subscription)
        self.queue = session.bus.queue_name(subscription)
        self.topic = subscription.topic

    async def begin(self) -> None:
        """Declare the queue, bind it, and consume."""
        session, subscription = self._session, self._subscription
        live = isinstance(subscription, Subscription)
        self._channel = channel = await session.channel(session.incoming, confirms=False)
        channel.on_consumer_cancel_callbacks.add(self._cancelled)
        if live:
            await channel.queue_declare(self.queue, exclusive=True, auto_delete=True)
        else:
            assert isinstance(subscription, KeptSubscription)
            arguments = SHARED_QUEUE if subscription.keep is Keep.SHARED else NODE_QUEUE
            await channel.queue_declare(self.queue, durable=True, arguments=dict(arguments))
            await channel.basic_qos(prefetch_count=PREFETCH)
            subscription.attach(self)
        await session.bind(channel, self.queue, subscription.topic)
        take = self._take_live if live else self._take_kept
        consuming = await channel.basic_consume(self.queue, take, no_ack=live)
        self._tag = consuming.consumer_tag

    async def end(self) -> None:
        """Take nothing more; what the broker sent until now has arrived."""
        if self._channel is not None and self._tag is not None:
            await self._channel.basic_cancel(self._tag)

    async def _take_live(self, message: DeliveredMessage) -> None:
        subscription = self._subscription
        assert isinstance(subscription, Subscription)
        for envelope in self._read(message):
            if envelope.id in self._seen:
                subscription.repeated += 1
            else:
                self._seen.add(envelope.id)
                subscription.put(envelope)

    async def _take_kept(self, message: DeliveredMessage) -> None:
        subscription = self._subscription
        assert isinstance(subscription, KeptSubscription)
        envelopes = self._read(message)
        if message.redelivered:
            subscription.redelivered += len(envelopes)
        if message.channel is self._channel:
            subscription.arrived(Message(message.delivery_tag or 0, envelopes))

    def _read(self, message: DeliveredMessage) -> list[Envelope]:
        decoded = decode(message.body)
        self._subscription.unreadable += decoded.unreadable
        return decoded.envelopes

    def _cancelled(self, frame: Basic.Cancel) -> None:
        self._session.broken(f"the queue {self.queue} is gone")

    async def acknowledge(self, tag: int) -> None:
        """All up to this one are done with."""
        if self._channel is not None:
            await self._channel.basic_ack(tag, multiple=True, wait=False)

    async def refuse(self, envelope: Envelope) -> None:
        """Into a queue beside its own, where an operator finds it."""
        await self._session.set_aside(f"{self.queue}.refused", envelope)

    async def give_back(self) -> None:
        """Closing the channel returns all that is not acknowledged, in its order; a nack would
        leave what is under way before it."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await self._session.close_channel(channel)
        await asyncio.sleep(GIVE_BACK_SECONDS)
        await self._session.attempt(self.begin())


class Session:
    """Two connections and all that runs on them, until anything breaks."""

    def __init__(self, bus: AmqpBus, url: str) -> None:
        self.bus = bus
        self.incoming: AbstractConnection
        self.outgoing: AbstractConnection
        self._url = url
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._connections: list[AbstractConnection] = []
        self._consumers: list[_Consumer] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing_channels: set[AbstractChannel] = set()

    async def open(self) -> None:
        """Connect, declare, subscribe. Raises what goes wrong."""
        self.incoming = await self._connect("in")
        self.outgoing = await self._connect("out")
        self._admin = await self.channel(self.incoming, confirms=False)
        await self._declare()
        for subscription in self.bus.subscriptions:
            await self.consume(subscription)

    async def _declare(self) -> None:
        for topic in Topic:
            await self._admin.exchange_declare(
                self.bus.exchange(topic), exchange_type="fanout", durable=True
            )
        for topic, name in WELL_KNOWN:
            queue = self.bus.shared_queue(topic, name)
            await self._admin.queue_declare(queue, durable=True, arguments=dict(SHARED_QUEUE))
            await self.bind(self._admin, queue, topic)

    async def _connect(self, way: str) -> AbstractConnection:
        connection = await aio_pika.connect(
            self._url,
            timeout=CONNECT_SECONDS,
            heartbeat=HEARTBEAT_SECONDS,
            name=f"{self.bus.node} {way}",
        )
        self._connections.append(connection)
        assert connection.transport is not None
        self._watch(connection.transport.connection.closing, "the connection was lost")
        return connection

    async def channel(self, connection: AbstractConnection, *, confirms: bool) -> AbstractChannel:
        """A new one, whose end is the end of the session."""
        assert connection.transport is not None
        channel = await connection.transport.connection.channel(publisher_confirms=confirms)

        def ended(closing: asyncio.Future[Any]) -> None:
            if channel not in self._closing_channels:
                self.broken(_reason(closing, "a channel was closed"))

        channel.closing.add_done_callback(ended)
        return channel

    def _watch(self, closing: asyncio.Future[Any], what: str) -> None:
        closing.add_done_callback(lambda done: self.broken(_reason(done, what)))

    async def close_channel(self, channel: AbstractChannel) -> None:
        """Close one on purpose."""
        self._closing_channels.add(channel)
        async with asyncio.timeout(GOOD_BYE_SECONDS):
            await channel.close()

    async def bind(self, channel: AbstractChannel, queue: str, topic: Topic) -> None:
        """Have the queue get what is published on the topic."""
        await channel.queue_bind(queue, self.bus.exchange(topic))

    async def consume(self, subscription: AnySubscription) -> None:
        """Feed a subscription."""
        consumer = _Consumer(self, subscription)
        self._consumers.append(consumer)
        await consumer.begin()

    async def attempt(self, work: Awaitable[None]) -> None:
        """Do it, or give the session up."""
        try:
            await work
        except Exception as error:
            self.broken(_told(error))

    async def publish(self) -> None:
        """Empty the outboxes from now on, and look after what was declared."""
        confirmed = await self.channel(self.outgoing, confirms=True)
        plain = await self.channel(self.outgoing, confirms=False)
        for topic, outbox in self.bus.outboxes.items():
            send = self._sender(confirmed if topic in CONFIRMED else plain, topic)
            work = empty(outbox, topic, send, self.bus.clock, self.bus.hurry)
            self.run(self.attempt(work), f"bus {topic} sender")
        self.run(self.attempt(self._tend()), "bus tending")

    def run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """A task that ends with the session."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _sender(self, channel: AbstractChannel, topic: Topic) -> Callable[[bytes], Awaitable[None]]:
        exchange = self.bus.exchange(topic)
        mode = 2 if topic in KEPT else 1
        # these have a queue of their own, whoever is there: one that finds none has lost it
        mandatory = any(topic is known for known, _ in WELL_KNOWN)

        async def send(message: bytes) -> None:
            properties = Basic.Properties(delivery_mode=mode)
            await channel.basic_publish(
                message,
                exchange=exchange,
                properties=properties,
                mandatory=mandatory,
                timeout=CONFIRM_SECONDS,
            )

        return send

    async def set_aside(self, queue: str, envelope: Envelope) -> None:
        """Put one envelope into a durable queue. Raises if the broker does not confirm it."""
        channel = await self.channel(self.outgoing, confirms=True)
        try:
            await channel.queue_declare(queue, durable=True, arguments=dict(SHARED_QUEUE))
            properties = Basic.Properties(delivery_mode=2)
            await channel.basic_publish(
                join([encode(envelope)]),
                routing_key=queue,
                properties=properties,
                mandatory=True,
                timeout=CONFIRM_SECONDS,
            )
        finally:
            await self.close_channel(channel)

    async def _tend(self) -> None:
        """A queue whose exchange was deleted hears nothing, and nobody tells it: so look."""
        while True:
            await asyncio.sleep(TEND_SECONDS)
            self.bus.tell_losses()
            for topic in Topic:
                await self._admin.exchange_declare(self.bus.exchange(topic), passive=True)
            # someone else may have made the exchange again before we looked
            for topic, name in WELL_KNOWN:
                await self.bind(self._admin, self.bus.shared_queue(topic, name), topic)
            for consumer in self._consumers:
                await self.bind(self._admin, consumer.queue, consumer.topic)

    def broken(self, why: str) -> None:
        """The session is to end."""
        if not self._ended.done():
            self._ended.set_result(why)

    async def ended(self) -> str:
        """Wait for the end of the session; returns why."""
        return await asyncio.shield(self._ended)

    async def stop_consuming(self) -> None:
        """Nothing more arrives after this."""
        for consumer in self._consumers:
            await consumer.end()

    async def delete_queues(self) -> None:
        """Of Keep.NODE: they end with a clean close."""
        for subscription in self.bus.subscriptions:
            if isinstance(subscription, KeptSubscription) and subscription.keep is Keep.NODE:
                await self._admin.queue_delete(self.bus.queue_name(subscription))

    async def close(self) -> None:
        """Close what is left."""
        self.broken("closed")
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for subscription in self.bus.subscriptions:
            if isinstance(subscription, KeptSubscription):
                subscription.detach()
        await asyncio.gather(*map(_close, self._connections))


async def _close(connection: AbstractConnection) -> None:
    try:
        async with asyncio.timeout(GOOD_BYE_SECONDS):
            await connection.close()
    except Exception as error:
        logger.debug("closing a connection to the broker: %s", _told(error))


def _reason(closing: asyncio.Future[Any], what: str) -> str:
    error = None if closing.cancelled() else closing.exception()
    return f"{what}: {_told(error)}" if error is not None else what


def _told(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip()


def _addresses(urls: str) -> dict[str, str]:
    """Each URL and what may be said of it. Raises ValueError."""
    found: dict[str, str] = {}
    for url in urls.split(","):
        try:
            parts = urlsplit(url.strip())
            port, host = parts.port, parts.hostname
        except ValueError:
            host = port = None
            parts = urlsplit("")
        if parts.scheme not in ("amqp", "amqps") or not host:
            # the URL itself is not told: it may hold a password
            raise ValueError("a broker's URL must be amqp://user:password@host:port/vhost")
        default = 5671 if parts.scheme == "amqps" else 5672
        found[url.strip()] = f"{f'[{host}]' if ':' in host else host}:{port or default}"
    return found


class AmqpBus:
    """Implements `tandem.bus.ports.Bus`. Raises ValueError for a URL that is none."""

    def __init__(
        self,
        url: str,
        node: str,
        clock: Callable[[], float] = time.time,
        *,
        prefix: str = "tandem",
    ) -> None:
        self.node = node
        self.clock = clock
        self.subscriptions: list[AnySubscription] = []
        self.outboxes: dict[Topic, Outbox] = {topic: outbox_for(topic) for topic in Topic}
        self.hurry = asyncio.Event()
        """Set when nothing is to linger any more."""
        self._addresses = _addresses(url)
        self._prefix = prefix
        self._seen: dict[int, Seen] = {}
        self._resumed: list[Callable[[], None]] = []
        self._session: Session | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._attempted = asyncio.Event()
        self._starting = True
        self._closed = False
        self._down = False
        # Ids sort as text: the start in nanoseconds, then a number of fixed width.
        self._ids = f"{node}-{int(clock() * 1e9):016x}-"
        self._numbers = count(1)
        # what it says of each failed attempt we say ourselves, once
        logging.getLogger("aiormq").setLevel(logging.CRITICAL)

    # -- what services use -----------------------------------------------------------------------

    def publish(self, topic: Topic, payload: Any) -> None:
        """Put `payload` into the outbox of `topic`; a few microseconds, never raises."""
        if not self._closed:
            number = f"{self._ids}{next(self._numbers):010x}"
            self.outboxes[topic].put(Envelope(number, self.clock(), self.node, payload))

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
                session.run(session.attempt(session.consume(subscription)), f"bus {name} begins")

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

    def seen_by(self, subscription: AnySubscription) -> Seen:
        """The ids that a subscriber had, over all sessions."""
        return self._seen.setdefault(id(subscription), Seen())

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
            for url, address in self._addresses.items():
                session = Session(self, url)
                try:
                    if await self._serve(session, address):
                        failures = 0
                except Exception as error:
                    self._report("the broker at %s can't be used: %s", address, _told(error))
                finally:
                    self._session = None
                    await session.close()
            self._attempted.set()
            await asyncio.sleep(BACK_OFF[min(failures, len(BACK_OFF) - 1)])
            failures += 1

    async def _serve(self, session: Session, address: str) -> bool:
        """Set a session up, and wait for its end."""
        async with asyncio.timeout(SET_UP_SECONDS):
            await session.open()
        if self._down:
            logger.warning("the broker at %s is back", address)
            self._down = False
        self._session = session
        if self._attempted.is_set():
            self._call_back()
        for outbox in self.outboxes.values():
            outbox.expire(self.clock())
        self.tell_losses()
        async with asyncio.timeout(SET_UP_SECONDS):
            await session.publish()
        self._attempted.set()
        why = await session.ended()
        if not self._closed:
            self._report("the broker at %s is lost: %s", address, why)
        return True

    def _report(self, text: str, *details: str) -> None:
        """Once for each outage."""
        log = logger.debug if self._down else logger.warning
        log(text, *details)
        self._down = True

    def _call_back(self) -> None:
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
            logger.warning("the bus did not close in good order: %s", _told(error))
        tasks = [*self._workers, *([self._keeper] if self._keeper else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
