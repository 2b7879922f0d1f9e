"""What people hear of a registration: that it is there, that it fails and why, that it was given
up. A renewal is no news, nor is a failure like the one before."""

from __future__ import annotations

from services.appserver.domain.registrations.message import Session
from services.appserver.domain.registrations.schedule import Outcome
from tandem.bus.ports import Publisher, Topic
from tandem.bus.provider_events import (
    ProviderRegistered,
    ProviderRegistrationFailed,
    ProviderUnregistered,
)
from tandem.rpc.programs import Provider


class News:
    """Of one registration."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.registered = False
        """Whether that it is registered has been told, by whichever node."""
        self._failing: tuple[int, str] | None = None

    def granted(self, provider: Provider, session: Session, seconds: float) -> None:
        """It is registered, or was renewed."""
        if self.registered and self._failing is None:
            return
        self.registered, self._failing = True, None
        self._publish(
            ProviderRegistered(
                owners=(provider.owner,),
                provider=provider.name,
                server=str(session.settings.registrar),
                contact=str(session.contact),
                expires=round(seconds),
            )
        )

    def failed(self, provider: Provider, outcome: Outcome, retry: float) -> None:
        """An attempt failed; the next comes in so many seconds, 0: none."""
        what = (outcome.status, outcome.reason)
        if what == self._failing:
            return
        self._failing = what
        self._publish(
            ProviderRegistrationFailed(
                owners=(provider.owner,),
                provider=provider.name,
                server=provider.register_server or provider.server,
                status=outcome.status,
                reason=outcome.reason,
                retry=round(retry),
            )
        )

    def ended(self, provider: Provider, session: Session, status: int) -> None:
        """Its binding was taken away; `status` other than 2xx: it will run out by itself."""
        self.registered, self._failing = False, None
        self._publish(
            ProviderUnregistered(
                owners=(provider.owner,),
                provider=provider.name,
                server=str(session.settings.registrar),
                contact=str(session.contact),
                status=status,
            )
        )

    def _publish(
        self, event: ProviderRegistered | ProviderRegistrationFailed | ProviderUnregistered
    ) -> None:
        self._publisher.publish(Topic.EVENTS, event)
