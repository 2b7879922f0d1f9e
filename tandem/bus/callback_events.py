"""Calls that wait for a provider to call back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tandem.bus.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackWaiting(Event):
    """A call waits for a provider to call back."""

    service = "appserver"
    type = "call.callback_waiting"
    hint: str
    users: tuple[str, ...]
    pattern: str
    seconds: float
    """How long it waits at most."""

    def text(self) -> str:
        return f"Waiting {self.seconds:.0f} s for a call to {', '.join(self.users)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackTriggered(Event):
    """The provider was asked to call back."""

    service = "appserver"
    type = "call.callback_triggered"
    host: str
    """Whom we asked."""
    status: int
    """The HTTP status; 0: none came."""
    silent_proxies: tuple[str, ...]
    """Proxies that had not acknowledged the hint by then."""
    acknowledged_ms: float
    """Milliseconds from publishing the hint to the last acknowledgement that was waited for."""

    def text(self) -> str:
        silent = f"; silent: {', '.join(self.silent_proxies)}" if self.silent_proxies else ""
        return f"Asked {self.host} to call back: {self.status or 'no answer'}{silent}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackMatched(Event):
    """The call that was waited for came, and is joined to the caller."""

    service = "appserver"
    type = "call.callback_matched"
    hint: str
    caller: str
    sip_call_id: str
    waited: float
    """Seconds from the trigger to the match."""

    def text(self) -> str:
        return f"Called back by {self.caller} after {self.waited:.1f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackFailed(Event):
    """The wait for a callback ended without one."""

    service = "appserver"
    type = "call.callback_failed"
    reason: str

    def text(self) -> str:
        return f"No callback: {self.reason}"


ALL: Final = (CallbackWaiting, CallbackTriggered, CallbackMatched, CallbackFailed)
