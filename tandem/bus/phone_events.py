"""What phones do outside of calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tandem.bus.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationAdded(Event):
    """A phone registered a contact that was not there."""

    service = "appserver"
    type = "registration.added"
    aor: str
    contact: str
    received: str
    expires: int
    user_agent: str

    def text(self) -> str:
        return f"{self.aor} registered from {self.received} for {self.expires} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationRefreshed(RegistrationAdded):
    """A phone renewed a contact."""

    type = "registration.refreshed"

    def text(self) -> str:
        return f"{self.aor} renewed from {self.received} for {self.expires} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationRemoved(Event):
    """A contact is gone; `reason` as in BindingRemoved."""

    service = "appserver"
    type = "registration.removed"
    aor: str
    contact: str
    received: str
    reason: str

    def text(self) -> str:
        return f"{self.aor} at {self.received} is no longer registered: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationFailed(Event):
    """A REGISTER was refused (a first challenge is not a refusal)."""

    service = "appserver"
    type = "registration.failed"
    aor: str
    source: str
    status: int
    reason: str

    def text(self) -> str:
        return f"REGISTER for {self.aor} from {self.source} refused: {self.status} {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationFailed(Event):
    """Wrong credentials on a request other than REGISTER."""

    service = "appserver"
    type = "security.authentication_failed"
    account: str
    source: str
    method: str
    reason: str

    def text(self) -> str:
        return f"{self.method} as {self.account} from {self.source} refused: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionAdded(Event):
    """A phone subscribed to the state of an account; that it renews this is not told."""

    service = "appserver"
    type = "subscription.added"
    package: str
    """`dialog`, `presence` or `message-summary`."""
    account: str
    """The account that is watched."""
    watcher: str
    """The account that subscribed."""
    source: str
    expires: int

    def text(self) -> str:
        return f"{self.watcher} at {self.source} watches {self.account} ({self.package})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionEnded(Event):
    """A subscription is over."""

    service = "appserver"
    type = "subscription.ended"
    package: str
    account: str
    watcher: str
    source: str
    reason: str
    """`unsubscribed`, `expired`, `no answer to NOTIFY`, `flow closed`, `account removed` …"""

    def text(self) -> str:
        who = f"{self.watcher} at {self.source}"
        return f"{who} no longer watches {self.account} ({self.package}): {self.reason}"


ALL: Final = (
    RegistrationAdded,
    RegistrationRefreshed,
    RegistrationRemoved,
    RegistrationFailed,
    AuthenticationFailed,
    SubscriptionAdded,
    SubscriptionEnded,
)
