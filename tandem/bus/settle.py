"""What becomes of a batch of Keep.NODE or Keep.SHARED whose handler fails.

It is tried again, with pauses. If that does not help it is cut in halves until the envelopes that
fail alone are found. Such an envelope is refused only if the handler takes another one at that
time, and then fails on it once more: a database that is away fails on everything, and that refuses
nothing, however long it lasts. So an envelope that comes alone is tried until another one comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tandem.bus.counters import SubscriptionCounts
from tandem.bus.ports import Envelope, Handler, Later

logger = logging.getLogger(__name__)

PAUSES: Final = (0.1, 0.3, 1.0)
"""Seconds before each further try of a whole batch."""
WITNESSES: Final = 4
"""Other envelopes that are tried before one is refused: some of them may be bad as well."""
SEEN_LIMIT: Final = 20_000
"""Ids that a subscriber remembers: some MB, and more than a redelivery brings back."""

Refuse = Callable[[Envelope], Awaitable[None]]
"""Sets an envelope aside. If it raises the envelope comes again."""


class Seen:
    """The last ids that were handled."""

    def __init__(self, limit: int = SEEN_LIMIT) -> None:
        self._limit = limit
        self._ids: set[str] = set()
        self._order: deque[str] = deque()

    def __bool__(self) -> bool:
        return bool(self._order)

    def __contains__(self, number: str) -> bool:
        return number in self._ids

    def add(self, number: str) -> None:
        """Remember it, and forget the oldest."""
        if number in self._ids:
            return
        self._ids.add(number)
        self._order.append(number)
        if len(self._order) > self._limit:
            self._ids.discard(self._order.popleft())

    def clear(self) -> None:
        """Forget all."""
        if self._order:
            self._ids.clear()
            self._order.clear()


class Settler:
    """Gives batches to a handler until they are done with."""

    def __init__(
        self,
        name: str,
        handler: Handler,
        counts: SubscriptionCounts,
        refuse: Refuse,
        *,
        remember: bool,
    ) -> None:
        """`remember`: what is done with may come again, so keep its ids."""
        self._remember = remember
        self._name = name
        self._handler = handler
        self._counts = counts
        self._refuse = refuse
        self._seen = Seen()
        self._told = False

    async def settle(self, batch: Sequence[Envelope]) -> bool:
        """Whether all of the batch is done with: handled, or refused. Takes seconds if not."""
        self._told = False
        fresh = self._fresh(batch)
        self._counts.repeated += len(batch) - len(fresh)
        done = not fresh or await self._whole(fresh) or await self._narrow(fresh, [])
        if done and not self._remember:
            self._seen.clear()
        return done

    async def _whole(self, batch: Sequence[Envelope]) -> bool:
        if await self._try(batch, note=self._remember):
            return True
        for pause in PAUSES:
            await asyncio.sleep(pause)
            if await self._try(batch, note=self._remember):
                return True
        return False

    def _fresh(self, batch: Sequence[Envelope]) -> Sequence[Envelope]:
        if not self._seen:
            return batch
        return [envelope for envelope in batch if envelope.id not in self._seen]

    async def _try(self, batch: Sequence[Envelope], *, note: bool = True) -> bool:
        try:
            await self._handler(batch)
        except Exception as error:
            self._counts.failed += 1
            # the first failure of a batch is told in full, its repetitions are not
            quiet = self._told or isinstance(error, Later)
            log = logger.debug if quiet else logger.error
            log("subscriber %s failed on %d envelope(s)", self._name, len(batch), exc_info=error)
            self._told = True
            return False
        if note:
            for envelope in batch:
                self._seen.add(envelope.id)
        self._counts.delivered += len(batch)
        return True

    async def _narrow(self, batch: Sequence[Envelope], others: list[Envelope]) -> bool:
        """Find what fails in a batch that failed as a whole."""
        if len(batch) == 1:
            return await self._judge(batch[0], others)
        middle = len(batch) // 2
        left, right = batch[:middle], batch[middle:]
        for half, rest in ((left, right), (right, left)):
            part = self._fresh(half)  # without those that were witnesses
            if (
                part
                and not await self._try(part)
                and not await self._narrow(part, [*rest, *others])
            ):
                return False
        return True

    async def _judge(self, suspect: Envelope, others: list[Envelope]) -> bool:
        """Refuse it if others are handled now."""
        for witness in self._fresh(others)[:: max(1, len(others) // WITNESSES)]:
            if await self._try([witness]):
                break
        else:
            return False
        if await self._try([suspect]):
            return True
        try:
            await self._refuse(suspect)
        except Exception:
            logger.exception("subscriber %s could not set %s aside", self._name, suspect.id)
            return False
        self._counts.refused += 1
        self._seen.add(suspect.id)
        logger.error(
            "subscriber %s refuses %s %s of %s", self._name, type(suspect.payload).__name__,
            suspect.id, suspect.node,
        )  # fmt: skip
        return True
