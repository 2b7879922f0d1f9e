"""What is dropped or refused: counted for each reason, told at most once a second and source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from tandem.bus.node_events import MessageDropped
from tandem.bus.ports import Publisher, Topic

INTERVAL: Final = 1.0
"""Seconds between two events of one source."""
MAX_SOURCES: Final = 1024
"""Sources that are told of in one interval; a flood from more is told by the counters."""


class Drops:
    """Counts and tells. `counters` are all of the proxy's."""

    def __init__(
        self, counters: Counter[str], publisher: Publisher, clock: Callable[[], float]
    ) -> None:
        self._counters = counters
        self._publisher = publisher
        self._clock = clock
        self._since = clock()
        self._seen: Counter[tuple[str, str]] = Counter()

    def drop(self, reason: str, source: str) -> None:
        """Count one message from `source`."""
        self._counters["dropped_" + reason] += 1
        key = (source, reason)
        if key in self._seen or len(self._seen) < MAX_SOURCES:
            self._seen[key] += 1

    def tell(self) -> None:
        """Publish what was dropped in an interval that is over; called once per interval."""
        if not self._seen or self._clock() - self._since < INTERVAL:
            return
        seen, self._seen, self._since = self._seen, Counter(), self._clock()
        told: set[str] = set()
        for (source, reason), count in seen.most_common():
            if source not in told:
                told.add(source)
                event = MessageDropped(source=source, reason=reason, count=count)
                self._publisher.publish(Topic.EVENTS, event)
