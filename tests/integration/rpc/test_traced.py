"""A call within a trace leaves a span on both ends, one below the other; others leave none."""

from __future__ import annotations

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from services.provisioning.entrypoints.grpc_directory import NAME, GrpcDirectory
from tandem.rpc.channel import open_channel
from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.remote import RemoteDirectory
from tandem.rpc.security import Security
from tandem.rpc.server import GrpcServer
from tandem.runtime.telemetry import Tracing, span_id, trace_id
from tandem.stubs.directory.v1.directory_pb2_grpc import add_DirectoryServicer_to_server
from tests.support.rpc import LOOPBACK, Known

SECURITY = Security(cluster_key="a secret of all nodes")


async def test_a_look_up_is_part_of_the_trace_of_its_call() -> None:
    spans = InMemorySpanExporter()
    tracing = Tracing("test", "node", "http://127.0.0.1:9", exporter=spans)
    known = Known()
    server = GrpcServer(LOOPBACK, SECURITY, known, tracing=tracing)
    servicer = GrpcDirectory(known, known.pieces, known)
    server.add(add_DirectoryServicer_to_server, servicer, NAME)
    await server.start()
    channel = open_channel(str(server.address), SECURITY, tracing=tracing)
    directory = RemoteDirectory(channel)
    await directory.domains()
    with tracing.because_of("call@phone", "z9hG4bK-1"):
        await directory.account("desk", "example.com")
        known.crashes = True
        try:
            await directory.bindings()
            await directory.account("desk", "example.com")
        except DirectoryUnavailable:
            pass
    await channel.close()
    await server.stop()
    tracing.close()
    seen = [(span.name, span.kind, span.status.is_ok) for span in spans.get_finished_spans()]
    account, bindings = f"{NAME}/GetAccount", f"{NAME}/ListBindings"
    failed = [(account, SpanKind.SERVER, False), (account, SpanKind.CLIENT, False)]
    assert sorted(seen, key=str) == sorted(
        [
            (account, SpanKind.SERVER, True), (account, SpanKind.CLIENT, True),
            (bindings, SpanKind.SERVER, True), (bindings, SpanKind.CLIENT, True),
            *failed, *failed,
        ],
        key=str,
    )  # fmt: skip
    client = next(s for s in spans.get_finished_spans() if s.kind is SpanKind.CLIENT)
    above = client.parent
    assert above is not None
    assert (above.trace_id, above.span_id) == (trace_id("call@phone"), span_id("z9hG4bK-1"))
    for span in spans.get_finished_spans():
        assert span.context is not None
        assert span.context.trace_id == trace_id("call@phone")
        if span.kind is SpanKind.SERVER:
            assert span.parent is not None
            assert span.parent.is_remote
