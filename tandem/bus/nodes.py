"""The nodes of a cluster: each announces itself every second, and each keeps the list of all.

A node is lost when it is silent for LOST_SECONDS while our own announcements come back to us: a
broker that is away makes everybody silent, and then the last known list stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from tandem.bus.ports import Bus, Envelope, Topic

ANNOUNCE_SECONDS: Final = 1.0
"""Between two announcements of a node; it announces at once when its state changes."""
LOST_SECONDS: Final = 3.0
"""Silence after which a node counts as lost."""
KEEP_LOST_SECONDS: Final = 3600.0
"""How long a lost or stopped node is still listed."""

logger = logging.getLogger(__name__)


class NodeState(StrEnum):
    """How a node takes part."""

    ACTIVE = "active"
    DRAINING = "draining"
    """It finishes what it has and gets nothing new."""
    STOPPED = "stopped"
    """It said good-bye."""
    LOST = "lost"
    """Nothing is heard of it: what others find, a node never says so of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAnnounced:
    """What a node says of itself."""

    node: str
    """Its id, unique among all nodes."""
    kind: str
    """`proxy`, `appserver`, `provisioning` or `events`."""
    incarnation: int
    """When this process started, Unix milliseconds: a node that came back has a greater one."""
    version: str
    state: str = NodeState.ACTIVE
    weight: int = 100
    """An appserver's share of new calls, relative to the others'."""
    sip: str = ""
    """`host:port` of its end of the internal link; "" for none."""
    public: tuple[str, ...] = ()
    """A proxy's public addresses, `udp:203.0.113.7:5060`."""
    grpc: str = ""
    """`host:port` of its gRPC server; "" for none."""
    http: str = ""
    """`host:port` of its HTTP server; "" for none."""
    calls: int = 0
    """Calls under way."""
    bindings: int = 0
    """Bindings that it answers for."""
    hints: int = 0
    """Next-call hints that it keeps (proxy) or has published (appserver)."""


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """An operator wants a node to drain, or to take part again. The node itself obeys."""

    node: str
    drain: bool


@dataclass(slots=True)
class Known:
    """A node as we know it."""

    said: NodeAnnounced
    heard: float
    """When, of the clock given to `Nodes`."""
    listened: float = 0.0
    """How long we had listened by then, in seconds."""

    @property
    def state(self) -> str:
        """Its state, LOST included."""
        return self.said.state


OnChange = Callable[[NodeAnnounced, "NodeAnnounced | None"], None]
"""`on_change(now, before)`: a node is new (before: None), came back, changed, stopped or was lost
(state LOST)."""


class Nodes:
    """Announces this node and keeps the list. `describe` is called for each announcement."""

    def __init__(
        self, bus: Bus, describe: Callable[[], NodeAnnounced], clock: Callable[[], float]
    ) -> None:
        self.known: dict[str, Known] = {}
        """By node id, this node included."""
        self.listeners: list[OnChange] = []
        self.on_drain: Callable[[bool], None] | None = None
        """Called when this node is to drain (True) or to take part again (False)."""
        self._bus = bus
        self._describe = describe
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._id = describe().node
        self._listened = 0.0
        """Seconds in which our own announcements came back: the only time in which the silence of
        another one means something. The broker, or this process, may stand still at others."""
        bus.subscribe(Topic.NODES, self.take, name=f"{self._id}-nodes")

    def start(self) -> None:
        """Announce from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="announcements")

    async def stop(self) -> None:
        """Say good-bye. The bus must still be open."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            self._bus.publish(Topic.NODES, replace(self._describe(), state=NodeState.STOPPED))

    def announce(self) -> None:
        """Say now what has changed."""
        self._bus.publish(Topic.NODES, self._describe())

    def alive(self, kind: str) -> list[NodeAnnounced]:
        """Those of a kind that are active or draining, by id."""
        up = (NodeState.ACTIVE, NodeState.DRAINING)
        found = [k.said for k in self.known.values() if k.said.kind == kind and k.state in up]
        return sorted(found, key=lambda said: said.node)

    async def take(self, batch: Sequence[Envelope]) -> None:
        """The subscriber of Topic.NODES."""
        for envelope in batch:
            said = envelope.payload
            if isinstance(said, NodeAnnounced):
                self._heard(said)
            elif isinstance(said, DrainRequested) and said.node == self._id and self.on_drain:
                self.on_drain(said.drain)

    def look(self) -> None:
        """Find who is lost; called every ANNOUNCE_SECONDS."""
        now = self._clock()
        for node, known in list(self.known.items()):
            if known.state in (NodeState.STOPPED, NodeState.LOST):
                if now - known.heard > KEEP_LOST_SECONDS:
                    del self.known[node]
            elif node != self._id and self._listened - known.listened > LOST_SECONDS:
                before, known.said = known.said, replace(known.said, state=NodeState.LOST)
                self._tell(known.said, before)

    def _heard(self, said: NodeAnnounced) -> None:
        known = self.known.get(said.node)
        now = self._clock()
        if said.node == self._id and known is not None:
            # we were not deaf since the last time, or for no more than this much of it
            self._listened += min(now - known.heard, 2 * ANNOUNCE_SECONDS)
        if known is None:
            self.known[said.node] = Known(said, now, self._listened)
            self._tell(said, None)
            return
        before = known.said
        if said.incarnation < before.incarnation or (
            said.incarnation == before.incarnation and before.state == NodeState.STOPPED
        ):
            return  # an announcement that came late
        known.said, known.heard, known.listened = said, now, self._listened
        if said != before:
            self._tell(said, before)

    def _tell(self, said: NodeAnnounced, before: NodeAnnounced | None) -> None:
        for listener in list(self.listeners):
            try:
                listener(said, before)
            except Exception:  # the list of nodes is for the others too
                logger.exception("a listener failed on node %s, now %s", said.node, said.state)

    async def _run(self) -> None:
        while True:
            try:
                self.announce()
            except Exception:  # who falls silent for good is taken for dead
                logger.exception("this node could not announce itself")
            await asyncio.sleep(ANNOUNCE_SECONDS)
            self.look()
