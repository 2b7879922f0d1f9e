"""The bus over RabbitMQ: DESIGN §4.

Each topic is a durable fanout exchange; one AMQP message is one Batch of one node. One task per
topic takes batches out of its outbox, one at a time, so that the order stays.

The connection is our own loop around aio-pika's plain connection and not its robust one: that one
restores channel by channel, and a consumer whose queue or exchange was deleted, or an exchange that
a publisher misses, needs more than it restores. Here any trouble (a connection or channel closed, a
consumer cancelled, a message that no queue took) ends the whole session, and a new one declares all
anew: one way for all faults, the same as at the start, and done in some tens of milliseconds.
A session has two connections, as RabbitMQ stops reading from publishers when it is short of memory
or disk, and acknowledgements must get through then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

import aio_pika
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic
from pamqp.common import FieldTable

from tandem.bus.brokered import AnySubscription, BrokeredBus, Session, told
from tandem.bus.codec import decode, encode, join
from tandem.bus.kept import KeptSubscription, Message
from tandem.bus.outbox import KEPT
from tandem.bus.ports import Envelope, Keep, Topic
from tandem.bus.sender import empty
from tandem.bus.subscription import Subscription
from tandem.bus.urls import addresses

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 2
"""A broker that says nothing is given up after 9 s (aiormq: three times this and a second); it
gives us up after 4 s."""
CONNECT_SECONDS: Final = 3.0
"""For one connection to one of the URLs."""
CONFIRM_SECONDS: Final = 10.0
"""Without a confirm for so long the session is given up."""
BEGIN_SECONDS: Final = 5.0
"""For a queue to accept a consumer; a healthy one takes milliseconds."""
INSIST_SECONDS: Final = 1.0
"""Before the next try with a queue that does not answer."""
NODE_TRIES: Final = 3
"""Tries with a queue of Keep.NODE before it is made anew."""
DELETE_SECONDS: Final = 10.0
"""For the deletion of a queue: RabbitMQ itself takes 5 s for one that is broken."""
TEND_SECONDS: Final = 5.0
"""Between two looks at whether exchanges and bindings are still there."""
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
WELL_KNOWN: Final = ((Topic.EVENTS, "events"), (Topic.LOCATION, "provisioning"))
"""Shared queues that each node declares: nothing is lost, whichever service starts first."""

SHARED_QUEUE: Final[FieldTable] = {"x-queue-type": "quorum", "x-delivery-limit": NO_DELIVERY_LIMIT}
NODE_QUEUE: Final[FieldTable] = {**SHARED_QUEUE, "x-expires": NODE_QUEUE_MS}


@contextmanager
def _translated() -> Iterator[None]:
    """aiormq cancels its own tasks when a connection ends, and who awaits one of them sees that as
    if it were cancelled itself: it is told apart here, and becomes ConnectionError."""
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ConnectionError("the connection ended") from error


class _Consumer:
    """Feeds one subscription from its queue; a `kept.Source`.

    A quorum queue whose members are not there, or that was declared within the second before its
    only broker was killed, accepts being declared and answers nothing else. Such a queue must not
    keep the others from working: it is tried again and again beside them, and one of Keep.NODE,
    which matters to this node only, is in the end deleted and made anew.
    """

    def __init__(self, session: AmqpSession, subscription: AnySubscription) -> None:
        self._session = session
        self._subscription = subscription
        self._channel: AbstractChannel | None = None
        self._tag: str | None = None
        self._keep = Keep.LIVE
        if isinstance(subscription, KeptSubscription):
            self._keep = subscription.keep
        self.queue = session.bus.queue_name(subscription)
        self.topic = subscription.topic

    async def begin(self) -> None:
        """Consume, or insist on it in the background if the queue does not answer."""
        if not await self._begins():
            logger.error("the queue %s does not answer", self.queue)
            self._session.run(self._insist(), f"bus {self.queue} insists")

    async def _insist(self) -> None:
        for tries in count(1):
            await asyncio.sleep(INSIST_SECONDS)
            if tries >= NODE_TRIES and self._keep is Keep.NODE:
                logger.error("the queue %s is made anew", self.queue)
                await self._session.delete_queue(self.queue)
            if await self._begins():
                self._session.bus.call_back()
                return

    async def _begins(self) -> bool:
        channel = await self._session.channel(self._session.incoming, confirms=False)
        try:
            async with asyncio.timeout(BEGIN_SECONDS):
                await self._consume(channel)
        except TimeoutError:
            await self._session.close_channel(channel)
            return False
        return True

    async def _consume(self, channel: AbstractChannel) -> None:
        session, subscription = self._session, self._subscription
        channel.on_consumer_cancel_callbacks.add(self._cancelled)
        if isinstance(subscription, KeptSubscription):
            arguments = SHARED_QUEUE if self._keep is Keep.SHARED else NODE_QUEUE
            await channel.queue_declare(self.queue, durable=True, arguments=dict(arguments))
            await channel.basic_qos(prefetch_count=PREFETCH)
            subscription.attach(self)
            take = self._take_kept
        else:
            await channel.queue_declare(self.queue, exclusive=True, auto_delete=True)
            take = self._take_live
        await session.bind(channel, self.queue, self.topic)
        self._channel = channel
        live = self._keep is Keep.LIVE
        consuming = await channel.basic_consume(self.queue, take, no_ack=live)
        self._tag = consuming.consumer_tag

    async def end(self) -> None:
        """Take nothing more; what the broker sent until now has arrived."""
        if self._channel is not None and self._tag is not None:
            with _translated():
                await self._channel.basic_cancel(self._tag)

    async def _take_live(self, message: DeliveredMessage) -> None:
        subscription = self._subscription
        assert isinstance(subscription, Subscription)
        for envelope in self._read(message):
            if envelope.id in subscription.seen:
                subscription.repeated += 1
            else:
                subscription.seen.add(envelope.id)
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
            with _translated():
                await self._channel.basic_ack(tag, multiple=True, wait=False)

    async def refuse(self, envelope: Envelope) -> None:
        """Into a queue beside its own, where an operator finds it."""
        with _translated():
            await self._session.set_aside(f"{self.queue}.refused", envelope)

    async def give_back(self) -> None:
        """Closing the channel returns all that is not acknowledged, in its order; a nack would
        leave what is under way before it."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await self._session.close_channel(channel)
        await asyncio.sleep(GIVE_BACK_SECONDS)
        await self._session.attempt(self.begin())


