"""Next-call hints from the bus into the table, each acknowledged to its appserver (DESIGN §5)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from services.proxy.domain.hints import HintTable
from tandem.bus.hints import Hint, HintAcknowledged, HintsWanted, HintWithdrawn
from tandem.bus.ports import Bus, Envelope, Topic

ASK_SECONDS: Final = 1.0
"""How long the start waits at most for the hints that are live."""
AGAIN_SECONDS: Final = 0.25
"""Between two askings, until our own comes back to us: then the broker has bound our queue, and
what appservers answer reaches us."""
ANSWER_SECONDS: Final = 0.25
"""What appservers have to answer in: measured, it takes them a few milliseconds."""
AFTERWARDS: Final = (1.0, 3.0, 8.0)
"""Seconds after which we ask again when the broker is back: appservers come back one by one, and
who was not there did not hear us."""


class HintFeed:
    """The subscriber of Topic.HINTS. `later` is the loop's call_later."""

    def __init__(
        self,
        table: HintTable,
        bus: Bus,
        node: str,
        later: Callable[[float, Callable[[], None]], object],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.acknowledged = 0
        self._table = table
        self._bus = bus
        self._node = node
        self._later = later
        self._wall = wall
        self._heard_ourselves = asyncio.Event()
        bus.subscribe(Topic.HINTS, self.take, name=f"{node}-hints")
        bus.on_resumed(self._resumed)

    def ask(self) -> None:
        """Have all appservers publish their live hints. It goes to them when it has come back to
        us: what they say then reaches us."""
        self._bus.publish(Topic.HINTS, HintsWanted(self._node))

    def _resumed(self) -> None:
        self.ask()
        for seconds in AFTERWARDS:
            self._later(seconds, self.ask)

    async def catch_up(self) -> None:
        """Ask, and wait for the answers, ASK_SECONDS at most; the bus must have started. A broker
        that is away costs that time: the hints come when it does."""
        for _ in range(int((ASK_SECONDS - ANSWER_SECONDS) / AGAIN_SECONDS)):
            self.ask()
            try:
                await asyncio.wait_for(self._heard_ourselves.wait(), AGAIN_SECONDS)
            except TimeoutError:
                continue
            await asyncio.sleep(ANSWER_SECONDS)
            return

    async def take(self, batch: Sequence[Envelope]) -> None:
        """A batch in order. Each acknowledgement leaves at once: a caller waits for it."""
        for envelope in batch:
            said = envelope.payload
            if isinstance(said, Hint):
                if self._table.add(said, self._wall()):
                    self.acknowledged += 1
                    heard = HintAcknowledged(said.id, self._node)
                    self._bus.publish(Topic.ANSWERS, heard, to=said.node)
            elif isinstance(said, HintWithdrawn):
                self._table.withdraw(said.hint)
            elif isinstance(said, HintsWanted) and said.proxy == self._node:
                self._heard_ourselves.set()
                self._bus.publish(Topic.ANSWERS, said)
