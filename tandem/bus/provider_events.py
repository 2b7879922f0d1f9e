"""What becomes of registrations at providers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tandem.bus.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRegistered(Event):
    """We are registered at a provider; renewals are not told."""

    service = "appserver"
    type = "provider.registered"
    provider: str
    """Its name."""
    server: str
    contact: str
    expires: int

    def text(self) -> str:
        return f"Registered at {self.provider} ({self.server}) for {self.expires} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRegistrationFailed(Event):
    """A registration at a provider failed, in another way than before."""

    service = "appserver"
    type = "provider.registration_failed"
    provider: str
    server: str
    status: int
    """The final status; 0: none came."""
    reason: str
    retry: int
    """Seconds until the next try; 0: there is none."""

    def text(self) -> str:
        then = f"next try in {self.retry} s" if self.retry else "given up"
        return f"Not registered at {self.provider} ({self.server}): {self.reason}; {then}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderUnregistered(Event):
    """A registration at a provider was given up."""

    service = "appserver"
    type = "provider.unregistered"
    provider: str
    server: str
    contact: str
    status: int
    """What the registrar answered; where that is no 2xx, it runs out there by itself."""

    def text(self) -> str:
        return f"No longer registered at {self.provider} ({self.server})"


ALL: Final = (ProviderRegistered, ProviderRegistrationFailed, ProviderUnregistered)
