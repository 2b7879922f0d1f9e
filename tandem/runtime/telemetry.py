"""OpenTelemetry traces: a call is one trace over proxy, appserver and provisioning.

Nothing is added to a SIP message for it. A trace's id is the hash of the SIP Call-ID, and the span
that stands for a request's way into a node has the hash of the branch that this node gets it with,
so each node finds its place in the trace by what it reads anyway.

The attributes are those of the SIP span convention of OpenSIPS' opentelemetry module
(semantic-convention/sip-spans.md there).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from threading import Timer
from typing import Final

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags

from tandem import __version__
from tandem.runtime.spanexport import Export

Attributes = Mapping[str, str | int | float]

SAMPLED = TraceFlags(TraceFlags.SAMPLED)
EXPORT_SECONDS: Final = 3.0
"""How long the collector may take for a batch."""
CLOSE_SECONDS: Final = 2.0
"""How long a node that stops goes on exporting what waits."""
MAX_TEXT: Final = 1000
"""Characters of an attribute: what phones write is theirs to choose."""


def legible(text: str) -> str:
    """SIP text with U+FFFD for bytes that are no UTF-8 (PEP 383): one such text would keep a whole
    batch of spans from being exported."""
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def trace_id(call_id: str) -> int:
    """The id of a call's trace: the hash of its first SIP Call-ID."""
    return int.from_bytes(blake2b(legible(call_id).encode(), digest_size=16).digest()) or 1


def span_id(branch: str) -> int:
    """The id of the span that sent a request with this Via branch."""
    return int.from_bytes(blake2b(legible(branch).encode(), digest_size=8).digest()) or 1


def request_attributes(
    method: str, uri: str, call_id: str, *, cseq: str = "", user_agent: str = ""
) -> dict[str, str | int | float]:
    """What is said of each SIP request."""
    uri = uri[:MAX_TEXT]
    found: dict[str, str | int | float] = {
        "network.protocol.name": "sip",
        "network.protocol.version": "2.0",
        "sip.message.type": "request",
        "sip.request.method": method,
        "sip.request.uri": uri,
        "url.full": uri,
        "url.scheme": uri.partition(":")[0].lower(),
        "sip.call_id": call_id[:MAX_TEXT],
    }
    if cseq:
        found["sip.cseq"] = cseq[:MAX_TEXT]
    if user_agent:
        found["user_agent.original"] = user_agent[:MAX_TEXT]
    return found


def peer_attributes(transport: str, host: str, port: int) -> dict[str, str | int | float]:
    """Who sent it, and over what; port 0: not known."""
    found: dict[str, str | int | float] = {
        "network.transport": transport,
        "network.peer.address": host,
    }
    if port:
        found["network.peer.port"] = port
    return found


class _Ids(RandomIdGenerator):
    """Random ids, but for a span whose id others must be able to work out."""

    def __init__(self) -> None:
        self.next = 0

    def generate_span_id(self) -> int:
        wanted, self.next = self.next, 0
        return wanted or super().generate_span_id()


class Tracing:
    """Makes spans and exports them in the background. One for each process."""

    def __init__(
        self,
        service: str,
        node: str,
        endpoint: str,
        *,
        sample: float = 1.0,
        exporter: SpanExporter | None = None,
    ) -> None:
        """`endpoint`: the OTLP/HTTP collector, `http://host:4318`; `sample`: the share of calls
        that is traced, the same calls on all nodes."""
        resource = Resource.create(
            {
                "service.name": f"tandem-{service}",
                "service.version": __version__,
                "service.instance.id": node,
            }
        )
        self._ids = _Ids()
        self._ratio = TraceIdRatioBased(sample)
        self._provider = TracerProvider(
            resource=resource,
            sampler=ParentBased(self._ratio),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        # what it tells of failures is told by Export, once
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        traces = endpoint.rstrip("/") + "/v1/traces"
        inner = exporter or OTLPSpanExporter(endpoint=traces, timeout=EXPORT_SECONDS)
        self.export = Export(inner, endpoint)
        """Its counts are for metrics."""
        self._provider.add_span_processor(BatchSpanProcessor(self.export))
        self._tracer = self._provider.get_tracer("tandem", __version__)

    def passage(self, method: str, call_id: str, branch: str, attributes: Attributes) -> Span:
        """The span of a request that leaves this node with `branch`: the first of its trace
        that we know of. Whoever gets the request finds it by the branch."""
        within = self._place(call_id, span_id(call_id))
        self._ids.next = span_id(branch)
        return self._start(f"{method} request", SpanKind.SERVER, within, attributes)

    def arrival(
        self, method: str, call_id: str, branch: str, attributes: Attributes, began: float = 0.0
    ) -> Span:
        """The span of a request that came with `branch` as the topmost, from Unix time `began` on
        (0: now)."""
        within = self._place(call_id, span_id(branch))
        return self._start(f"{method} request", SpanKind.SERVER, within, attributes, began)

    def departure(self, method: str, within: Span, attributes: Attributes) -> Span:
        """The span of a request that this node makes because of another."""
        place = trace.set_span_in_context(within)
        return self._start(f"{method} local", SpanKind.CLIENT, place, attributes)

    @contextmanager
    def because_of(self, call_id: str, branch: str) -> Iterator[None]:
        """What is asked of other services meanwhile, also in tasks that begin here, is part of
        this request's trace."""
        token = context.attach(self._place(call_id, span_id(branch)))
        try:
            yield
        finally:
            context.detach(token)

    def call(self, name: str, kind: SpanKind, traceparent: str = "") -> Span:
        """The span of a remote procedure call: inside of `because_of`, or as a server inside of
        the caller's trace."""
        return self._start(name, kind, from_traceparent(traceparent), {"rpc.system": "grpc"})

    def close(self) -> None:
        """Export what waits, for CLOSE_SECONDS and what a collector that hangs takes beyond them
        (EXPORT_SECONDS at most), and stop. Blocks."""
        limit = Timer(CLOSE_SECONDS, self.export.shutdown)
        limit.daemon = True
        limit.start()
        self._provider.shutdown()
        limit.cancel()

    def _place(self, call_id: str, parent: int) -> context.Context:
        """Below a span that another node made, or that is not made at all."""
        number = trace_id(call_id)
        ours = number & ((1 << 64) - 1) < self._ratio.bound
        flags = SAMPLED if ours else TraceFlags()
        remote = SpanContext(number, parent, is_remote=True, trace_flags=flags)
        return trace.set_span_in_context(NonRecordingSpan(remote), context.Context())

    def _start(
        self,
        name: str,
        kind: SpanKind,
        within: context.Context | None,
        attributes: Attributes,
        began: float = 0.0,
    ) -> Span:
        at = int(began * 1e9) if began else None
        said = {n: legible(v) if isinstance(v, str) else v for n, v in attributes.items()}
        return self._tracer.start_span(name, within, kind=kind, attributes=said, start_time=at)


def traceparent(span: Span | None = None) -> str:
    """The W3C traceparent of a span, or of what is going on here; "" for none."""
    found = (span or trace.get_current_span()).get_span_context()
    if not found.is_valid:
        return ""
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags):02x}"


def from_traceparent(text: str) -> context.Context | None:
    """The reverse; None for what is none: then the place is where we are."""
    parts = text.split("-")
    try:
        if len(parts) != 4 or (len(parts[1]), len(parts[2])) != (32, 16):
            return None
        flags = TraceFlags(int(parts[3], 16))
        remote = SpanContext(int(parts[1], 16), int(parts[2], 16), True, flags)
    except ValueError:
        return None
    return trace.set_span_in_context(NonRecordingSpan(remote), context.Context())
