"""What a service sees of the bus. `memory.MemoryBus` joins services of one process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol


class Topic(StrEnum):
    """One exchange per purpose (the names on a broker are `tandem.<topic>`)."""

    NODES = "nodes"
    HINTS = "hints"
    LOCATION = "location"
    DIRECTORY = "directory"
    EVENTS = "events"
    INTEREST = "interest"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the bus adds to a payload."""

    id: str
    """Unique and growing with time on one node; consumers drop ids that they have seen."""
    time: float
    """Unix time in seconds when the payload was published."""
    node: str
    """The id of the node that published."""
    payload: Any
    """One of the payload classes of `tandem.bus.events`, `.location` or `.directory`."""


Handler = Callable[[Sequence[Envelope]], Awaitable[None]]
"""Takes a batch in order. An exception is logged and counted; the batch is not given again."""


class Publisher(Protocol):
    """All that most of a service needs of the bus."""

    def publish(self, topic: Topic, payload: Any) -> None:
        """Hand over and return at once: never waits, never raises for a bus that is away."""


class Bus(Publisher, Protocol):
    """The whole port."""

    def subscribe(self, topic: Topic, handler: Handler, *, name: str) -> None:
        """Have `handler` get everything that is published on `topic` from now on. `name` is for
        metrics and logs (and is the queue's name where there are queues)."""

    async def start(self) -> None:
        """Begin to deliver."""

    async def close(self) -> None:
        """Deliver what is still queued (bounded in time), then stop."""
