from __future__ import annotations

from typing import Any, ClassVar

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.appserver.handlers.spans import CallSpans
from services.appserver.handlers.traces import Traces
from services.appserver.handlers.watch import Look, Statistics, Watch
from services.appserver.handlers.watched import Watched
from tandem.bus.call_events import (
    CallAnswered,
    CallEnded,
    CallForwarded,
    CallRecord,
    CallStarted,
    LegFailed,
)
from tandem.bus.ports import Topic
from tandem.runtime.metrics import Metrics
from tandem.runtime.telemetry import Tracing, span_id, trace_id

OWNERS = ("alice",)
INVITE = b"INVITE sip:b SIP/2.0\r\nVia: SIP/2.0/UDP p;branch=z9hG4bKp1\r\nCall-ID: in@phone\r\n\r\n"


class Sink:
    def __init__(self) -> None:
        self.published: list[tuple[Topic, Any]] = []

    def publish(self, topic: Topic, payload: Any) -> None:
        self.published.append((topic, payload))


def started(call: str = "c1") -> CallStarted:
    return CallStarted(
        owners=OWNERS, call_id=call, direction="out", caller="sip:alice@example.com",
        destination="sip:bob@example.com", source="tcp:[2001:db8::7]:5060",
        sip_call_id="in@phone",
    )  # fmt: skip


def forwarded(leg: int) -> CallForwarded:
    return CallForwarded(
        owners=OWNERS, call_id="c1", leg=leg, target=f"sip:bob@192.0.2.{leg}",
        next_hop=f"udp:192.0.2.{leg}:5060", sip_call_id=f"out{leg}@us",
    )  # fmt: skip


def record(progress: float | None, answer: float | None, status: int) -> CallRecord:
    return CallRecord(
        owners=OWNERS, call_id="c1", direction="out", caller="", caller_name="", destination="",
        source="", sip_call_id="in@phone", answered_by="", created_at=100.0, progress_at=progress,
        progress_status=None, answered_at=answer, ended_at=200.0, status=status, status_reason="",
        end_reason="", duration=0.0, ring_duration=0.0, legs=1,
    )  # fmt: skip


def no_traces() -> Traces:
    return Traces(Sink(), lambda: 0.0, lambda data: (), Watched(lambda: 0.0))


def test_what_is_published_goes_to_the_bus_and_events_to_those_who_look() -> None:
    sink = Sink()
    seen: list[CallStarted] = []

    class Looker:
        looks: ClassVar[dict[Any, Look]] = {CallStarted: seen.append}

    watch = Watch(sink, Looker(), Looker())
    watch.publish(Topic.LOCATION, "a binding")
    watch.publish(Topic.EVENTS, started())
    watch.publish(Topic.EVENTS, forwarded(1))
    assert [topic for topic, _ in sink.published] == [Topic.LOCATION, Topic.EVENTS, Topic.EVENTS]
    assert seen == [started(), started()]


def test_metrics_show_how_long_phones_take_to_ring_and_people_to_answer() -> None:
    statistics, metrics = Statistics(), Metrics()
    statistics.register(metrics)
    watch = Watch(Sink(), statistics)
    for ended in (record(100.3, 105.0, 200), record(103.0, None, 486), record(None, None, 404)):
        watch.publish(Topic.EVENTS, ended)
    text = metrics.render().decode()
    assert 'tandem_post_dial_delay_seconds_bucket{le="0.2"} 0.0' in text
    assert 'tandem_post_dial_delay_seconds_bucket{le="0.5"} 1.0' in text
    assert 'tandem_post_dial_delay_seconds_bucket{le="+Inf"} 2.0' in text
    assert "tandem_post_dial_delay_seconds_count 2.0" in text
    assert "tandem_answer_time_seconds_sum 5.0" in text
    assert 'tandem_calls_ended_total{class="2xx"} 1.0' in text
    assert 'tandem_calls_ended_total{class="4xx"} 2.0' in text


def test_a_call_is_a_span_with_one_in_it_for_each_leg() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing("appserver", "as1", "http://127.0.0.1:9", exporter=exporter)
    traces = no_traces()
    traces.heard("in@phone", INVITE, "p")
    watch = Watch(Sink(), CallSpans(tracing, traces))
    for event in (
        started(),
        forwarded(1),
        forwarded(2),
        LegFailed(owners=OWNERS, call_id="c1", leg=1, status=503, reason="Connection failed"),
        CallAnswered(owners=OWNERS, call_id="c1", leg=2, target="sip:bob@192.0.2.2"),
        CallEnded(owners=OWNERS, call_id="c1", status=200, reason="caller hung up", duration=1.0),
    ):
        watch.publish(Topic.EVENTS, event)
    tracing.close()
    first, second, call = exporter.get_finished_spans()
    assert call.context is not None
    assert call.context.trace_id == trace_id("in@phone")
    assert call.parent is not None
    assert call.parent.span_id == span_id("z9hG4bKp1")
    assert first.parent == second.parent == call.context
    told = dict(call.attributes or {})
    assert told["sip.request.method"] == "INVITE"
    assert told["sip.call_id"] == "in@phone"
    assert told["network.transport"] == "tcp"
    assert told["network.peer.address"] == "2001:db8::7"
    assert told["network.peer.port"] == 5060
    assert told["sip.response.status_code"] == 200
    assert told["tandem.end_reason"] == "caller hung up"
    assert (first.attributes or {})["sip.response.status_code"] == 503
    assert (second.attributes or {})["sip.response.status_code"] == 200
    assert [event.name for event in call.events] == ["call.answered"]


def test_an_event_of_a_call_that_is_not_known_makes_no_span() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing("appserver", "as1", "http://127.0.0.1:9", exporter=exporter)
    watch = Watch(Sink(), CallSpans(tracing, no_traces()))
    watch.publish(Topic.EVENTS, forwarded(1))
    tracing.close()
    assert exporter.get_finished_spans() == ()
