"""This proxy among the nodes of its cluster: it announces itself, and hears of appservers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from services.proxy.config import ProxyConfig
from services.proxy.domain.members import Members
from tandem import __version__
from tandem.bus.node_events import NodeDraining, NodeStarted, NodeStopped
from tandem.bus.nodes import NodeAnnounced, Nodes, NodeState
from tandem.bus.ports import Bus, Topic

logger = logging.getLogger(__name__)

KIND = "proxy"


class Presence:
    """Says who we are. `hints` tells how many we keep; `link` is our end of the internal link."""

    def __init__(
        self,
        config: ProxyConfig,
        bus: Bus,
        members: Members,
        *,
        link: str,
        hints: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self.state = NodeState.ACTIVE
        self.public: Sequence[str] = ()
        """`transport:host:port` of each public address, and `http` where we serve that: to be set
        before `start`."""
        self.http = ""
        self._config = config
        self._bus = bus
        self._link = link
        self._hints = hints
        self._incarnation = int(time.time() * 1000)
        self._stopping = False
        self.nodes = Nodes(bus, self._describe, clock)
        self.nodes.listeners.append(members.announced)
        self.nodes.on_drain = self.drain

    def start(self) -> None:
        """Announce this proxy from now on: it has its sockets and the live hints."""
        self.nodes.start()
        self._bus.publish(Topic.EVENTS, NodeStarted(what=KIND, version=__version__))

    def drain(self, draining: bool) -> None:
        """Ask others to prefer other proxies for what is new, or to use us again. What comes is
        forwarded all the same."""
        state = NodeState.DRAINING if draining or self._stopping else NodeState.ACTIVE
        if state == self.state:
            return
        self.state = state
        logger.info("this proxy is %s", state)
        self.nodes.announce()
        self._bus.publish(Topic.EVENTS, NodeDraining(what=KIND, draining=draining))

    def leave(self) -> None:
        """The way out begins: draining, for good."""
        self._stopping = True
        self.drain(True)

    async def stop(self) -> None:
        """Say good-bye; the bus must still be open."""
        self._bus.publish(Topic.EVENTS, NodeStopped(what=KIND))
        await self.nodes.stop()

    def _describe(self) -> NodeAnnounced:
        return NodeAnnounced(
            node=self._config.node_id,
            kind=KIND,
            incarnation=self._incarnation,
            version=__version__,
            state=self.state,
            sip=self._link,
            public=tuple(self.public),
            http=self.http,
            hints=self._hints(),
        )
