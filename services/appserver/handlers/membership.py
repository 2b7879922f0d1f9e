"""What the coming and going of other nodes means here: bindings that need a new keeper, flows
that died with their proxy, calls that ring through one."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

from services.appserver.handlers.bindings import Bindings
from services.appserver.handlers.tools import Tools
from services.appserver.ports import Calls
from tandem.bus.nodes import LOST_SECONDS, NodeAnnounced, Nodes, NodeState

SETTLE_SECONDS: Final = LOST_SECONDS + 2.0
"""After a start, or the first announcement that comes back to us: by then every live node was
heard of, and who was not may be succeeded."""
LOOK_SECONDS: Final = 0.5
"""Between two looks at which proxies are there."""
CLOCKS: Final = 10.0
"""Seconds by which the clocks of nodes may differ."""


class Membership:
    """Follows `nodes`."""

    def __init__(self, tools: Tools, bindings: Bindings, calls: Calls, nodes: Nodes) -> None:
        self._tools = tools
        self._bindings = bindings
        self._calls = calls
        self._nodes = nodes
        self._node = tools.config.node_id
        self._away: set[str] = set()
        self._settled_at: float | None = None
        self.on_proxy_lost: Callable[[str, float], None] = _nobody
        """Called with the link address of a proxy that is away, as the calls are."""
        nodes.listeners.append(self._changed)

    def start(self, now: float) -> None:
        """Look at the proxies from now on."""
        self._tools.deadlines.at(now + LOOK_SECONDS, self._look)

    def _look(self, now: float) -> None:
        self._tools.deadlines.at(now + LOOK_SECONDS, self._look)
        away = self._tools.proxies.gone(now)
        for proxy in away - self._away:
            self._calls.proxy_lost(proxy, now)
            self.on_proxy_lost(proxy, now)
        self._away = away
        self._listen(now)
        if self._settled_at is None and self._node in self._nodes.known:
            self._settled_at = now + SETTLE_SECONDS
        elif self._settled_at is not None and now >= self._settled_at:
            self._count()

    def _listen(self, now: float) -> None:
        """Our own announcements come back as long as we hear the others."""
        me, hearing = self._nodes.known.get(self._node), self._tools.table.hearing
        if me is None:
            return
        silence, wall = now - me.heard, self._tools.wall()
        if silence > LOST_SECONDS:
            hearing.lost(wall - silence)
        else:
            hearing.back(wall)

    def _changed(self, now: NodeAnnounced, before: NodeAnnounced | None) -> None:
        if now.kind == "proxy":
            self._proxy_changed(now, before)

    def _proxy_changed(self, now: NodeAnnounced, before: NodeAnnounced | None) -> None:
        proxies = self._tools.proxies
        if now.sip:
            proxies.said(now.sip, now.state)
        if before is not None and before.sip and before.sip != now.sip:
            proxies.said(before.sip, NodeState.STOPPED)
        if now.state == NodeState.STOPPED:
            self._bindings.proxy_ended(now.sip, inf)
        elif before is not None and now.incarnation > before.incarnation:
            self._bindings.proxy_ended(before.sip, now.incarnation / 1000.0 - CLOCKS)

    def _count(self) -> None:
        """Who is there among the appservers; on a change the keep-alives are shared out anew."""
        alive = self._nodes.alive("appserver")
        draining = {said.node for said in alive if said.state == NodeState.DRAINING}
        active = {said.node for said in alive} - draining
        if self._tools.ownership.set_alive(active, draining):
            self._bindings.review_keepalives()


def _nobody(proxy: str, now: float) -> None:
    """Nobody else wants to know."""
