"""The rate limit per source address: a token bucket for each, in a bounded table."""

from __future__ import annotations

import math
from typing import Final

MAX_SOURCES: Final = 65_536
"""Addresses that are remembered, about 12 MB; past that the one known longest starts afresh."""

BURST_SECONDS: Final = 2.0
"""A bucket holds this many seconds' worth: phones that all wake up after a power cut."""


class Bucket:
    """What one source address may still send. Take one: `left -= 1` while it is at least 1."""

    __slots__ = ("at", "left")

    def __init__(self, left: float, at: float) -> None:
        self.left = left
        self.at = at


class Limiter:
    """Buckets by address. `rate` is requests per second; 0 sets no limit."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._burst = rate * BURST_SECONDS if rate else math.inf
        self._buckets: dict[str, Bucket] = {}

    def bucket(self, host: str, now: float) -> Bucket:
        """The bucket of an address, a full one for a new address."""
        found = self._buckets.get(host)
        if found is None:
            if len(self._buckets) >= MAX_SOURCES:
                del self._buckets[next(iter(self._buckets))]
            found = self._buckets[host] = Bucket(self._burst, now)
        return found

    def refill(self, bucket: Bucket, now: float) -> bool:
        """Put in what has come together since the last time; returns whether one may be taken."""
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._rate)
        bucket.at = now
        return bucket.left >= 1
