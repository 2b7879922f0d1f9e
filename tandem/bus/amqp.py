"""The bus over RabbitMQ: DESIGN §4.

Each topic is a durable fanout exchange, or a direct one where a node is spoken to: the routing key
is its id, or empty for all. One AMQP message is one Batch of one node. One task per topic takes
batches out of its outbox, one at a time, so that the order stays.

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
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.connection import make_url
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from tandem.bus.brokered import AnySubscription, BrokeredBus, Session, told
from tandem.bus.consumer import KEPT_QUEUE, SHARED_QUEUE, Consumer, translated
from tandem.bus.kept import KeptSubscription
from tandem.bus.outbox import KEPT
from tandem.bus.ports import ADDRESSED, Keep, Topic
from tandem.bus.sender import Send, empty
from tandem.bus.urls import addresses

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 2
"""A broker that says nothing is given up after 9 s (aiormq: three times this and a second); it
gives us up after 4 s."""
CONNECT_SECONDS: Final = 3.0
"""For one connection to one of the URLs."""
CONFIRM_SECONDS: Final = 10.0
"""Without a confirm for so long a message is sent again."""
DELETE_SECONDS: Final = 10.0
"""For the deletion of a queue: RabbitMQ itself takes 5 s for one that is broken."""
TEND_SECONDS: Final = 5.0
"""Between two looks at whether exchanges and bindings are still there."""
GOOD_BYE_SECONDS: Final = 3.0
"""How long a connection may take to close: aiormq gives a silent broker 2 s, and a connection that
is cut off before that stays half open."""

CONFIRMED: Final = KEPT | {Topic.HINTS}
WELL_KNOWN: Final = ((Topic.EVENTS, "events"), (Topic.LOCATION, "provisioning"))
"""Shared queues that each node declares: nothing is lost, whichever service starts first."""


class AmqpSession:
    """Two connections and all that runs on them, until anything breaks."""

    def __init__(self, bus: AmqpBus, url: str) -> None:
        self.bus = bus
        self.incoming: AbstractConnection
        self.outgoing: AbstractConnection
        self._url = url
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._connections: list[AbstractConnection] = []
        self._consumers: list[Consumer] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing_channels: set[AbstractChannel] = set()

    async def open(self) -> None:
        """Connect, declare, subscribe. Raises what goes wrong."""
        with translated():
            self.incoming = await self._connect("in")
            self.outgoing = await self._connect("out")
            self._admin = await self.channel(self.incoming, confirms=False)
            await self._declare()
            for subscription in self.bus.subscriptions:
                await self.consume(subscription)

    async def _declare(self) -> None:
        for topic in Topic:
            kind = "direct" if topic in ADDRESSED else "fanout"
            await self._admin.exchange_declare(
                self.bus.exchange(topic), exchange_type=kind, durable=True
            )
        for topic, name in WELL_KNOWN:
            queue = self.bus.shared_queue(topic, name)
            await self._admin.queue_declare(queue, durable=True, arguments=dict(SHARED_QUEUE))
            await self.bind(self._admin, queue, topic)

    async def _connect(self, way: str) -> AbstractConnection:
        name = f"{self.bus.node} {way}"
        url = make_url(self._url, heartbeat=HEARTBEAT_SECONDS, name=name)
        connection = aio_pika.Connection(url)
        # one that fails is to be closed too: it would do so itself when it is collected, on
        # whatever loop there is then, or without one, in a thread, with a warning
        self._connections.append(connection)
        await connection.connect(timeout=CONNECT_SECONDS)
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
                with translated():
                    await channel.close()
        except Exception as error:
            logger.debug("closing a channel: %s", told(error))

    async def delete_queue(self, queue: str) -> None:
        """On a channel of its own, for a queue that may not answer."""
        channel = await self.channel(self.outgoing, confirms=False)
        try:
            async with asyncio.timeout(DELETE_SECONDS):
                with translated():
                    await channel.queue_delete(queue)
        except TimeoutError:
            logger.error("the queue %s can not be deleted", queue)
        finally:
            await self.close_channel(channel)

    async def bind(self, channel: AbstractChannel, queue: str, topic: Topic) -> None:
        """Have the queue get what is published on the topic, to all or to this node."""
        keys = ("", self.bus.node) if topic in ADDRESSED else ("",)
        for key in keys:
            await channel.queue_bind(queue, self.bus.exchange(topic), routing_key=key)

    async def consume(self, subscription: AnySubscription) -> None:
        """Feed a subscription."""
        consumer = Consumer(self, subscription)
        self._consumers.append(consumer)
        await consumer.begin()

    async def attempt(self, work: Awaitable[None]) -> None:
        """Do it, or give the session up."""
        try:
            with translated():
                await work
        except Exception as error:
            self.broken(told(error))

    async def publish(self) -> None:
        """Empty the outboxes from now on, and look after what was declared."""
        with translated():
            plain = await self.channel(self.outgoing, confirms=False)
            for topic, outbox in self.bus.outboxes.items():
                channel = plain
                if topic in CONFIRMED:
                    # of its own: the broker stops a channel over a queue that does not answer
                    channel = await self.channel(self.outgoing, confirms=True)
                send = self._sender(channel, topic)
                work = empty(outbox, topic, send, self.bus.clock, self.bus.hurry)
                self.run(work, f"bus {topic} sender")
        self.run(self._tend(), "bus tending")

    def run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """A task that ends with the session; the session ends if it raises."""
        task = asyncio.get_running_loop().create_task(self.attempt(work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _sender(self, channel: AbstractChannel, topic: Topic) -> Send:
        exchange = self.bus.exchange(topic)
        mode = 2 if topic in KEPT else 1
        # these have a queue of their own, whoever is there: one that finds none has lost it
        mandatory = any(topic is known for known, _ in WELL_KNOWN)

        async def send(message: bytes, to: str) -> None:
            properties = Basic.Properties(delivery_mode=mode)
            await channel.basic_publish(
                message,
                exchange=exchange,
                routing_key=to,
                properties=properties,
                mandatory=mandatory,
                timeout=CONFIRM_SECONDS,
            )

        return send

    async def set_aside(self, queue: str, message: bytes) -> None:
        """Put it into a durable queue. Raises if the broker does not confirm it."""
        channel = await self.channel(self.outgoing, confirms=True)
        try:
            await channel.queue_declare(queue, durable=True, arguments=dict(KEPT_QUEUE))
            properties = Basic.Properties(delivery_mode=2)
            await channel.basic_publish(
                message,
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
            with translated():
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
