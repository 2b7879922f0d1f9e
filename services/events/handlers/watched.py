"""Whose full SIP traces somebody is watching: said again and again while they do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from tandem.bus.interest import Interest
from tandem.bus.ports import Publisher, Topic

REPEAT_SECONDS: Final = 5.0
"""Between two announcements of an interest."""
HOLD_SECONDS: Final = 15.0
"""How long one holds: two may get lost."""


class Watched:
    """The customers that consoles of this node watch."""

    def __init__(
        self,
        publisher: Publisher,
        clock: Callable[[], float],
        *,
        repeat_seconds: float = REPEAT_SECONDS,
    ) -> None:
        self._publisher = publisher
        self._clock = clock
        self._repeat_seconds = repeat_seconds
        self._consoles: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._consoles)

    @contextmanager
    def by_console(self, customer: str | None) -> Iterator[None]:
        """A console watches `customer` meanwhile; None: nobody."""
        if customer is None:
            yield
            return
        self._consoles[customer] += 1
        self._say(customer)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._repeat(), name="interest")
        try:
            yield
        finally:
            self._consoles[customer] -= 1
            if not self._consoles[customer]:
                del self._consoles[customer]
            if not self._consoles and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(self._repeat_seconds)
            for customer in self._consoles:
                self._say(customer)

    def _say(self, customer: str) -> None:
        self._publisher.publish(Topic.INTEREST, Interest(customer, self._clock() + HOLD_SECONDS))
