from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.proxy.handlers.spans import LONGEST_SECONDS, RequestSpans, TracedLink
from tandem.runtime.telemetry import Tracing, span_id, trace_id
from tandem.siptransport.link import Hub, MemoryLink
from tests.support.proxy import APPSERVER, make_edge, make_peer

EDGE = make_edge()
PEER = make_peer(EDGE, transport="tcp")
BRANCH = b"z9hG4bK-t-" + PEER.ref + b".00000001.abc"


def request(method: str = "INVITE", branch: bytes = BRANCH, tag: str = "") -> bytes:
    return (
        f"{method} sip:bob@example.com SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 10.0.0.1:7000;branch={branch.decode()}\r\n"
        "Via: SIP/2.0/TCP phone.invalid;branch=z9hG4bKabc\r\nMax-Forwards: 69\r\n"
        f"From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>{tag}\r\n"
        f"Call-ID: call@phone\r\nCSeq: 5 {method}\r\nUser-Agent: Snom\r\n\r\n"
    ).encode()


def response(status: str, method: str = "INVITE", branch: bytes = BRANCH) -> bytes:
    return (
        f"SIP/2.0 {status}\r\nVia: SIP/2.0/UDP 10.0.0.1:7000;branch={branch.decode()}\r\n"
        f"Call-ID: call@phone\r\nCSeq: 5 {method}\r\n\r\n"
    ).encode()


class Scene:
    """A traced link with an appserver at its other end."""

    def __init__(self) -> None:
        self.now = 0.0
        self.exporter = InMemorySpanExporter()
        self.tracing = Tracing("proxy", "proxy1", "http://127.0.0.1:9", exporter=self.exporter)
        find = {PEER.ref: PEER}.get
        self.spans = RequestSpans(self.tracing, find, lambda: self.now)
        hub = Hub()
        self.heard: list[bytes] = []
        self.there: list[bytes] = []
        inner = MemoryLink("10.0.0.1:7000", hub)
        self.far = MemoryLink(APPSERVER, hub)
        self.far.receiver = lambda data, peer: self.there.append(data)
        self.link = TracedLink(inner, self.spans)
        self.link.receiver = lambda data, peer: self.heard.append(data)

    def send(self, data: bytes) -> None:
        self.link.hold()
        self.link.send(data, APPSERVER)
        self.link.flush()

    def answer(self, data: bytes) -> None:
        self.link.hold()
        self.far.send(data, "10.0.0.1:7000")
        self.link.flush()

    def made(self) -> list[ReadableSpan]:
        self.spans.close()
        self.tracing.close()
        return list(self.exporter.get_finished_spans())


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_an_invite_is_a_span_whose_id_follows_from_the_branch_it_leaves_with() -> None:
    scene = Scene()
    scene.send(request())
    scene.answer(response("100 Trying"))
    scene.answer(response("180 Ringing"))
    assert scene.exporter.get_finished_spans() == ()
    scene.answer(response("200 OK"))
    (span,) = scene.made()
    assert span.context is not None
    assert span.context.trace_id == trace_id("call@phone")
    assert span.context.span_id == span_id(BRANCH.decode())
    assert told(span) == {
        "network.protocol.name": "sip",
        "network.protocol.version": "2.0",
        "network.transport": "tcp",
        "network.peer.address": "203.0.113.7",
        "network.peer.port": 5062,
        "sip.message.type": "request",
        "sip.request.method": "INVITE",
        "sip.request.uri": "sip:bob@example.com",
        "sip.call_id": "call@phone",
        "sip.cseq": "5 INVITE",
        "sip.response.status_code": 200,
        "sip.response.reason": "OK",
        "tandem.appserver": APPSERVER,
        "url.full": "sip:bob@example.com",
        "url.scheme": "sip",
        "user_agent.original": "Snom",
    }
    assert len(scene.there) == 1
    assert len(scene.heard) == 3


def test_what_is_sent_again_is_no_second_span_not_even_after_the_answer() -> None:
    scene = Scene()
    scene.send(request())
    scene.send(request())
    scene.answer(response("486 Busy Here"))
    scene.send(request())
    scene.answer(response("486 Busy Here"))
    assert len(scene.made()) == 1
    assert len(scene.there) == 3


def test_the_answer_to_a_cancel_ends_no_invite() -> None:
    scene = Scene()
    scene.send(request())
    scene.answer(response("200 OK", "CANCEL"))
    scene.answer(response("487 Request Terminated"))
    (span,) = scene.made()
    assert told(span)["sip.response.status_code"] == 487


def test_inside_of_dialogs_and_by_other_methods_nothing_is_made() -> None:
    scene = Scene()
    scene.send(request(tag=";tag=2"))
    scene.send(request("BYE"))
    scene.send(request("OPTIONS"))
    scene.answer(response("200 OK", "OPTIONS"))
    scene.answer(b"SIP/2.0 200 OK\r\n\r\n")
    scene.answer(b"\x01KEEPALIVE x")
    assert scene.made() == []


def test_a_request_that_is_never_answered_ends_as_an_error() -> None:
    scene = Scene()
    scene.send(request("REGISTER"))
    scene.now = LONGEST_SECONDS + 1
    scene.send(request("REGISTER", BRANCH + b"2"))
    assert [span.name for span in scene.exporter.get_finished_spans()] == []
    scene.answer(response("200 OK", "REGISTER", BRANCH + b"2"))
    lost, served = scene.made()
    assert (lost.status.is_ok, served.status.is_ok) == (False, True)
