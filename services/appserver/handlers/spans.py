"""A call as an OpenTelemetry trace: a span for the caller's INVITE, one in it for each leg."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from opentelemetry.trace import Span, Status, StatusCode

from services.appserver.handlers.traces import Traces
from tandem.bus.events import (
    CallAnswered,
    CallbackMatched,
    CallbackTriggered,
    CallbackWaiting,
    CallEnded,
    CallForwarded,
    CallProgress,
    CallStarted,
    Event,
    LegFailed,
)
from tandem.runtime.telemetry import Attributes, Tracing

MAX_OPEN: Final = 10_000
"""Calls whose spans are open; above it the oldest is closed as it is."""
_MARKS: Final = (CallProgress, CallAnswered, CallbackWaiting, CallbackTriggered, CallbackMatched)


class CallSpans:
    """The open spans of calls. A leg's span ends with its answer, the call's with the call."""

    def __init__(self, tracing: Tracing, traces: Traces) -> None:
        self._tracing = tracing
        self._traces = traces
        self._calls: OrderedDict[str, tuple[Span, dict[int, Span]]] = OrderedDict()

    def look(self, event: Event) -> None:
        """See `services.appserver.handlers.watch.Looks`."""
        if event.call_id is None:
            return
        if isinstance(event, CallStarted):
            self._started(event.call_id, event)
            return
        found = self._calls.get(event.call_id)
        if found is None:
            return
        span, legs = found
        if isinstance(event, CallForwarded):
            if event.leg in legs:
                legs[event.leg].end()
            legs[event.leg] = self._tracing.departure("INVITE", span, _of_leg(event))
        elif isinstance(event, LegFailed) and event.leg in legs:
            _end(legs.pop(event.leg), event.status, event.reason)
        elif isinstance(event, CallEnded):
            self._ended(event.call_id, event)
        elif isinstance(event, _MARKS):
            span.add_event(event.type, {"message": event.text()})
            if isinstance(event, CallAnswered) and event.leg in legs:
                _end(legs.pop(event.leg), 200, "")

    def _started(self, call_id: str, event: CallStarted) -> None:
        branch = self._traces.branch(event.sip_call_id)
        attributes = {**_request(event.destination, event.sip_call_id), "tandem.call_id": call_id}
        transport, _, address = event.source.partition(":")
        host, _, port = address.rpartition(":")
        attributes |= {"network.transport": transport, "network.peer.address": host.strip("[]")}
        if port.isdigit():
            attributes["network.peer.port"] = int(port)
        span = self._tracing.arrival("INVITE", event.sip_call_id, branch, attributes)
        self._calls[call_id] = (span, {})
        if len(self._calls) > MAX_OPEN:
            self._close(*self._calls.popitem(last=False)[1])

    def _ended(self, call_id: str, event: CallEnded) -> None:
        span, legs = self._calls.pop(call_id)
        span.set_attribute("tandem.end_reason", event.reason)
        span.set_attribute("sip.response.status_code", event.status)
        if event.status >= 500:
            span.set_status(Status(StatusCode.ERROR, event.reason))
        self._close(span, legs)

    def _close(self, span: Span, legs: dict[int, Span]) -> None:
        for leg in legs.values():
            leg.end()
        span.end()


def _of_leg(event: CallForwarded) -> Attributes:
    return {**_request(event.target, event.sip_call_id), "tandem.next_hop": event.next_hop,
            "tandem.leg": event.leg}  # fmt: skip


def _request(uri: str, sip_call_id: str) -> dict[str, str | int | float]:
    return {
        "network.protocol.name": "sip",
        "network.protocol.version": "2.0",
        "sip.message.type": "request",
        "sip.request.method": "INVITE",
        "sip.request.uri": uri,
        "url.full": uri,
        "url.scheme": uri.partition(":")[0],
        "sip.call_id": sip_call_id,
    }


def _end(span: Span, status: int, reason: str) -> None:
    span.set_attribute("sip.response.status_code", status)
    if reason:
        span.set_attribute("sip.response.reason", reason)
    span.end()
