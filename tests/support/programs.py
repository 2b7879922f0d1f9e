"""What provisioning would answer about dialplans, providers and leases, from dicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tandem.dialplan.script import Dialplan
from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.programs import (
    Customer,
    Holding,
    Lease,
    Programs,
    Provider,
    RegistrationReport,
)

LEASE_SECONDS = 6.0


class FakePrograms(Programs):
    """Implements `Programs`; `away` makes it unavailable, `asked` counts the questions. Every
    node that asks gets a lease on every provider that is to be registered at."""

    def __init__(self, *made: Dialplan | Provider) -> None:
        self.dialplans: list[Dialplan] = []
        self.known: list[Provider] = []
        self.add(*made)
        self.customers: dict[str, Customer] = {}
        self.values: dict[tuple[str, str], str] = {}
        self.reports: list[RegistrationReport] = []
        self.giving_up: dict[str, Lease] = {}
        """Leases of 0 seconds by their provider's id, until they are reported released."""
        self.max_keys = 100
        self.away = False
        self.asked = 0
        self.unchanged = 0
        """Questions for leases that were answered with nothing new."""
        self.left = False
        """Whether the last question for leases was a good-bye."""

    def add(self, *made: Dialplan | Provider) -> None:
        """Know these, too."""
        self.dialplans += [one for one in made if isinstance(one, Dialplan)]
        self.known += [one for one in made if isinstance(one, Provider)]

    async def dialplan(self, owner: str, name: str) -> Dialplan | None:
        self._ask()
        found = (d for d in self.dialplans if (d.owner, d.name.lower()) == (owner, name.lower()))
        return next(found, None)

    async def customer(self, username: str) -> Customer | None:
        self._ask()
        return self.customers.get(username)

    async def providers(self, owner: str) -> list[Provider]:
        self._ask()
        return [provider for provider in self.known if provider.owner == owner]

    async def lease(
        self,
        node: str,
        reports: Sequence[RegistrationReport],
        *,
        leaving: bool = False,
        known: str = "",
    ) -> Holding:
        self._ask()
        self.reports += reports
        self.left = leaving
        for report in reports:
            if report.released:
                self._release(report.provider)
            if report.disable:
                self._disable(report.provider)
        if leaving:
            return Holding()
        held = [
            Lease(provider=provider, seconds=LEASE_SECONDS, last=self._last(provider.id))
            for provider in self.known
            if provider.register and provider.enabled and provider.owner_enabled
            if provider.id not in self.giving_up
        ]
        held += self.giving_up.values()
        version = str(hash(tuple((one.provider, one.seconds, one.moved) for one in held)))
        if version == known:
            self.unchanged += 1
            return Holding(version=version, unchanged=True)
        return Holding(leases=held, version=version)

    async def read_value(self, owner: str, key: str) -> str | None:
        self._ask()
        return self.values.get((owner, key))

    async def write_value(self, owner: str, key: str, value: str | None) -> bool:
        self._ask()
        if value is None:
            return self.values.pop((owner, key), None) is not None
        if (owner, key) not in self.values and len(await self.value_keys(owner)) >= self.max_keys:
            return False
        self.values[owner, key] = value
        return True

    async def value_keys(self, owner: str) -> list[str]:
        self._ask()
        return sorted(key for whose, key in self.values if whose == owner)

    def _ask(self) -> None:
        self.asked += 1
        if self.away:
            raise DirectoryUnavailable("away")

    def put(self, provider: Provider) -> None:
        """Add a provider, or change the one with its id."""
        self.known = [one for one in self.known if one.id != provider.id] + [provider]

    def give_up(self, provider: str, *, moved: bool = False) -> None:
        """Have this provider's lease given up by who holds it, as disabled unless it moved."""
        (found,) = (one for one in self.known if one.id == provider)
        if not moved:
            found = replace(found, enabled=False)
            self.put(found)
        self.giving_up[provider] = Lease(
            provider=found, seconds=0, moved=moved, last=self._last(provider)
        )

    def _release(self, provider: str) -> None:
        lease = self.giving_up.pop(provider, None)
        if lease is not None and lease.moved:
            self.known = [one for one in self.known if one.id != provider]

    def _disable(self, provider: str) -> None:
        for one in self.known:
            if one.id == provider:
                self.put(replace(one, register=False))

    def _last(self, provider: str) -> RegistrationReport | None:
        told = [report for report in self.reports if report.provider == provider]
        return told[-1] if told else None
