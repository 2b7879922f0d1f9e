"""What becomes of calls, from the INVITE to the call record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tandem.bus.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted(Event):
    """An INVITE was accepted for processing."""

    service = "appserver"
    type = "call.started"
    direction: str
    """`out` from one of the owner's accounts, `in` to one of them."""
    caller: str
    """The URI in From."""
    destination: str
    """The Request-URI."""
    source: str
    sip_call_id: str

    def text(self) -> str:
        return f"Call from {self.caller} to {self.destination}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForwarded(Event):
    """A leg was placed."""

    service = "appserver"
    type = "call.forwarded"
    leg: int
    target: str
    next_hop: str
    sip_call_id: str

    def text(self) -> str:
        return f"Leg {self.leg} to {self.target} by {self.next_hop}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallProgress(Event):
    """A leg answered provisionally (above 100), or with `leg` 0 a dialplan told the caller so."""

    service = "appserver"
    type = "call.progress"
    leg: int
    status: int
    reason: str

    def text(self) -> str:
        who = f"Leg {self.leg}" if self.leg else "To the caller"
        return f"{who}: {self.status} {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LegFailed(Event):
    """A leg ended without an answer; `status` 408 or 503 may be our own finding."""

    service = "appserver"
    type = "call.leg_failed"
    leg: int
    status: int
    reason: str

    def text(self) -> str:
        return f"Leg {self.leg} failed: {self.status} {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAnswered(Event):
    """A leg answered and the call is up."""

    service = "appserver"
    type = "call.answered"
    leg: int
    target: str

    def text(self) -> str:
        return f"Answered by {self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallChanged(Event):
    """A request inside the call was passed on: hold, resume, INFO, a refresh."""

    service = "appserver"
    type = "call.changed"
    method: str
    from_leg: int
    status: int
    """What the other end answered."""

    def text(self) -> str:
        return f"{self.method} from leg {self.from_leg} answered {self.status}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded(Event):
    """A call is over, answered or not."""

    service = "appserver"
    type = "call.ended"
    status: int
    """The final status that the caller got; 200 for an answered call."""
    reason: str
    """Why it ended: `caller hung up`, `callee hung up`, `cancelled`, `no answer`, `busy` …"""
    duration: float
    """Seconds from the answer to the end; 0 for one that was not answered."""

    def text(self) -> str:
        return f"Call ended: {self.reason}" + (
            f" after {self.duration:.0f} s" if self.duration else ""
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord(Event):
    """The call record: exactly one for each call, whatever its end. Times are Unix seconds."""

    service = "appserver"
    type = "call.record"
    direction: str
    caller: str
    caller_name: str
    destination: str
    source: str
    sip_call_id: str
    answered_by: str
    created_at: float
    progress_at: float | None
    progress_status: int | None
    answered_at: float | None
    ended_at: float
    status: int
    status_reason: str
    end_reason: str
    duration: float
    ring_duration: float
    legs: int

    def text(self) -> str:
        ends = f"{self.caller} → {self.destination}"
        return f"{ends}: {self.status}, {self.end_reason}, {self.duration:.1f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class SipTrace(Event):
    """A SIP message, in full but for credentials: while somebody watches its customer, and the
    last messages of a call that failed."""

    service = "appserver"
    type = "sip.trace"
    direction: str
    """`in` or `out`."""
    remote: str
    """Where it came from or went to, `udp:203.0.113.7:5060` where that is known."""
    sip_call_id: str
    at: float
    """Unix time in seconds when it passed."""
    message: str

    def text(self) -> str:
        first = self.message.partition("\r\n")[0]
        return f"{'From' if self.direction == 'in' else 'To'} {self.remote}: {first}"


ALL: Final = (
    CallStarted,
    CallForwarded,
    CallProgress,
    LegFailed,
    CallAnswered,
    CallChanged,
    CallEnded,
    CallRecord,
    SipTrace,
)
