"""The customers whom somebody watches (Topic.INTEREST): what concerns them is told in full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from tandem.bus.interest import Interest
from tandem.bus.ports import Envelope

EVERYBODY: Final = "*"


class Watched:
    """Who is watched, and until when. `wall` is Unix time."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self.any = False
        """Whether anybody is: a look at this costs nothing, and comes first everywhere."""
        self._wall = wall
        self._until: dict[str, float] = {}
        self._next_end = inf
        """When the first of them was watched long enough."""

    def __len__(self) -> int:
        now = self._wall()
        return sum(until > now for until in self._until.values())

    async def on_interest(self, batch: Sequence[Envelope]) -> None:
        """The subscriber of Topic.INTEREST."""
        for envelope in batch:
            if isinstance(envelope.payload, Interest):
                until = self._until.get(envelope.payload.customer, 0.0)
                self._until[envelope.payload.customer] = max(until, envelope.payload.until)
        self._forget(self._wall())

    def one_of(self, customers: tuple[str, ...]) -> bool:
        """Whether one of these is watched, by name or since everybody is."""
        if not self.any:
            return False
        now = self._wall()
        if now >= self._next_end:
            self._forget(now)
        return EVERYBODY in self._until or self.by_name(customers)

    def by_name(self, customers: tuple[str, ...]) -> bool:
        """Whether somebody watches one of these and not everybody."""
        return not self._until.keys().isdisjoint(customers)

    def _forget(self, now: float) -> None:
        self._until = {name: until for name, until in self._until.items() if until > now}
        self._next_end = min(self._until.values(), default=inf)
        self.any = bool(self._until)
