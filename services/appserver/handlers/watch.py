"""What is learnt from the events on their way to the bus: statistics, traces, spans.

The handlers tell what happens once, by their events; whoever wants to count or time it looks here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from tandem.bus.call_events import CallRecord
from tandem.bus.ports import Publisher, Topic
from tandem.runtime.metrics import Histogram, Metrics

DELAY_BOUNDS: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds until a phone rings."""
ANSWER_BOUNDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 180.0)
"""Seconds until somebody answers."""
ACKNOWLEDGE_BOUNDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25)
"""Seconds until all proxies have acknowledged a hint; 0.25 is as long as is waited."""


Look = Callable[[Any], None]
"""Called with an event after it was handed to the bus."""


class Looks(Protocol):
    """Something that learns from this node's events."""

    @property
    def looks(self) -> Mapping[Any, Look]:
        """What it does with an event of each class; what is not listed does not concern it."""


class Statistics:
    """What metrics show of calls. A call is counted when its record is written."""

    def __init__(self) -> None:
        self.post_dial_delay = Histogram(DELAY_BOUNDS)
        self.answer_time = Histogram(ANSWER_BOUNDS)
        self.hint_acknowledged = Histogram(ACKNOWLEDGE_BOUNDS)
        self.ends: Counter[str] = Counter()
        """Calls by the class of their final status."""
        self.looks: dict[Any, Look] = {CallRecord: self._ended}
        """See `Looks`."""

    def _ended(self, event: CallRecord) -> None:
        self.ends[f"{event.status // 100}xx"] += 1
        if event.progress_at is not None:
            self.post_dial_delay.observe(event.progress_at - event.created_at)
        if event.answered_at is not None:
            self.answer_time.observe(event.answered_at - event.created_at)

    def register(self, metrics: Metrics) -> None:
        """Show them."""
        show = metrics.histogram
        show("tandem_post_dial_delay_seconds", self.post_dial_delay, "From INVITE to ringing")
        show("tandem_answer_time_seconds", self.answer_time, "From INVITE to the answer")
        show("tandem_hint_acknowledged_seconds", self.hint_acknowledged,
             "From publishing a hint to the last acknowledgement waited for")  # fmt: skip
        metrics.labelled("tandem_calls_ended", "class", lambda: self.ends, "Calls ended")


class Watch:
    """The publisher that the handlers get: the bus, with those who look."""

    def __init__(self, publisher: Publisher, *looks: Looks) -> None:
        self._publish = publisher.publish
        self._looks: dict[type[Any], tuple[Look, ...]] = {}
        for one in looks:
            self.add(one)

    def add(self, one: Looks) -> None:
        """One more who looks."""
        for kind, look in one.looks.items():
            self._looks[kind] = (*self._looks.get(kind, ()), look)

    def publish(self, topic: Topic, payload: Any) -> None:
        """See `tandem.bus.ports.Publisher`."""
        self._publish(topic, payload)
        for look in self._looks.get(type(payload), ()):
            look(payload)
