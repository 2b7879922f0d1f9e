"""What nodes do, and what is lost on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tandem.bus.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted(Event):
    """A node began to serve."""

    service = "appserver"
    type = "node.started"
    what: str
    """The kind of node, as `service`; which one it is, its envelope says."""
    version: str

    def told_by(self) -> str:
        return self.what

    def text(self) -> str:
        return f"{self.what} {self.version} started"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStopped(Event):
    """A node ended in good order."""

    service = "appserver"
    type = "node.stopped"
    what: str

    def told_by(self) -> str:
        return self.what

    def text(self) -> str:
        return f"{self.what} stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDraining(Event):
    """A node takes no new calls, or takes part again."""

    service = "appserver"
    type = "node.draining"
    what: str
    draining: bool

    def told_by(self) -> str:
        return self.what

    def text(self) -> str:
        return f"{self.what} {'takes no new calls' if self.draining else 'takes calls again'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLost(Event):
    """A node fell silent without a good-bye."""

    service = "events"
    type = "node.lost"
    what: str
    lost: str
    """The id of the node that is lost."""
    incarnation: int
    calls: int
    """Calls that it had, as far as is known; their records follow."""
    times: int = 0
    """How often this incarnation was found lost before: it may only have been cut off."""

    def text(self) -> str:
        return f"{self.what} {self.lost} is lost, and {self.calls} calls with it"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesLost(Event):
    """A node could not hand messages to the broker and had to give them up."""

    service = "appserver"
    type = "bus.lost"
    topic: str
    count: int
    reason: str
    """`outbox full`, `too old` or `can not be encoded`."""

    def text(self) -> str:
        return f"{self.count} message(s) on {self.topic} lost: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDropped(Event):
    """A proxy dropped or refused what it could not take (at most one event a second and source)."""

    service = "proxy"
    type = "proxy.dropped"
    source: str
    reason: str
    count: int

    def text(self) -> str:
        return f"{self.count} message(s) from {self.source} dropped: {self.reason}"


ALL: Final = (NodeStarted, NodeStopped, NodeDraining, NodeLost, MessagesLost, MessageDropped)
