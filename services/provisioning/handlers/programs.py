"""What appservers ask about dialplans, providers and values: implements
`tandem.rpc.programs.Programs`."""

from __future__ import annotations

from collections.abc import Sequence

from services.provisioning.domain.programs import StoredValue
from services.provisioning.domain.rules import MAX_NAME, stored_value, value_key
from services.provisioning.domain.scope import EVERYTHING
from services.provisioning.handlers.leases import Leases
from services.provisioning.handlers.sealing import Sealing
from services.provisioning.handlers.values import MAX_KEYS
from services.provisioning.ports import Clock, Store
from tandem.dialplan.script import Dialplan
from tandem.rpc.programs import Customer, Holding, Provider, RegistrationReport


class StoredPrograms:
    """Answers from the database; raises DirectoryUnavailable when that is away."""

    def __init__(self, store: Store, sealing: Sealing, leases: Leases, clock: Clock) -> None:
        self._store = store
        self._sealing = sealing
        self._leases = leases
        self._clock = clock

    async def dialplan(self, owner: str, name: str) -> Dialplan | None:
        """A customer's dialplan, in the version that is published."""
        if len(name) > MAX_NAME or not name.isprintable():
            return None
        async with self._store.read(EVERYTHING) as work:
            return await work.dialplans.for_switch(owner, name)

    async def customer(self, username: str) -> Customer | None:
        """What a customer may."""
        async with self._store.read(EVERYTHING) as work:
            found = await work.customers.get(username)
        return None if found is None else Customer(found.username, found.max_calls)

    async def providers(self, owner: str) -> list[Provider]:
        """A customer's providers, by name."""
        async with self._store.read(EVERYTHING) as work:
            customer = await work.customers.get(owner)
            found = await work.providers.owned_by(owner) if customer else ()
        enabled = customer is not None and not customer.suspended
        return [self._sealing.provider(one, owner_enabled=enabled)[0] for one in found]

    async def lease(
        self,
        node: str,
        reports: Sequence[RegistrationReport],
        *,
        leaving: bool = False,
        known: str = "",
    ) -> Holding:
        """Renew leases, tell how registrations stand."""
        return await self._leases.lease(node, reports, leaving=leaving, known=known)

    async def read_value(self, owner: str, key: str) -> str | None:
        """A value of the customer's store."""
        try:
            key = value_key(key)
        except ValueError:
            return None
        async with self._store.read(EVERYTHING) as work:
            found = await work.values.read(owner, key)
        return None if found is None else found.value

    async def write_value(self, owner: str, key: str, value: str | None) -> bool:
        """Set or remove a value. Raises ValueError for what can't be stored."""
        key = value_key(key)
        async with self._store.write(EVERYTHING) as work:
            if value is None:
                return await work.values.remove(owner, key)
            new = StoredValue(
                owner=owner, key=key, value=stored_value(value), updated_at=self._clock()
            )
            if await work.customers.get(owner) is None:
                return False
            return await work.values.write(new, limit=MAX_KEYS)

    async def value_keys(self, owner: str) -> list[str]:
        """The keys in use."""
        async with self._store.read(EVERYTHING) as work:
            return list(await work.values.keys(owner))
