"""What people and programs ask for over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tandem.bus.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOrdered(Event):
    """A program asked to start, transfer or join calls. Not `call.…`: it is no part of what
    an appserver tells of a call, and may be refused before there is one."""

    service = "provisioning"
    type = "callmanager.ordered"
    order: str
    """`webcallback`, `connect`, `blindtransfer`, `transfer` or `dualtransfer`."""
    destination: str
    source: str
    """The address of the program."""
    by: str
    """Whose key it showed; "": none, for a method that is open."""
    outcome: str
    """`begun`, or why not."""

    def text(self) -> str:
        who = f"{self.by} from {self.source}" if self.by else f"{self.source}, without a key,"
        return f"{who} asked for {self.order} {self.destination}".rstrip() + f": {self.outcome}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginFailed(Event):
    """Somebody gave a wrong web password."""

    service = "provisioning"
    type = "security.login_failed"
    username: str
    source: str

    def text(self) -> str:
        return f"Login as {self.username} from {self.source} refused"


ALL: Final = (CallOrdered, LoginFailed)
