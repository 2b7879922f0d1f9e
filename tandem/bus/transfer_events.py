"""What transfers tell: which call became which, or why not."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.bus.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferStarted(Event):
    """A leg is to leave its call for somebody else: he is rung in a new call."""

    service = "appserver"
    type = "transfer.started"
    new_call_id: str
    by: str
    """`http`, `refer`, `replaces` or `dialplan`."""
    leg: int
    """The leg that leaves: 0 the caller's."""
    destination: str

    def text(self) -> str:
        return f"Leg {self.leg} is to be transferred to {self.destination}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferCompleted(Event):
    """The far end of the leg that left talks to the new party, in the new call."""

    service = "appserver"
    type = "transfer.completed"
    new_call_id: str

    def text(self) -> str:
        return f"Transferred: goes on as call {self.new_call_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferFailed(Event):
    """Nothing came of a transfer: the call is as it was, unless who transferred has hung up."""

    service = "appserver"
    type = "transfer.failed"
    new_call_id: str
    status: int
    reason: str

    def text(self) -> str:
        return f"Not transferred: {self.status} {self.reason}"
