from __future__ import annotations

from tandem.runtime.metrics import Metrics


class Plain:
    def __init__(self) -> None:
        self.forwarded = 0
        self.name = "not a number"
        self.flag = True
        self._private = 7


class Slotted:
    __slots__ = ("dropped",)

    def __init__(self) -> None:
        self.dropped = 4


def lines(metrics: Metrics) -> list[str]:
    text = metrics.render().decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_counters_show_what_the_plain_ints_hold_at_the_scrape() -> None:
    metrics, plain = Metrics(), Plain()
    metrics.counters("tandem_proxy", plain, "The proxy")
    assert lines(metrics) == ["tandem_proxy_forwarded_total 0.0"]
    plain.forwarded += 3
    assert lines(metrics) == ["tandem_proxy_forwarded_total 3.0"]


def test_counters_that_a_function_makes_are_asked_for_at_each_scrape() -> None:
    metrics, made = Metrics(), {"dropped": 1}
    metrics.counters("tandem_proxy", lambda: dict(made), "The proxy")
    assert lines(metrics) == ["tandem_proxy_dropped_total 1.0"]
    made["dropped"] += 1
    assert lines(metrics) == ["tandem_proxy_dropped_total 2.0"]


def test_slots_and_labels_make_one_family() -> None:
    metrics = Metrics()
    metrics.counters("tandem_bus", Slotted(), "The bus", {"subscriber": "a"})
    metrics.counters("tandem_bus", Slotted(), "The bus", {"subscriber": 'b"\n'})
    text = metrics.render().decode()
    assert text.count("# TYPE tandem_bus_dropped_total counter") == 1
    assert 'tandem_bus_dropped_total{subscriber="a"} 4.0' in text
    assert 'tandem_bus_dropped_total{subscriber="b\\"\\n"} 4.0' in text


def test_what_is_counted_by_several_labels_has_as_many_keys() -> None:
    metrics, counts = Metrics(), {("blind", "http"): 2}
    metrics.labelled("tandem_transfers", ("kind", "by"), lambda: counts, "Transfers")
    assert lines(metrics) == ['tandem_transfers_total{by="http",kind="blind"} 2.0']


def test_gauges_are_read_at_the_scrape() -> None:
    metrics, calls = Metrics(), [1]
    metrics.gauge("tandem_calls", lambda: len(calls), "Calls under way")
    assert lines(metrics) == ["tandem_calls 1.0"]
    calls.append(2)
    assert lines(metrics) == ["tandem_calls 2.0"]


def test_nothing_registered_renders_nothing() -> None:
    assert Metrics().render() == b""
