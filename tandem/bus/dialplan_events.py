"""What runs of dialplans tell: why a call went where it went, and where a script is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tandem.bus.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class DialplanStarted(Event):
    """A dialplan runs for a call."""

    service = "appserver"
    type = "dialplan.started"
    dialplan: str
    version: int
    account: str
    direction: str

    def text(self) -> str:
        return f"Dialplan {self.dialplan} (version {self.version}) runs for {self.account}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DialplanLog(Event):
    """A line that a dialplan logged or printed."""

    service = "appserver"
    type = "dialplan.log"
    said: str

    def text(self) -> str:
        return self.said


@dataclass(frozen=True, slots=True, kw_only=True)
class DialplanDialled(Event):
    """A dialplan dials; what its legs do, `call.…` events tell."""

    service = "appserver"
    type = "dialplan.dialled"
    destination: str
    ring_seconds: float

    def text(self) -> str:
        return f"Dials {self.destination}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DialplanLegFailed(Event):
    """A leg that a dialplan dials leads nowhere, so that nothing was rung: no such provider, no
    such account, no phone, no address."""

    service = "appserver"
    type = "dialplan.leg_failed"
    leg: str
    """As written in the dial string, filled in, without options."""
    status: int
    reason: str

    def text(self) -> str:
        return f"{self.leg} leads nowhere: {self.status} {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DialplanAsked(Event):
    """A dialplan asked others, or waited for them: a web server, ENUM, the mail server, a provider,
    a signal."""

    service = "appserver"
    type = "dialplan.asked"
    what: str
    target: str
    result: str

    def text(self) -> str:
        return f"Asked {self.target} ({self.what}): {self.result}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DialplanFailed(Event):
    """A dialplan is missing or wrong, or used more than it may."""

    service = "appserver"
    type = "dialplan.failed"
    dialplan: str
    version: int
    message: str
    line: int
    column: int
    limit: str

    def text(self) -> str:
        place = f", line {self.line}" if self.line else ""
        return f"Dialplan {self.dialplan}{place}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DialplanEnded(Event):
    """The run of a dialplan is over."""

    service = "appserver"
    type = "dialplan.ended"
    dialplan: str
    reason: str
    status: int
    seconds: float
    uses: int

    def text(self) -> str:
        return f"Dialplan {self.dialplan} ended: {self.reason}"


ALL: Final = (
    DialplanStarted,
    DialplanLog,
    DialplanDialled,
    DialplanLegFailed,
    DialplanAsked,
    DialplanFailed,
    DialplanEnded,
)
