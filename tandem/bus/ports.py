"""What a service sees of the bus. `memory.MemoryBus` joins services of one process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, Final, Protocol

from tandem.bus.counters import TopicCounts


class Topic(StrEnum):
    """One exchange per purpose (the names on a broker are `tandem.<topic>`)."""

    NODES = "nodes"
    HINTS = "hints"
    """From appservers to all proxies."""
    ANSWERS = "answers"
    """From proxies to the appserver whose hint they have: see `publish`."""
    LOCATION = "location"
    DIRECTORY = "directory"
    EVENTS = "events"
    INTEREST = "interest"
    LINES = "lines"
    FEED = "feed"


ADDRESSED: Final = frozenset({Topic.ANSWERS})
"""Topics on which one node can speak to one other."""


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
    """One of the payload classes of `tandem.bus`: events, location, nodes, hints, interest."""
    to: str = ""
    """The node that alone gets it; "": all who subscribed."""


class Later(Exception):
    """Raised by a handler that can't take a batch because something that it needs is away: no fault
    of its own, so it is not told at length. The handler says itself what is away, once."""


Handler = Callable[[Sequence[Envelope]], Awaitable[None]]
"""Takes a batch in order. After an exception a batch of Keep.LIVE is counted and gone; one of
Keep.NODE or Keep.SHARED comes again after a pause, so a handler must bear what it has seen."""


class Keep(Enum):
    """What becomes of messages while a subscriber, or the broker, is away."""

    LIVE = "live"
    """They are lost: for what is said again, or is worth nothing later."""
    NODE = "node"
    """They wait for this node: through a restart of the broker, and of the node within ten
    minutes. A clean `close` ends that."""
    SHARED = "shared"
    """They wait for whoever subscribes by this name. Of several nodes one gets them all, in their
    order; another goes on when that one ends, or fails at its task."""


class Publisher(Protocol):
    """All that most of a service needs of the bus."""

    def publish(self, topic: Topic, payload: Any) -> None:
        """Hand over and return at once: never waits, never raises for a bus that is away."""


class Bus(Publisher, Protocol):
    """The whole port."""

    def publish(self, topic: Topic, payload: Any, *, to: str = "") -> None:
        """As `Publisher` has it. `to`: only what subscribed at that node gets it; for topics of
        ADDRESSED alone."""

    def subscribe(
        self, topic: Topic, handler: Handler, *, name: str, keep: Keep = Keep.LIVE
    ) -> None:
        """Have `handler` get everything that is published on `topic` from now on, what this node
        publishes included. `name` is for metrics and logs (and is the queue's name where there are
        queues): unique in the cluster, but for Keep.SHARED."""

    def on_resumed(self, callback: Callable[[], None]) -> None:
        """Call back each time that deliveries go on after they were cut off: what was said
        meanwhile on Keep.LIVE is lost, so ask anew."""

    async def start(self) -> None:
        """Begin to deliver."""

    async def close(self) -> None:
        """Deliver what is still queued (bounded in time), then stop."""


class CountedBus(Bus, Protocol):
    """What `open_bus` gives: a bus, and what metrics and health show of it."""

    @property
    def connected(self) -> bool:
        """Whether messages go through now."""

    @property
    def queue_depth(self) -> int:
        """Envelopes that wait in this process for handlers."""

    def counters(self) -> Mapping[Topic, TopicCounts]:
        """What is counted for each topic, now."""
