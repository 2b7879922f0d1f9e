"""What each service shows of its bus at /metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tandem.bus.counters import Lost
from tandem.bus.ports import CountedBus, Topic
from tandem.runtime.metrics import Metrics

_COUNTS: Final = (
    "published", "confirmed", "delivered", "redelivered", "unreadable", "refused", "failed",
)  # fmt: skip


def register_bus(metrics: Metrics, bus: CountedBus) -> None:
    """Show `tandem_bus_…`, by topic."""
    metrics.gauge("tandem_bus_connected", lambda: bus.connected, "Whether messages go through")
    metrics.gauge(
        "tandem_bus_queue_depth", lambda: bus.queue_depth, "Envelopes that wait here for handlers"
    )
    for topic in Topic:
        _register_topic(metrics, bus, topic)


def _register_topic(metrics: Metrics, bus: CountedBus, topic: Topic) -> None:
    labels = {"topic": str(topic)}

    def counts() -> Mapping[str, int]:
        found = bus.counters()[topic]
        return {name: getattr(found, name) for name in _COUNTS}

    metrics.counters("tandem_bus", counts, "Envelopes on the bus", labels)
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
