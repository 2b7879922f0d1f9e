"""A call as an OpenTelemetry trace: a span for the caller's INVITE, one in it for each leg."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from opentelemetry.trace import Span, Status, StatusCode

from services.appserver.handlers.arrivals import read_arrival, source_attributes
from services.appserver.handlers.traces import Traces
from services.appserver.handlers.watch import Look
from tandem.bus.call_events import (
    CallAnswered,
    CallEnded,
    CallForwarded,
    CallProgress,
    CallStarted,
    LegFailed,
)
from tandem.bus.callback_events import CallbackMatched, CallbackTriggered, CallbackWaiting
from tandem.bus.event import Event
from tandem.runtime.telemetry import Attributes, Tracing, legible, request_attributes

MAX_OPEN: Final = 10_000
"""Calls whose spans are open; above it the oldest is closed as it is."""
_MARKS: Final = (CallProgress, CallAnswered, CallbackWaiting, CallbackTriggered, CallbackMatched)


class CallSpans:
    """The open spans of calls. A leg's span ends with its answer, the call's with the call."""

    def __init__(self, tracing: Tracing, traces: Traces) -> None:
        self._tracing = tracing
        self._traces = traces
        self._calls: OrderedDict[str, tuple[Span, dict[int, Span]]] = OrderedDict()
        kinds = (CallStarted, CallForwarded, LegFailed, CallEnded, *_MARKS)
        self.looks: dict[Any, Look] = dict.fromkeys(kinds, self._look)
        """See `watch.Looks`."""

    def _look(self, event: Event) -> None:
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
            span.add_event(event.type, {"message": legible(event.text())})
            if isinstance(event, CallAnswered) and event.leg in legs:
                _end(legs.pop(event.leg), 200, "")

    def _started(self, call_id: str, event: CallStarted) -> None:
        at, data = self._traces.invite(event.sip_call_id) or (0.0, b"")
        arrived = read_arrival(data)
        attributes = {
            **request_attributes("INVITE", event.destination, event.sip_call_id),
            **(arrived.attributes if arrived is not None else {}),
            **source_attributes(event.source),
            "tandem.call_id": call_id,
        }
        branch = arrived.branch if arrived is not None else ""
        span = self._tracing.arrival("INVITE", event.sip_call_id, branch, attributes, at)
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
    return {
        **request_attributes("INVITE", event.target, event.sip_call_id),
        "tandem.next_hop": event.next_hop,
        "tandem.leg": event.leg,
    }


def _end(span: Span, status: int, reason: str) -> None:
    span.set_attribute("sip.response.status_code", status)
    if reason:
        span.set_attribute("sip.response.reason", legible(reason))
    span.end()
