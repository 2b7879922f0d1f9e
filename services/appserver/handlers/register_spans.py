"""A REGISTER as an OpenTelemetry span, from its arrival to its answer.

The registrar knows nothing of it: this stands before it and behind it, and only where there is
tracing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from opentelemetry.trace import Span, Status, StatusCode, use_span

from services.appserver.handlers.arrivals import Arrived, read_arrival
from tandem.runtime.telemetry import Tracing
from tandem.sip.errors import RemoteFault
from tandem.sip.message import Response, parse_message

MAX_OPEN: Final = 10_000
"""REGISTERs whose answer is to come; above it the oldest span is closed as it is."""

Receive = Callable[[bytes, str, float], None]
Send = Callable[[bytes, str], None]


class RegisterSpans:
    """The open spans, by the branch that the answer brings back."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._open: OrderedDict[str, Span] = OrderedDict()

    def receiving(self, receive: Receive) -> Receive:
        """`receive`, with a span for each REGISTER; what is asked of others for it is part of
        its trace."""

        def traced(data: bytes, peer: str, now: float) -> None:
            arrived = read_arrival(data)
            if arrived is None:
                receive(data, peer, now)
                return
            span = self._open.get(arrived.branch) or self._begin(arrived)
            with use_span(span, record_exception=False, set_status_on_exception=False):
                receive(data, peer, now)

        return traced

    def _begin(self, arrived: Arrived) -> Span:
        span = self._tracing.arrival(
            "REGISTER", arrived.call_id, arrived.branch, arrived.attributes
        )
        self._open[arrived.branch] = span
        if len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)[1].end()
        return span

    def sending(self, send: Send) -> Send:
        """`send`, with an eye on answers."""

        def traced(data: bytes, peer: str) -> None:
            send(data, peer)
            if self._open and data.startswith(b"SIP/"):
                self._answered(data)

        return traced

    def _answered(self, data: bytes) -> None:
        try:
            response = parse_message(data)
            span = self._open.pop(response.top[0], None)
        except RemoteFault:
            return
        if span is None or not isinstance(response, Response):
            return
        span.set_attribute("sip.response.status_code", response.status)
        span.set_attribute("sip.response.reason", response.reason)
        if response.status >= 500:
            span.set_status(Status(StatusCode.ERROR, response.reason))
        span.end()
