from __future__ import annotations

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from services.appserver.handlers.register_spans import RegisterSpans
from tandem.runtime.telemetry import Tracing, span_id, trace_id

REGISTER = (
    b"REGISTER sip:example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 10.0.0.1:7000;branch=z9hG4bK-t-1\r\n"
    b"Via: SIP/2.0/TCP phone.invalid;branch=z9hG4bKp;received=192.0.2.9;rport=4711\r\n"
    b"From: <sip:bob@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: reg@phone\r\n"
    b"CSeq: 7 REGISTER\r\nUser-Agent: Snom\r\n\r\n"
)
ANSWER = (
    b"SIP/2.0 %d Whatever\r\nVia: SIP/2.0/UDP 10.0.0.1:7000;branch=z9hG4bK-t-1\r\n"
    b"From: <sip:bob@example.com>;tag=1\r\nTo: <sip:bob@example.com>;tag=2\r\n"
    b"Call-ID: reg@phone\r\nCSeq: 7 REGISTER\r\n\r\n"
)


class Scene:
    """A registrar that answers when it is told to, and asks the directory on the way."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracing = Tracing("appserver", "as1", "http://127.0.0.1:9", exporter=self.exporter)
        spans = RegisterSpans(self.tracing)
        self.sent: list[bytes] = []
        self.taken: list[bytes] = []
        self.send = spans.sending(lambda data, peer: self.sent.append(data))
        self.receive = spans.receiving(self._take)

    def _take(self, data: bytes, peer: str, now: float) -> None:
        self.taken.append(data)
        self.tracing.call("GetAccount", SpanKind.CLIENT).end()


def test_a_register_is_a_span_until_its_answer_and_what_is_asked_for_it_is_below() -> None:
    scene = Scene()
    scene.receive(REGISTER, "p", 0.0)
    scene.receive(REGISTER, "p", 0.5)  # again, for want of an answer
    assert [span.name for span in scene.exporter.get_finished_spans()] == []
    scene.send(ANSWER % 200, "p")
    scene.send(ANSWER % 200, "p")
    scene.tracing.close()
    assert len(scene.taken) == len(scene.sent) == 2
    made = {span.name: span for span in scene.exporter.get_finished_spans()}
    registered = made["REGISTER request"]
    assert registered.context is not None
    assert registered.parent is not None
    assert registered.context.trace_id == trace_id("reg@phone")
    assert registered.parent.span_id == span_id("z9hG4bK-t-1")
    assert made["GetAccount"].parent == registered.context
    told = dict(registered.attributes or {})
    assert told["sip.response.status_code"] == 200
    assert told["sip.cseq"] == "7 REGISTER"
    assert told["user_agent.original"] == "Snom"
    assert (told["network.transport"], told["network.peer.address"]) == ("tcp", "192.0.2.9")
    assert told["network.peer.port"] == 4711
    assert registered.status.is_ok


def test_a_register_that_could_not_be_served_is_an_error() -> None:
    scene = Scene()
    scene.receive(REGISTER, "p", 0.0)
    scene.send(ANSWER % 503, "p")
    scene.tracing.close()
    made = {span.name: span for span in scene.exporter.get_finished_spans()}
    assert not made["REGISTER request"].status.is_ok


def test_what_can_not_be_read_reaches_the_registrar_all_the_same() -> None:
    scene = Scene()
    scene.receive(b"REGISTER nonsense\r\n\r\n", "p", 0.0)
    scene.tracing.close()
    assert len(scene.taken) == 1
    assert "REGISTER request" not in [s.name for s in scene.exporter.get_finished_spans()]
