"""What appservers ask: implements `tandem.rpc.directory.Directory`."""

from __future__ import annotations

from services.provisioning.domain.scope import EVERYTHING
from services.provisioning.handlers.domains import MANY
from services.provisioning.handlers.location import LocationCopy
from services.provisioning.ports import Store
from tandem.bus.location import Binding
from tandem.rpc.directory import Account, Domain


class StoredDirectory:
    """Answers from the database; raises DirectoryUnavailable when that is away."""

    def __init__(self, store: Store, location: LocationCopy) -> None:
        self._store = store
        self._location = location

    async def account(self, username: str, domain: str) -> Account | None:
        """The account of this user name, whatever its case, in this canonical domain; failing
        that the one that a provider's register contact makes."""
        async with self._store.read(EVERYTHING) as work:
            found = await work.accounts.for_switch(username, domain)
            return found or await work.providers.contact_for_switch(username, domain)

    async def domains(self) -> list[Domain]:
        """All domains, the default one first."""
        async with self._store.read(EVERYTHING) as work:
            page = await work.domains.page(0, MANY)
        return [Domain(domain.name, domain.aliases) for domain in page.items]

    async def bindings(self) -> list[Binding]:
        """All bindings that have not expired."""
        return await self._location.live()
