"""Metrics: counting is `self.dropped += 1` on a plain object; names and text come at the scrape.

class Counters:
    def __init__(self) -> None:
        self.forwarded = 0
        self.dropped = 0

metrics.counters("tandem_proxy", counters, "What the proxy did")
metrics.gauge("tandem_calls", lambda: len(calls), "Calls under way")
metrics.histogram("tandem_post_dial_delay_seconds", delays, "From INVITE to ringing")
metrics.render()      # Prometheus text: tandem_proxy_forwarded_total …
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from inspect import isroutine
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Counts = Mapping[Any, int]
"""By a key of one label, or by tuples."""
NO_LABELS: Final[Mapping[str, str]] = {}


class Histogram:
    """How often values fell where; `bounds` grow."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Iterable[float]) -> None:
        self.sum = 0.0
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self._counts)

    def buckets(self) -> list[tuple[str, float]]:
        """(upper bound, how many values are not above it), as Prometheus wants them."""
        found, seen = [], 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            seen += count
            found.append((bound, float(seen)))
        return found


@dataclass(frozen=True, slots=True)
class _Histogram:
    name: str
    source: Histogram
    help: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Labelled:
    name: str
    labels: tuple[str, ...]
    read: Callable[[], Counts]
    help: str


@dataclass(frozen=True, slots=True)
class _Counters:
    prefix: str
    source: object
    help: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Gauge:
    name: str
    read: Callable[[], float]
    help: str
    labels: Mapping[str, str]


class Metrics(Collector):
    """What one process shows at /metrics."""

    def __init__(self) -> None:
        self._counters: list[_Counters] = []
        self._gauges: list[_Gauge] = []
        self._histograms: list[_Histogram] = []
        self._labelled: list[_Labelled] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def counters(
        self, prefix: str, source: object, help: str, labels: Mapping[str, str] = NO_LABELS
    ) -> None:
        """Show each public int attribute of `source` (each item, if it is a mapping of counts)
        as `PREFIX_ATTRIBUTE_total`. A function is called for its source at each scrape.

        Several sources may share a prefix when their labels have the same names and other values.
        """
        self._counters.append(_Counters(prefix, source, help, labels))

    def gauge(
        self,
        name: str,
        read: Callable[[], float],
        help: str,
        labels: Mapping[str, str] = NO_LABELS,
    ) -> None:
        """Show what `read` returns at each scrape."""
        self._gauges.append(_Gauge(name, read, help, labels))

    def histogram(
        self, name: str, source: Histogram, help: str, labels: Mapping[str, str] = NO_LABELS
    ) -> None:
        """Show a histogram."""
        self._histograms.append(_Histogram(name, source, help, labels))

    def labelled(
        self, name: str, label: str | tuple[str, ...], read: Callable[[], Counts], help: str
    ) -> None:
        """Show what `read` returns at each scrape as the counter `NAME_total{LABEL="key"}`: for
        few and known keys. With several labels a key is a tuple of as many."""
        labels = (label,) if isinstance(label, str) else label
        self._labelled.append(_Labelled(name, labels, read, help))

    def render(self) -> bytes:
        """The Prometheus text format, UTF-8."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """What prometheus_client asks its collectors for."""
        families: dict[str, Metric] = {}
        for group in self._counters:
            for attribute, value in _ints(group.source):
                name = f"{group.prefix}_{attribute}"
                family = families.get(name) or CounterMetricFamily(
                    name, f"{group.help}: {attribute.replace('_', ' ')}"
                )
                families[name] = family
                family.add_sample(name + "_total", dict(group.labels), value)
        for gauge in self._gauges:
            family = families.get(gauge.name) or GaugeMetricFamily(gauge.name, gauge.help)
            families[gauge.name] = family
            family.add_sample(gauge.name, dict(gauge.labels), gauge.read())
        for histogram in self._histograms:
            shown = families.get(histogram.name) or HistogramMetricFamily(
                histogram.name, histogram.help, labels=tuple(histogram.labels)
            )
            families[histogram.name] = shown
            assert isinstance(shown, HistogramMetricFamily)
            source = histogram.source
            shown.add_metric(tuple(histogram.labels.values()), source.buckets(), source.sum)
        for one in self._labelled:
            counter = CounterMetricFamily(one.name, one.help, labels=one.labels)
            families[one.name] = counter
            for key, value in one.read().items():
                counter.add_metric((key,) if isinstance(key, str) else key, value)
        return families.values()


def _ints(source: object) -> Iterator[tuple[str, int]]:
    if isroutine(source):  # many an object with counters can be called, too
        source = source()
    if isinstance(source, Mapping):
        yield from ((str(name), count) for name, count in source.items())
        return
    for name in _attributes(source):
        value: Any = getattr(source, name, None)
        if type(value) is int and not name.startswith("_"):
            yield name, value


def _attributes(source: object) -> list[str]:
    names = list(getattr(source, "__dict__", ()))
    for cls in type(source).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        names.extend((slots,) if isinstance(slots, str) else slots)
    return names
