"""OpenTelemetry spans of gRPC calls: both ends of a call that is part of a trace, and no others.

It loads OpenTelemetry, so it is imported only where there is tracing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from tandem.runtime.telemetry import Tracing, traceparent

HEADER: Final = "traceparent"
"""W3C Trace Context §3.2, as gRPC metadata."""


@contextmanager
def served(tracing: Tracing, method: str, came: str) -> Iterator[None]:
    """The server's span of a call that came with this traceparent; "": none."""
    if not came:
        yield
        return
    span = tracing.call(method.lstrip("/"), SpanKind.SERVER, came)
    try:
        yield
    except BaseException:
        span.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        span.end()


def departing(tracing: Tracing, method: str) -> Span | None:
    """The client's span of a call that begins now; None outside of any trace."""
    if not traceparent():
        return None
    return tracing.call(method.lstrip("/"), SpanKind.CLIENT)


def header_of(span: Span) -> tuple[str, str]:
    """The metadata by which the server finds this span."""
    return HEADER, traceparent(span)


def finish(span: Span, code: Any) -> None:
    """End the client's span with the status of its call."""
    if isinstance(code, grpc.StatusCode):
        span.set_attribute("rpc.grpc.status_code", int(code.value[0]))
        if code is not grpc.StatusCode.OK:
            span.set_status(Status(StatusCode.ERROR, code.name))
    span.end()
