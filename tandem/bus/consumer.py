"""From a queue of the broker to a subscriber."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Final

from tandem.bus.brokered import AnySubscription
from tandem.bus.codec import Decoded, decode
from tandem.bus.kept import KeptSubscription, Message
from tandem.bus.ports import Keep
from tandem.bus.subscription import Subscription

if TYPE_CHECKING:  # the library has one home: amqp.py
    from aiormq.abc import AbstractChannel, DeliveredMessage
    from pamqp.commands import Basic
    from pamqp.common import FieldTable

    from tandem.bus.amqp import AmqpSession

logger = logging.getLogger(__name__)

PREFETCH: Final = 32
"""Messages (batches) that a subscriber of Keep.NODE or Keep.SHARED has in hand."""
BEGIN_SECONDS: Final = 5.0
"""For a queue to accept a consumer; a healthy one takes milliseconds."""
INSIST_SECONDS: Final = 1.0
"""Before the next try with a queue that does not answer."""
NODE_TRIES: Final = 3
"""Tries with a queue of Keep.NODE before it is made anew."""
GIVE_BACK_SECONDS: Final = 3.0
"""How long a node whose handler fails leaves a shared queue to the others."""
NODE_QUEUE_MS: Final = 600_000
"""A queue of Keep.NODE that nobody reads from is deleted after this."""
NO_DELIVERY_LIMIT: Final = 1_000_000_000
"""RabbitMQ 4 drops a message after 20 deliveries unless told otherwise; what is bad, we find."""
KEPT_QUEUE: Final[FieldTable] = {"x-queue-type": "quorum", "x-delivery-limit": NO_DELIVERY_LIMIT}
NODE_QUEUE: Final[FieldTable] = {**KEPT_QUEUE, "x-expires": NODE_QUEUE_MS}
SHARED_QUEUE: Final[FieldTable] = {**KEPT_QUEUE, "x-single-active-consumer": True}
"""One reader at a time: two would overtake each other, and a call's answer come before its start.
The others stand by, and one of them goes on at once when it ends or gives its messages back."""


@contextmanager
def translated() -> Iterator[None]:
    """aiormq cancels its own tasks when a connection ends, and who awaits one of them sees that as
    if it were cancelled itself: it is told apart here, and becomes ConnectionError."""
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ConnectionError("the connection ended") from error


class Consumer:
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
            with translated():
                await self._channel.basic_cancel(self._tag)

    async def _take_live(self, message: DeliveredMessage) -> None:
        subscription = self._subscription
        assert isinstance(subscription, Subscription)
        for envelope in self._read(message).envelopes:
            if envelope.id in subscription.seen:
                subscription.repeated += 1
            else:
                subscription.seen.add(envelope.id)
                subscription.put(envelope)

    async def _take_kept(self, message: DeliveredMessage) -> None:
        subscription = self._subscription
        assert isinstance(subscription, KeptSubscription)
        decoded = self._read(message)
        if message.redelivered:
            subscription.redelivered += len(decoded.envelopes)
        # while nodes of two versions share a queue, the older one must not swallow what it misses
        aside = decoded.unreadable and self._keep is Keep.SHARED
        unread = message.body if aside else b""
        if message.channel is self._channel:
            subscription.arrived(Message(message.delivery_tag or 0, decoded.envelopes, unread))

    def _read(self, message: DeliveredMessage) -> Decoded:
        decoded = decode(message.body)
        self._subscription.unreadable += decoded.unreadable
        return decoded

    def _cancelled(self, frame: Basic.Cancel) -> None:
        self._session.broken(f"the queue {self.queue} is gone")

    async def acknowledge(self, tag: int) -> None:
        """All up to this one are done with."""
        if self._channel is not None:
            with translated():
                await self._channel.basic_ack(tag, multiple=True, wait=False)

    async def refuse(self, message: bytes) -> None:
        """Into a queue beside its own, where an operator finds it."""
        with translated():
            await self._session.set_aside(f"{self.queue}.refused", message)

    async def give_back(self) -> None:
        """Closing the channel returns all that is not acknowledged, in its order; a nack would
        leave what is under way before it."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await self._session.close_channel(channel)
        await asyncio.sleep(GIVE_BACK_SECONDS)
        await self._session.attempt(self.begin())
