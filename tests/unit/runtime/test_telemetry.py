from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from socket import socket
from time import monotonic

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from tandem.runtime.spanexport import Export
from tandem.runtime.telemetry import (
    CLOSE_SECONDS,
    EXPORT_SECONDS,
    Tracing,
    from_traceparent,
    request_attributes,
    trace_id,
    traceparent,
)

CALL = "3848276298220188511@atlanta.example.com"
BRANCH = "z9hG4bK-t-abc"


class Node:
    """One process of a cluster."""

    def __init__(self, service: str, sample: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing = Tracing(
            service, f"{service}1", "http://127.0.0.1:9", sample=sample, exporter=self._exporter
        )

    def spans(self) -> dict[str, ReadableSpan]:
        """All that were made, by name; ends the tracing."""
        self.tracing.close()
        return {span.name: span for span in self._exporter.get_finished_spans()}


def test_a_request_is_one_trace_on_all_nodes_though_the_message_says_nothing_of_it() -> None:
    proxy, appserver = Node("proxy"), Node("appserver")
    proxy.tracing.passage("INVITE", CALL, BRANCH, {}).end()
    call = appserver.tracing.arrival("INVITE", CALL, BRANCH, {})
    leg = appserver.tracing.departure("INVITE", call, {"tandem.leg": 1})
    leg.end()
    call.end()
    passed = proxy.spans()["INVITE request"]
    made = appserver.spans()
    arrived, sent = made["INVITE request"], made["INVITE local"]
    assert {s.context.trace_id for s in (passed, arrived, sent) if s.context} == {trace_id(CALL)}
    assert arrived.parent is not None
    assert passed.context is not None
    assert arrived.parent.span_id == passed.context.span_id
    assert sent.parent == arrived.context
    assert (arrived.kind, sent.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert dict(sent.attributes or {}) == {"tandem.leg": 1}


def test_what_is_asked_of_another_service_belongs_to_the_call() -> None:
    appserver, provisioning = Node("appserver"), Node("provisioning")
    with appserver.tracing.because_of(CALL, BRANCH):
        asked = appserver.tracing.call("Directory/GetAccount", SpanKind.CLIENT)
        told = traceparent(asked)
        asked.end()
    provisioning.tracing.call("GetAccount", SpanKind.SERVER, told).end()
    client = appserver.spans()["Directory/GetAccount"]
    server = provisioning.spans()["GetAccount"]
    assert client.context is not None
    assert server.context is not None
    assert server.context.trace_id == client.context.trace_id == trace_id(CALL)
    assert server.parent is not None
    assert server.parent.span_id == client.context.span_id


def test_nodes_agree_on_which_calls_are_left_out() -> None:
    proxy, appserver = Node("proxy", sample=0.5), Node("appserver", sample=0.5)
    calls = [f"{number}@example.com" for number in range(400)]
    kept = [
        {
            call
            for call in calls
            if node.tracing.arrival("INVITE", call, BRANCH, {}).get_span_context().trace_flags
        }
        for node in (proxy, appserver)
    ]
    assert kept[0] == kept[1]
    assert 100 < len(kept[0]) < 300
    proxy.spans()
    appserver.spans()


@pytest.mark.parametrize("text", ["", "00", "00-zz-zz-01", "00-1-2-01", "a-b-c-d-e"])
def test_a_traceparent_that_is_none_is_no_place(text: str) -> None:
    assert from_traceparent(text) is None


class Away(SpanExporter):
    """The way to a collector that is away now and then."""

    def __init__(self) -> None:
        self.away = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.FAILURE if self.away else SpanExportResult.SUCCESS


def test_bytes_that_are_no_utf8_are_told_as_such_on_all_nodes_alike() -> None:
    raw = b"caf\xe9@phone"
    proxy, appserver = Node("proxy"), Node("appserver")
    proxy.tracing.passage("INVITE", raw.decode("utf-8", "replace"), BRANCH, {}).end()
    text = raw.decode("utf-8", "surrogateescape")
    with appserver.tracing.because_of(text, BRANCH):
        pass
    arrived = appserver.tracing.arrival("INVITE", text, BRANCH, request_attributes("x", text, text))
    arrived.end()
    (passed,), (found,) = proxy.spans().values(), appserver.spans().values()
    assert passed.context is not None
    assert found.context is not None
    assert passed.context.trace_id == found.context.trace_id
    assert (found.attributes or {})["sip.call_id"] == "caf\ufffd@phone"
    assert "".join(map(str, (found.attributes or {}).values())).encode()


def test_spans_that_can_not_be_exported_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            raise UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed")

    export = Export(Broken(), "http://127.0.0.1:9")
    assert export.export([ReadableSpan("x")] * 3) is SpanExportResult.FAILURE
    assert export.lost == 3
    assert "3 spans can't be exported" in caplog.text


def test_a_collector_that_is_away_is_told_of_once_and_what_is_lost_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inner = Away()
    export = Export(inner, "http://127.0.0.1:9")
    span = ReadableSpan("x")
    for _ in range(5):
        export.export([span, span])
    assert (export.exported, export.lost) == (0, 10)
    assert [r.getMessage() for r in caplog.records] == [
        "traces can't be exported to http://127.0.0.1:9 and are dropped"
    ]
    inner.away = False
    export.export([span])
    export.export([span])
    assert (export.exported, export.lost) == (2, 10)
    assert len(caplog.records) == 2
    export.shutdown()
    export.export([span])
    assert export.lost == 11


@pytest.mark.parametrize("listens", [False, True])
def test_a_node_whose_collector_is_away_or_hangs_stops_soon_and_says_little(
    listens: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        if listens:
            nobody.listen()
        tracing = Tracing("proxy", "proxy1", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        for number in range(2000):
            tracing.arrival("INVITE", f"{number}@phone", BRANCH, {}).end()
        began = monotonic()
        tracing.close()
        took = monotonic() - began
    assert took < 2 * (CLOSE_SECONDS + EXPORT_SECONDS)
    assert tracing.export.exported == 0
    assert len(caplog.records) == 1
