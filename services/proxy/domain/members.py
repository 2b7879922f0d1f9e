"""Which appservers there are, and in what state: from what nodes announce over the broker and from
the probes that they answer, whichever still works (DESIGN §2).

    announced  a new address: probe it; its weight; it drains, or has stopped
    answered   it lives: 503 says that it wants nothing new, any other status that it serves
    silent     for SILENCE seconds: gone, and what it had announced is forgotten

Probes alone tell life from death: they find it sooner than the broker, and one that is lost there
may only be cut off from it. One that has stopped is used again when it answers, once it has had
time to close.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from typing import Final

from services.proxy.domain.appservers import DEFAULT_WEIGHT, Appservers
from tandem.bus.nodes import NodeAnnounced, NodeState

logger = logging.getLogger(__name__)

INTERVAL: Final = 0.5
"""Seconds between two probes of an appserver."""
SILENCE: Final = 1.6
"""Seconds without an answer until an appserver counts as gone: three probes; so that new calls
go elsewhere within two seconds (DESIGN §8)."""
CLOSING_SECONDS: Final = 2.0
"""How long one that said good-bye may still answer probes before its sockets are closed."""
FORGET_SECONDS: Final = 3600.0
"""How long one that is announced no more, and answers nothing, is probed."""
MAX_MEMBERS: Final = 1024
"""Addresses that are probed; more were no cloud but a fault."""
REFUSED: Final = 503
"""The status by which an appserver says that it wants nothing new."""


class Member:
    """One appserver's address."""

    __slots__ = (
        "fixed", "heard", "incarnation", "node", "refuses", "said", "seen", "stopped", "weight",
    )  # fmt: skip

    def __init__(self, *, fixed: bool, now: float) -> None:
        self.fixed = fixed
        self.node = ""
        """The id of the node that announced this address last; "" for none."""
        self.incarnation = 0
        self.said: str = NodeState.ACTIVE
        """ACTIVE or DRAINING, as it announced."""
        self.weight = DEFAULT_WEIGHT
        self.heard = -math.inf
        """When the last probe was answered."""
        self.refuses = False
        self.stopped = -math.inf
        """When it said good-bye."""
        self.seen = now
        """When it was last announced or heard."""


class Members:
    """Keeps `appservers` to those that work. `clock` is monotonic, in seconds. In one process
    (`probed=False`) the fixed ones live as long as we do, and may drain."""

    def __init__(
        self,
        fixed: Iterable[str],
        appservers: Appservers,
        clock: Callable[[], float],
        *,
        probed: bool = True,
    ) -> None:
        self.on_address: Callable[[str], None] = lambda address: None
        """Called with an address that ought to be probed now."""
        self.on_changed: Callable[[], None] = lambda: None
        """Called when `addresses` changed."""
        self.lost = 0
        """Times that an appserver fell silent."""
        self.draining = 0
        """How many are draining now."""
        self._appservers = appservers
        self._clock = clock
        self._members = {name: Member(fixed=True, now=clock()) for name in fixed}
        self._probed = probed
        self._looked = clock()
        if not probed:
            for member in self._members.values():
                member.heard = math.inf
            self.judge()

    @property
    def addresses(self) -> list[str]:
        """All that are to be probed, and that the link is to listen to."""
        return list(self._members)

    def announced(self, said: NodeAnnounced, before: NodeAnnounced | None) -> None:
        """A node is new, changed, said good-bye or was found lost (a listener of `Nodes`)."""
        if said.kind != "appserver" or said.state == NodeState.LOST:
            return
        if before is not None and before.sip != said.sip:
            self._moved(before)
        member = self._member(said.sip) if said.sip else None
        if member is None or (member.node != said.node and self._is_outdated(member, said)):
            return
        fresh = (member.node, member.incarnation) != (said.node, said.incarnation)
        member.node, member.incarnation = said.node, said.incarnation
        member.weight, member.seen = said.weight, self._clock()
        if said.state == NodeState.STOPPED:
            self._stopped(member)
        else:
            fresh = fresh or member.heard == -math.inf
            member.said, member.stopped = said.state, -math.inf
            if fresh and self._probed:
                self.on_address(said.sip)
        self.judge()

    def answered(self, address: str, status: int) -> None:
        """An answer to a probe came."""
        member = self._members.get(address)
        now = self._clock()
        if member is None or not self._probed or now - member.stopped < CLOSING_SECONDS:
            return
        news = member.heard == -math.inf or member.refuses != (status == REFUSED)
        member.heard = member.seen = now
        member.refuses = status == REFUSED
        if news:
            self.judge()

    def has_stopped(self, address: str) -> bool:
        """Whether the appserver there has said good-bye, and was not heard of since."""
        member = self._members.get(address)
        return member is not None and member.stopped >= member.seen

    def look(self) -> None:
        """Find who is silent; called every INTERVAL, before a round of probes. When it is called
        late, this process stood still: that time is nobody's silence."""
        now = self._clock()
        late = now - self._looked - INTERVAL
        self._looked = now
        if late > INTERVAL:
            for member in self._members.values():
                member.heard = min(member.heard + late, now)
        self.judge()

    def judge(self) -> None:
        """Set the choice to those that are not silent."""
        now = self._clock()
        weights: dict[str, int] = {}
        draining: list[str] = []
        for address, member in list(self._members.items()):
            if member.heard <= now - SILENCE:
                if member.heard > -math.inf:
                    self._silent(address, member)
                elif not member.fixed and now - member.seen > FORGET_SECONDS:
                    self._forget(address)
            elif member.refuses or member.said == NodeState.DRAINING or member.weight <= 0:
                draining.append(address)
            else:
                weights[address] = member.weight
        self.draining = len(draining)
        if self._appservers.set(weights, draining):
            logger.info("appservers: %s; draining: %s", _names(weights), _names(draining))

    def _member(self, address: str) -> Member | None:
        found = self._members.get(address)
        if found is None and len(self._members) < MAX_MEMBERS:
            found = self._members[address] = Member(fixed=False, now=self._clock())
            self.on_changed()
        return found

    def _forget(self, address: str) -> None:
        del self._members[address]
        self.on_changed()

    def _is_outdated(self, member: Member, said: NodeAnnounced) -> bool:
        """Whether another node has this address by now."""
        up = said.state in (NodeState.ACTIVE, NodeState.DRAINING)
        return bool(member.node) and (not up or said.incarnation < member.incarnation)

    def _moved(self, before: NodeAnnounced) -> None:
        member = self._members.get(before.sip)
        if member is not None and member.node == before.node and not member.fixed:
            self._forget(before.sip)

    def _stopped(self, member: Member) -> None:
        if self._probed:
            member.stopped = self._clock()
            self._forget_state(member)

    def _silent(self, address: str, member: Member) -> None:
        self.lost += 1
        logger.warning("appserver %s at %s is silent", member.node or "(unnamed)", address)
        self._forget_state(member)

    def _forget_state(self, member: Member) -> None:
        member.heard, member.refuses, member.said = -math.inf, False, NodeState.ACTIVE


def _names(addresses: Iterable[str]) -> str:
    return ", ".join(sorted(addresses)) or "none"
