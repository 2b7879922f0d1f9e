"""What was published and is not yet with the broker: one outbox for each topic."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import Final

from tandem.bus.counters import Lost
from tandem.bus.ports import Envelope, Topic

KEPT: Final = frozenset({Topic.EVENTS, Topic.LOCATION, Topic.DIRECTORY})
"""Topics whose messages wait for a broker that is away, and are written to its disk."""
KEPT_LIMIT: Final = 200_000
"""Envelopes; a few hundred bytes each."""
KEPT_SECONDS: Final = 3600.0
LIVE_LIMIT: Final = 10_000
LIVE_SECONDS: Final = 5.0
"""What is said again, or is worth nothing later, waits through a reconnection and no longer."""


class Outbox:
    """A queue with a bound on its length and its age; the oldest gives way."""

    def __init__(self, *, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self.published = 0
        self.confirmed = 0
        self.dropped: Counter[str] = Counter()
        """Envelopes given up, by reason."""
        self.untold: Counter[str] = Counter()
        """Those of them that no MessagesLost tells of yet."""
        self.filled = asyncio.Event()
        """Set while something waits."""
        self._waiting: deque[Envelope] = deque()
        self._flying: list[Envelope] = []

    def __len__(self) -> int:
        return len(self._waiting) + len(self._flying)

    @property
    def to(self) -> str:
        """The node that what is on its way is for, "" for all."""
        return self._flying[0].to if self._flying else ""

    @property
    def waiting(self) -> int:
        """How many are not on their way."""
        return len(self._waiting)

    def age(self, now: float) -> float:
        """Seconds for which the oldest waits."""
        oldest = self._flying[0] if self._flying else self._waiting[0] if self._waiting else None
        return max(0.0, now - oldest.time) if oldest is not None else 0.0

    def put(self, envelope: Envelope) -> None:
        """Add the newest."""
        self.published += 1
        waiting = self._waiting
        waiting.append(envelope)
        if len(waiting) > self.limit:
            waiting.popleft()
            self.drop(Lost.FULL)
        if waiting[0].time < envelope.time - self.seconds:
            self.expire(envelope.time)
        if not self.filled.is_set():
            self.filled.set()

    def expire(self, now: float) -> None:
        """Give up what is too old."""
        waiting, limit = self._waiting, now - self.seconds
        while waiting and waiting[0].time < limit:
            waiting.popleft()
            self.drop(Lost.OLD)
        self._settle()

    def drop(self, reason: Lost, count: int = 1) -> None:
        """Count what is given up."""
        self.dropped[reason] += count
        self.untold[reason] += count

    def next(self) -> Envelope | None:
        """Take the oldest: it is on its way until `arrived`, `back` or `unsendable`. None, too, if
        it is for another node than those that are on their way."""
        if not self._waiting or (self._flying and self._waiting[0].to != self.to):
            return None
        envelope = self._waiting.popleft()
        self._flying.append(envelope)
        return envelope

    def unsendable(self) -> None:
        """What was taken last can't be encoded."""
        self._flying.pop()
        self.drop(Lost.UNENCODABLE)
        self._settle()

    def arrived(self) -> None:
        """All that was on its way is with the broker."""
        self.confirmed += len(self._flying)
        self._flying.clear()
        self._settle()

    def back(self) -> None:
        """All that was on its way must go again."""
        self._waiting.extendleft(reversed(self._flying))
        self._flying.clear()
        while len(self._waiting) > self.limit:
            self._waiting.popleft()
            self.drop(Lost.FULL)
        self._settle()

    def abandon(self) -> int:
        """Give all up; returns how many there were."""
        count = len(self)
        self._waiting.clear()
        self._flying.clear()
        if count:
            self.drop(Lost.CLOSED, count)
        self._settle()
        return count

    def _settle(self) -> None:
        if self._waiting:
            self.filled.set()
        else:
            self.filled.clear()


def outbox_for(topic: Topic) -> Outbox:
    """An empty one with the bounds of the topic."""
    if topic in KEPT:
        return Outbox(limit=KEPT_LIMIT, seconds=KEPT_SECONDS)
    return Outbox(limit=LIVE_LIMIT, seconds=LIVE_SECONDS)
