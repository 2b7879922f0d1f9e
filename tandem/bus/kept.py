"""A subscriber whose messages a broker keeps until they are acknowledged."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from tandem.bus.codec import encode, join
from tandem.bus.counters import SubscriptionCounts
from tandem.bus.ports import Envelope, Handler, Keep, Topic
from tandem.bus.settle import Settler
from tandem.bus.subscription import BATCH_LIMIT

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 2.0
"""Pause after a batch that nothing helped with: other nodes have it meanwhile."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the broker: a batch of one node."""

    tag: int
    envelopes: list[Envelope]
    unread: bytes = b""
    """All of it, when it holds what this version can't read and another may."""


class Source(Protocol):
    """Where messages come from, for as long as a connection lasts."""

    async def acknowledge(self, tag: int) -> None:
        """All up to this one are done with."""

    async def refuse(self, message: bytes) -> None:
        """Set a message aside. Raises if that fails."""

    async def give_back(self) -> None:
        """Return all that is not acknowledged, for other nodes, and take nothing for a while."""


class KeptSubscription(SubscriptionCounts):
    """Handles messages in order, and acknowledges what is done with.

    A handler that fails and fails keeps its messages from no other node: those of Keep.SHARED go
    back to the queue, in their place. Those of Keep.NODE are for this node alone and stay.
    """

    def __init__(self, topic: Topic, name: str, handler: Handler, keep: Keep) -> None:
        super().__init__()
        self.topic = topic
        self.name = name
        self.keep = keep
        self._settler = Settler(name, handler, self, self._refuse, remember=True)
        self._waiting: deque[Message] = deque()
        self._source: Source | None = None
        self._ready = asyncio.Event()
        self._closing = False

    def __len__(self) -> int:
        return sum(len(message.envelopes) for message in self._waiting)

    def attach(self, source: Source) -> None:
        """Messages come from here now."""
        self._source = source

    def detach(self) -> None:
        """The source is gone; the next one brings again all that is not acknowledged."""
        self._source = None
        self._waiting.clear()

    def arrived(self, message: Message) -> None:
        """Take a message of the source."""
        self._waiting.append(message)
        self._ready.set()

    async def run(self) -> None:
        """Handle messages until closed and empty."""
        while self._waiting or not self._closing:
            await self._ready.wait()
            self._ready.clear()
            while self._waiting:
                await self._handle(self._take())
                await asyncio.sleep(0)

    def _take(self) -> list[Message]:
        taken = [self._waiting.popleft()]
        size = len(taken[0].envelopes)
        while self._waiting and size + len(self._waiting[0].envelopes) <= BATCH_LIMIT:
            taken.append(self._waiting.popleft())
            size += len(taken[-1].envelopes)
        return taken

    async def _handle(self, messages: list[Message]) -> None:
        source = self._source
        batch = [envelope for message in messages for envelope in message.envelopes]
        done = await self._settler.settle(batch)
        if source is None or source is not self._source:
            return  # cut off meanwhile: they come again, and those that are done are known
        try:
            if done and await self._set_aside(messages, source):
                await source.acknowledge(messages[-1].tag)
            elif self.keep is Keep.SHARED:
                self._waiting.clear()
                await source.give_back()
            else:
                self._waiting.extendleft(reversed(messages))
                await asyncio.sleep(RETRY_SECONDS)
        except Exception:  # whatever a dying connection raises; the next one brings them again
            logger.debug("subscriber %s lost its connection", self.name, exc_info=True)

    async def _set_aside(self, messages: list[Message], source: Source) -> bool:
        """Whether what could not be read is safe elsewhere."""
        for message in messages:
            if message.unread:
                try:
                    await source.refuse(message.unread)
                except Exception:
                    logger.exception("subscriber %s could not set a message aside", self.name)
                    return False
        return True

    async def _refuse(self, envelope: Envelope) -> None:
        if self._source is None:
            raise ConnectionError("not connected")
        await self._source.refuse(join([encode(envelope)]))

    def finish(self) -> None:
        """Have `run` handle what is here, and return."""
        self._closing = True
        self._ready.set()
