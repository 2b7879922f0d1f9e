"""What each service shows of its bus at /metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tandem.bus.counters import Lost
from tandem.bus.nodes import Nodes, NodeState
from tandem.bus.ports import CountedBus, Topic
from tandem.runtime.metrics import Metrics

_COUNTS: Final = (
    "published", "confirmed", "delivered", "redelivered", "unreadable", "refused", "failed",
)  # fmt: skip

KINDS: Final = ("proxy", "appserver", "provisioning", "events")
"""Of nodes."""


def register_bus(metrics: Metrics, bus: CountedBus) -> None:
    """Show `tandem_bus_…`, by topic."""
    metrics.gauge("tandem_bus_connected", lambda: bus.connected, "Whether messages go through")
    for topic in Topic:
        _register_topic(metrics, bus, topic)


def register_nodes(metrics: Metrics, nodes: Nodes) -> None:
    """Show `tandem_nodes{kind,state}`: the nodes as this one knows them, itself included."""
    for kind in KINDS:
        for state in NodeState:
            labels = {"kind": kind, "state": str(state)}
            metrics.gauge("tandem_nodes", _count(nodes, kind, state), "Nodes known here", labels)


def _count(nodes: Nodes, kind: str, state: str) -> Callable[[], float]:
    return lambda: sum(k.said.kind == kind and k.state == state for k in nodes.known.values())


def _register_topic(metrics: Metrics, bus: CountedBus, topic: Topic) -> None:
    labels = {"topic": str(topic)}

    def counts() -> Mapping[str, int]:
        found = bus.counters()[topic]
        return {name: getattr(found, name) for name in _COUNTS}

    metrics.counters("tandem_bus", counts, "Envelopes on the bus", labels)
    metrics.gauge(
        "tandem_bus_queue_depth",
        lambda: bus.counters()[topic].queued,
        "Envelopes that wait here for handlers",
        labels,
    )
    metrics.gauge(
        "tandem_bus_outbox",
        lambda: bus.counters()[topic].outbox,
        "Envelopes published and not yet confirmed",
        labels,
    )
    metrics.gauge(
        "tandem_bus_outbox_age_seconds",
        lambda: bus.counters()[topic].outbox_age,
        "How long the oldest of those waits",
        labels,
    )
    for reason in Lost:
        why = {**labels, "reason": str(reason)}
        metrics.counters("tandem_bus", _dropped(bus, topic, reason), "Envelopes on the bus", why)


def _dropped(bus: CountedBus, topic: Topic, reason: Lost) -> Callable[[], Mapping[str, int]]:
    def read() -> Mapping[str, int]:
        return {"dropped": bus.counters()[topic].dropped[reason]}

    return read
