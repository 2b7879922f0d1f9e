"""What a bus counts: the same names on every implementation, for metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Lost(StrEnum):
    """Why an envelope was given up."""

    FULL = "outbox full"
    OLD = "too old"
    UNENCODABLE = "can not be encoded"
    CLOSED = "closed"
    """`close` had no time for it."""
    SLOW = "subscriber too slow"
    """The queue of a subscriber of this process was full."""


@dataclass(slots=True, eq=False)
class SubscriptionCounts:
    """Of one subscriber, in envelopes but for `failed`."""

    delivered: int = 0
    """Handed to the handler, and done with."""
    dropped: int = 0
    """Gave way because the queue in this process was full, or `close` had no time for them."""
    failed: int = 0
    """Times that the handler ended in an exception."""
    redelivered: int = 0
    """Came again from the broker."""
    repeated: int = 0
    """Left out because this subscriber had handled them before."""
    refused: int = 0
    """Set aside because the handler fails on them, and on nothing else."""
    unreadable: int = 0
    """Of an unknown type or version, or broken."""


@dataclass(slots=True)
class TopicCounts:
    """Of one topic, in envelopes but for `failed` and `outbox_age`."""

    published: int = 0
    confirmed: int = 0
    """Taken over by the broker (topics without confirms: written to its connection)."""
    outbox: int = 0
    """Published, and not yet confirmed."""
    outbox_age: float = 0.0
    """Seconds for which the oldest of those waits."""
    queued: int = 0
    """Waiting in this process for handlers."""
    delivered: int = 0
    redelivered: int = 0
    unreadable: int = 0
    refused: int = 0
    failed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """By reason, as in `Lost`."""

    def add(self, counts: SubscriptionCounts, queued: int) -> None:
        """Add those of a subscriber."""
        self.queued += queued
        self.delivered += counts.delivered
        self.redelivered += counts.redelivered
        self.unreadable += counts.unreadable
        self.refused += counts.refused
        self.failed += counts.failed
        if counts.dropped:
            self.dropped[Lost.SLOW] += counts.dropped
