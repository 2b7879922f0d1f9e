"""The directory of calls under way, derived from the log: from its call.* and node.* events.

Events may come twice, late or out of order (several nodes, several queues): facts are only added,
a state never goes back, and a call that has ended is remembered so that a late event of it does
not bring it back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from services.events.domain.event import StoredEvent, shown_owner
from services.events.domain.times import rfc3339
from tandem.bus.nodes import LOST_SECONDS
from tandem.rpc.sessions import Principal

MAX_LIVE: Final = 100_000
"""Calls in the directory; above it the oldest gives way."""
MAX_ENDED: Final = 20_000
"""Ids of ended calls remembered: minutes of a busy switch, more than any event is late."""
MAX_LEGS: Final = 64
"""Legs listed for a call."""
SILENT_SECONDS: Final = 24 * 3600.0
"""A call of which nothing was heard for so long has lost its node, and its end."""


class State(IntEnum):
    """How far a call has come."""

    STARTED = 1
    RINGING = 2
    ANSWERED = 3


@dataclass(slots=True)
class LiveCall:
    """A call under way. What is not known (yet) is None."""

    id: str
    node: str
    started_at: float
    heard_at: float
    owners: tuple[str, ...] = ()
    state: State = State.STARTED
    facts: dict[str, Any] = field(default_factory=dict)
    legs: dict[int, str] = field(default_factory=dict)
    progress_at: float | None = None
    progress_status: int | None = None
    progress_reason: str = ""
    answered_at: float | None = None
    answered_by: str | None = None
    lost_at: float | None = None
    """The log says that its node went, or started anew: when the node was last known to live."""

    def document(self, viewer: Principal) -> dict[str, Any]:
        """What the API shows to `viewer`."""
        names = ("direction", "caller", "destination", "source", "sip_call_id")
        return {
            "id": self.id,
            "node": self.node,
            "owner": shown_owner(self.owners, viewer),
            "state": self.state.name.lower(),
            **{name: self.facts.get(name) for name in names},
            "started_at": rfc3339(self.started_at),
            "progress_at": rfc3339(self.progress_at),
            "answered_at": rfc3339(self.answered_at),
            "answered_by": self.answered_by,
            "legs": [{"leg": leg, "target": target} for leg, target in sorted(self.legs.items())],
        }


class LiveCalls:
    """All calls under way on all nodes."""

    def __init__(self, *, max_live: int = MAX_LIVE, max_ended: int = MAX_ENDED) -> None:
        self.evicted = 0
        """Calls that gave way because there were too many."""
        self.by_node: dict[str, dict[str, LiveCall]] = {}
        """The calls of each node that has some, in the order in which they were heard of."""
        self.losses: dict[str, tuple[int, int]] = {}
        """For each node that was found lost: its last such incarnation, and how often."""
        self._lost_at: dict[str, float] = {}
        self._calls: dict[str, LiveCall] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._heard: dict[str, float] = {}
        self._max_live = max_live
        self._max_ended = max_ended

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[LiveCall]:
        return iter(self._calls.values())

    def get(self, call_id: str) -> LiveCall | None:
        """The call, if it is under way."""
        return self._calls.get(call_id)

    def seen_by(self, viewer: Principal) -> list[LiveCall]:
        """The calls that `viewer` may see, newest first."""
        calls = [call for call in self._calls.values() if viewer.may_see(call.owners)]
        return sorted(calls, key=lambda call: call.started_at, reverse=True)

    def apply(self, event: StoredEvent) -> None:
        """Learn from an event; those that tell nothing of calls are ignored."""
        if event.type in _MARKS:
            self._mark(event)
        if event.service == "appserver":
            self._heard[event.node] = max(event.time, self._heard.get(event.node, 0.0))
        if event.call_id is None or not event.type.startswith("call."):
            return
        if event.type in _ENDS:
            self.end(event.call_id)
        elif event.call_id not in self._ended:
            self._update(self._call(event), event)

    def forget_silent(self, now: float) -> None:
        """Drop calls of which nothing was heard for SILENT_SECONDS."""
        silent = [c.id for c in self._calls.values() if c.heard_at < now - SILENT_SECONDS]
        for call_id in silent:
            self.end(call_id)

    def _mark(self, event: StoredEvent) -> None:
        if event.type == "node.lost":
            node, alive = str(event.data.get("lost")), event.time - LOST_SECONDS
            self._count_loss(node, int(event.data.get("incarnation") or 0))
            self._lost_at[node] = event.time
        elif event.data.get("what") != "appserver":
            return
        elif event.type == "node.started":
            node, alive = event.node, self._heard.get(event.node, 0.0)
        else:
            node, alive = event.node, event.time
        for call in self.by_node.get(node, {}).values():
            if call.started_at < event.time:
                call.lost_at = max(call.lost_at or 0.0, alive)

    def found_lost(self, node: str, incarnation: int, since: float) -> bool:
        """Whether the log says that this node was lost, at or after the Unix time `since`."""
        known = self.losses.get(node, (0, 0))[0] == incarnation
        return known and self._lost_at.get(node, 0.0) >= since

    def _count_loss(self, node: str, incarnation: int) -> None:
        before, times = self.losses.get(node, (incarnation, 0))
        self.losses[node] = (incarnation, times + 1 if before == incarnation else 1)

    def _call(self, event: StoredEvent) -> LiveCall:
        assert event.call_id is not None
        call = self._calls.get(event.call_id)
        if call is None:
            if len(self._calls) >= self._max_live:
                self._remove(next(iter(self._calls)))
                self.evicted += 1
            call = LiveCall(event.call_id, event.node, event.time, event.time)
            self._calls[call.id] = call
            self.by_node.setdefault(call.node, {})[call.id] = call
        return call

    def _update(self, call: LiveCall, event: StoredEvent) -> None:
        call.heard_at = max(call.heard_at, event.time)
        call.started_at = min(call.started_at, event.time)
        call.owners = tuple(dict.fromkeys((*call.owners, *event.owners)))
        update = _UPDATES.get(event.type)
        if update is not None:
            update(call, event)

    def end(self, call_id: str) -> None:
        """The call is over; late events of it change nothing."""
        self._remove(call_id)
        self._ended[call_id] = None
        while len(self._ended) > self._max_ended:
            self._ended.popitem(last=False)

    def _remove(self, call_id: str) -> None:
        call = self._calls.pop(call_id, None)
        if call is not None:
            of_node = self.by_node[call.node]
            del of_node[call_id]
            if not of_node:
                del self.by_node[call.node]


def _started(call: LiveCall, event: StoredEvent) -> None:
    call.facts = dict(event.data)


def _forwarded(call: LiveCall, event: StoredEvent) -> None:
    if len(call.legs) < MAX_LEGS:
        call.legs[int(event.data.get("leg") or 0)] = str(event.data.get("target") or "")


def _progress(call: LiveCall, event: StoredEvent) -> None:
    call.state = max(call.state, State.RINGING)
    call.progress_at = min(call.progress_at or event.time, event.time)
    call.progress_status = int(event.data.get("status") or 0) or None
    call.progress_reason = str(event.data.get("reason") or "")


def _answered(call: LiveCall, event: StoredEvent) -> None:
    call.state = State.ANSWERED
    call.answered_at = min(call.answered_at or event.time, event.time)
    call.answered_by = str(event.data.get("target") or "") or None


_MARKS: Final = frozenset({"node.started", "node.stopped", "node.lost"})
_ENDS: Final = frozenset({"call.ended", "call.record"})
_UPDATES: Final[Mapping[str, Callable[[LiveCall, StoredEvent], None]]] = {
    "call.started": _started,
    "call.forwarded": _forwarded,
    "call.progress": _progress,
    "call.answered": _answered,
}
