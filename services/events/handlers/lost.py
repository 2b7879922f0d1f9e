"""Ends the calls of appservers that are gone, each with exactly one record.

Every events node does this by itself. The envelope ids of what they write are equal, and a call
that has a record gets no other, so the database decides whose stands.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from services.events.domain.calls import LiveCall, LiveCalls
from services.events.domain.lost import SETTLE_SECONDS, Fate, fate, lost_call_drafts
from services.events.handlers.tail import Tail
from services.events.ports import EventLog, StorageError
from tandem.bus.node_events import NodeLost
from tandem.bus.nodes import NodeAnnounced, Nodes, NodeState
from tandem.bus.ports import Publisher, Topic

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
"""Between two looks at the nodes that have calls."""
SAME_SECONDS: Final = 10.0
"""A loss that another events node told of so shortly before is the same."""
BATCH: Final = 100
"""Calls ended in one transaction."""


@dataclass(slots=True)
class _Case:
    """A node that seems gone, with calls left."""

    fate: Fate
    since: float
    """Of the monotonic clock: when its calls were seen to be gone, by the list and by the log."""
    marked: bool
    asked: int = 0
    asked_at: float = 0.0


class LostCalls:
    """`clock` is the wall clock, `monotonic` measures waits."""

    def __init__(
        self,
        log: EventLog,
        calls: LiveCalls,
        tail: Tail,
        nodes: Nodes,
        publisher: Publisher,
        *,
        node: str,
        lost_seconds: float,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ended = 0
        """Calls that this node ended for a lost one."""
        self.nodes_lost = 0
        """Times that this node found another lost."""
        self._log = log
        self._calls = calls
        self._tail = tail
        self._nodes = nodes
        self._publisher = publisher
        self._node = node
        self._lost_seconds = lost_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._listening_since: float | None = None
        self._cases: dict[str, _Case] = {}
        nodes.listeners.append(self.on_change)

    def on_change(self, now: NodeAnnounced, before: NodeAnnounced | None) -> None:
        """The listener of `Nodes`."""
        if before is None:
            return
        if now.state == NodeState.LOST:
            since = self._clock() - SAME_SECONDS
            if not self._calls.found_lost(now.node, now.incarnation, since):
                self._tell(now)
        elif now.incarnation > before.incarnation and before.state not in _TOLD:
            self._tell(before)

    def _tell(self, lost: NodeAnnounced, asked: int = 0) -> None:
        """Say on the bus that a node is lost: this goes the way of the node's own events, after
        all of them."""
        self.nodes_lost += 1
        incarnation, times = self._calls.losses.get(lost.node, (0, 0))
        known = len(self._calls.by_node.get(lost.node, ()))
        self._publisher.publish(
            Topic.EVENTS,
            NodeLost(
                what=lost.kind,
                lost=lost.node,
                incarnation=lost.incarnation,
                calls=known if lost.kind == "appserver" else lost.calls,
                times=(times if incarnation == lost.incarnation else 0) + asked,
            ),
        )

    async def run(self) -> None:
        """Look at the nodes for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except StorageError as error:
                logger.warning("calls of lost nodes are ended later: %s", error)
            except Exception:  # one strange call must not keep the others for ever
                logger.exception("the calls of lost nodes could not be looked at")

    async def look(self) -> None:
        """Look once. Raises StorageError."""
        if self._tail.failing:
            return  # what the nodes said last may be in the queue
        if self._listening_since is None:
            if self._node not in self._nodes.known:
                return  # we hear nobody yet
            self._listening_since = self._monotonic()
        for node in list(self._calls.by_node):
            await self._look_at(node)
        for node in self._cases.keys() - self._calls.by_node.keys():
            del self._cases[node]

    async def _look_at(self, node: str) -> None:
        found = self._fate(node)
        calls = self._calls.by_node.get(node, {}).values()
        first = next(iter(calls), None)
        if first is None or (node not in self._cases and _is_well(first, found)):
            return
        gone = [call for call in calls if call.started_at < found.before]
        for call in calls:
            if call.started_at >= found.before:
                call.lost_at = None  # it was only cut off, and goes on
        if not gone:
            self._cases.pop(node, None)
            return
        marked = [call for call in gone if call.lost_at is not None]
        case = self._case(node, found, bool(marked))
        waited = self._monotonic() - case.since
        if marked and waited >= found.wait:
            await self._end(marked)
        elif not marked and waited >= min(SETTLE_SECONDS, found.wait):
            self._ask(node, case, gone)

    def _fate(self, node: str) -> Fate:
        assert self._listening_since is not None
        listening = self._monotonic() - self._listening_since >= self._lost_seconds
        known = self._nodes.known.get(node)
        return fate(known, listening=listening, lost_seconds=self._lost_seconds)

    def _case(self, node: str, found: Fate, marked: bool) -> _Case:
        case = self._cases.get(node)
        if case is None or (case.fate, case.marked) != (found, marked):
            asked = case.asked if case is not None else 0
            case = _Case(found, self._monotonic(), marked, asked)
            self._cases[node] = case
        return case

    def _ask(self, node: str, case: _Case, gone: list[LiveCall]) -> None:
        """The log does not say that the node is gone: have it say so."""
        now = self._monotonic()
        if case.asked and now - case.asked_at < 2 * SETTLE_SECONDS:
            return
        known = self._nodes.known.get(node)
        # one that nobody has heard of began before the first of its calls
        incarnation = int(min(call.started_at for call in gone) * 1000)
        said = known.said if known is not None and known.state in _TOLD else None
        lost = said or NodeAnnounced(
            node=node, kind="appserver", incarnation=incarnation, version=""
        )
        self._tell(lost, case.asked)
        case.asked, case.asked_at = case.asked + 1, now

    async def _end(self, calls: list[LiveCall]) -> None:
        now = self._clock()
        for at in range(0, len(calls), BATCH):
            some = calls[at : at + BATCH]
            drafts = [draft for call in some for draft in lost_call_drafts(call, now)]
            appended = await self._log.end_calls(drafts)
            self.ended += len(appended.events) // 2
            self._tail.stored(appended)
            for call in some:
                self._calls.end(call.id)


_TOLD: Final = frozenset({NodeState.LOST, NodeState.STOPPED})


def _is_well(first: LiveCall, found: Fate) -> bool:
    """Whether a node's oldest call, and so every one, goes on as far as is known."""
    return first.started_at >= found.before and first.lost_at is None
