"""What transfers tell: which call became which, or why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tandem.bus.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferStarted(Event):
    """A leg is to leave its call for somebody else: he is rung in a new call."""

    service = "appserver"
    type = "transfer.started"
    new_call_id: str
    kind: str
    """`blind`, `attended` or `dual`: the last two join the far ends of two calls, or the new party
    does it itself."""
    by: str
    """`http`, `refer` or `dialplan`."""
    leg: int
    """The leg that leaves: 0 the caller's."""
    destination: str

    def text(self) -> str:
        return f"Leg {self.leg} is to be transferred to {self.destination}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRefused(Event):
    """A transfer was not begun: the call is as it was."""

    service = "appserver"
    type = "transfer.refused"
    kind: str
    by: str
    """Both as in `TransferStarted`."""
    status: int
    """What the REFER was answered; 0 if it was none."""
    reason: str

    def text(self) -> str:
        status = f"{self.status} " if self.status else ""
        return f"Transfer refused: {status}{self.reason}"


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


ALL: Final = (TransferStarted, TransferRefused, TransferCompleted, TransferFailed)