class AmqpSession:
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
        with _translated():
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
        try:
            async with asyncio.timeout(GOOD_BYE_SECONDS):
                with _translated():
                    await channel.close()
        except Exception as error:
            logger.debug("closing a channel: %s", told(error))

    async def delete_queue(self, queue: str) -> None:
        """On a channel of its own, for a queue that may not answer."""
        channel = await self.channel(self.outgoing, confirms=False)
        try:
            async with asyncio.timeout(DELETE_SECONDS):
                with _translated():
                    await channel.queue_delete(queue)
        except TimeoutError:
            logger.error("the queue %s can not be deleted", queue)
        finally:
            await self.close_channel(channel)

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
            with _translated():
                await work
        except Exception as error:
            self.broken(told(error))

    async def publish(self) -> None:
        """Empty the outboxes from now on, and look after what was declared."""
        with _translated():
            confirmed = await self.channel(self.outgoing, confirms=True)
            plain = await self.channel(self.outgoing, confirms=False)
        for topic, outbox in self.bus.outboxes.items():
            send = self._sender(confirmed if topic in CONFIRMED else plain, topic)
            work = empty(outbox, topic, send, self.bus.clock, self.bus.hurry)
            self.run(work, f"bus {topic} sender")
        self.run(self._tend(), "bus tending")

    def run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """A task that ends with the session; the session ends if it raises."""
        task = asyncio.get_running_loop().create_task(self.attempt(work), name=name)
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
                await self.delete_queue(self.bus.queue_name(subscription))

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
            with _translated():
                await connection.close()
    except Exception as error:
        logger.debug("closing a connection to the broker: %s", told(error))


def _reason(closing: asyncio.Future[Any], what: str) -> str:
    error = None if closing.cancelled() else closing.exception()
    return f"{what}: {told(error)}" if error is not None else what


class AmqpBus(BrokeredBus):
    """Implements `tandem.bus.ports.CountedBus`. Raises ValueError for a URL that is none."""

    def __init__(
        self,
        url: str,
        node: str,
        clock: Callable[[], float] = time.time,
        *,
        prefix: str = "tandem",
    ) -> None:
        places = addresses(url)
        super().__init__(node, clock, prefix, list(places.values()))
        self._urls = list(places)
        # what it says of each failed attempt we say ourselves, once
        logging.getLogger("aiormq").setLevel(logging.CRITICAL)

    def session(self, place: int) -> Session:
        """A new one with the broker at that place of the addresses."""
        return AmqpSession(self, self._urls[place])
