"""What provisioning tells the other services, after the commit."""

from __future__ import annotations

from collections.abc import Iterable

from services.provisioning.domain.entities import SipAccount
from services.provisioning.domain.programs import StoredProvider
from tandem.bus.ports import Publisher, Topic
from tandem.rpc.directory import DirectoryChanged


class Notices:
    """Publishes `DirectoryChanged`."""

    def __init__(self, bus: Publisher) -> None:
        self._bus = bus

    def accounts(self, changed: Iterable[SipAccount]) -> None:
        """These accounts (with their old names too, if they changed) are not as they were."""
        for aor in dict.fromkeys(account.aor for account in changed):
            self._bus.publish(Topic.DIRECTORY, DirectoryChanged("sip-account", aor))

    def customer(self, username: str) -> None:
        """So is this customer."""
        self._bus.publish(Topic.DIRECTORY, DirectoryChanged("customer", username))

    def domain(self, name: str) -> None:
        """So is this domain."""
        self._bus.publish(Topic.DIRECTORY, DirectoryChanged("domain", name))

    def dialplans(self, owner: str, names: Iterable[str]) -> None:
        """So are a customer's dialplans of these names."""
        for name in names:
            self._bus.publish(Topic.DIRECTORY, DirectoryChanged("dialplan", f"{owner}/{name}"))

    def providers(self, changed: Iterable[StoredProvider]) -> None:
        """These providers (with their old names too, if they changed) are not as they were, and
        nor are the accounts that their contacts make."""
        contacts: dict[str, None] = {}
        names: dict[str, None] = {}
        for provider in changed:
            names[f"{provider.owner}/{provider.name}"] = None
            if provider.register_contact:
                contacts[provider.register_contact.lower()] = None
        for name in names:
            self._bus.publish(Topic.DIRECTORY, DirectoryChanged("provider", name))
        for aor in contacts:
            self._bus.publish(Topic.DIRECTORY, DirectoryChanged("sip-account", aor))
