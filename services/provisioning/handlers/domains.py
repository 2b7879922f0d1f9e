"""Domains: administrators make, change and remove them; all read those they may use.

A domain's name is the digest realm of its accounts and never changes; its aliases do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from services.provisioning.domain.entities import ServedDomain
from services.provisioning.domain.errors import Conflict, NotFound, invalid
from services.provisioning.domain.rules import DOMAIN_RULES, MAX_DOMAIN, clean, domain_name
from services.provisioning.domain.scope import EVERYTHING, Scope
from services.provisioning.handlers.customers import only_administrators
from services.provisioning.handlers.notices import Notices
from services.provisioning.ports import Clock, Page, Store, Work
from tandem.rpc.sessions import Principal

MANY = 10_000
"""Domains that are put in order in one go."""


class Domains:
    """The use cases."""

    def __init__(self, store: Store, notices: Notices, clock: Clock) -> None:
        self._store = store
        self._notices = notices
        self._clock = clock

    async def page(self, caller: Principal, offset: int, count: int) -> Page[ServedDomain]:
        """A piece of those that the caller may use, the default one first."""
        async with self._store.read(Scope.of(caller)) as work:
            return await work.domains.page(offset, count)

    async def get(self, caller: Principal, name: str) -> ServedDomain:
        """One by its canonical name. Raises NotFound."""
        async with self._store.read(Scope.of(caller)) as work:
            return await _existing(work, name)

    async def create(self, caller: Principal, values: Mapping[str, Any]) -> ServedDomain:
        """A new one. Raises Forbidden, Invalid, Conflict."""
        only_administrators(caller)
        values = clean(DOMAIN_RULES, values)
        first = values.pop("default", False)
        values["aliases"] = _others(values["name"], values.get("aliases", ()))
        async with self._store.write(Scope.of(caller)) as work:
            await _check_owner(work, values.get("owner"))
            domain = await self._add(work, values)
            if first:
                await _order(work, [domain.name])
        self._notices.domain(domain.name)
        return domain

    async def change(self, caller: Principal, name: str, values: Mapping[str, Any]) -> ServedDomain:
        """Change aliases, owner, or make it the default. Raises as `create`, and NotFound."""
        values = clean(DOMAIN_RULES, values)
        first = values.pop("default", False)
        async with self._store.write(Scope.of(caller)) as work:
            old = await _existing(work, name)
            only_administrators(caller)
            if "aliases" in values:
                values["aliases"] = _others(old.name, values["aliases"])
            await _check_owner(work, values.get("owner"))
            await work.domains.update(old.name, values)
            if first:
                await _order(work, [old.name])
        self._notices.domain(old.name)
        return replace(old, **values)

    async def remove(self, caller: Principal, name: str) -> None:
        """Remove one that has no accounts. Raises Forbidden, NotFound, Conflict."""
        async with self._store.write(Scope.of(caller)) as work:
            domain = await _existing(work, name)
            only_administrators(caller)
            accounts = await work.accounts.count_in_domain(domain.name)
            if accounts:
                raise Conflict(f"{accounts} SIP account(s) are in this domain; remove them first.")
            contacts = await work.providers.count_in_domain(domain.name)
            if contacts:
                raise Conflict(f"{contacts} provider(s) call to this domain; change them first.")
            await work.domains.delete(domain.name)
        self._notices.domain(domain.name)

    async def ensure(self, names: Iterable[str]) -> None:
        """Have these served, and the first of them be the default. Raises Invalid."""
        wanted = [clean({"domains": domain_name}, {"domains": name})["domains"] for name in names]
        made: list[str] = []
        async with self._store.write(EVERYTHING) as work:
            for name in wanted:
                if await work.domains.by_any_name(name) is None:
                    made.append((await self._add(work, {"name": name})).name)
            await _order(work, wanted)
        for name in made:
            self._notices.domain(name)

    async def _add(self, work: Work, values: Mapping[str, Any]) -> ServedDomain:
        position = await work.domains.last_position() + 1
        domain = ServedDomain(position=position, created_at=self._clock(), **values)
        await work.domains.insert(domain)
        return domain


async def _existing(work: Work, name: str) -> ServedDomain:
    domain = await work.domains.get(name.lower()[:MAX_DOMAIN])
    if domain is None:
        raise NotFound("There is no such domain.")
    return domain


async def _check_owner(work: Work, owner: str | None) -> None:
    if owner is not None and await work.customers.get(owner) is None:
        raise invalid("owner", "there is no such customer")


async def _order(work: Work, first: Iterable[str]) -> None:
    """Renumber: `first`, by any of their names, then the others as they were."""
    known = (await work.domains.page(0, MANY)).items
    place = {name: at for at, name in reversed(list(enumerate(first)))}
    ranked = sorted(
        known, key=lambda d: min(place.get(name, MANY) for name in (d.name, *d.aliases))
    )
    for position, domain in enumerate(ranked):
        if domain.position != position:
            await work.domains.update(domain.name, {"position": position})


def _others(name: str, aliases: Iterable[str]) -> tuple[str, ...]:
    return tuple(alias for alias in aliases if alias != name)
