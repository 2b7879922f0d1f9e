"""Customers: administrators make, list and remove them; a customer reads and names itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from services.provisioning.domain.entities import Customer
from services.provisioning.domain.errors import Conflict, Forbidden, NotFound
from services.provisioning.domain.rules import CUSTOMER_RULES, check_not_the_name, clean
from services.provisioning.domain.scope import Scope
from services.provisioning.handlers.notices import Notices
from services.provisioning.handlers.sessions import StoredSessions
from services.provisioning.ports import Clock, Page, PasswordHasher, Store, Work
from tandem.rpc.sessions import Principal

OWN_FIELDS: Final = frozenset({"name", "email", "timezone"})
"""What a customer may change of itself; its password it changes where the old one is asked for."""


class Customers:
    """The use cases."""

    def __init__(
        self,
        store: Store,
        notices: Notices,
        hasher: PasswordHasher,
        sessions: StoredSessions,
        clock: Clock,
    ) -> None:
        self._store = store
        self._notices = notices
        self._hasher = hasher
        self._sessions = sessions
        self._clock = clock

    async def page(self, caller: Principal, offset: int, count: int) -> Page[Customer]:
        """A piece of all. Raises Forbidden for others than administrators."""
        only_administrators(caller)
        async with self._store.read(Scope.of(caller)) as work:
            return await work.customers.page(offset, count)

    async def get(self, caller: Principal, username: str) -> Customer:
        """One. Raises NotFound."""
        async with self._store.read(Scope.of(caller)) as work:
            return await _existing(work, username)

    async def create(self, caller: Principal, values: Mapping[str, Any]) -> Customer:
        """A new one. Raises Forbidden, Invalid, Conflict."""
        only_administrators(caller)
        values = clean(CUSTOMER_RULES, values)
        check_not_the_name(values["username"], values["password"])
        kept = await self._hasher.hash(values.pop("password"))
        customer = Customer(password_hash=kept, created_at=self._clock(), **values)
        async with self._store.write(Scope.of(caller)) as work:
            await work.customers.insert(customer)
        self._notices.customer(customer.username)
        return customer

    async def change(self, caller: Principal, username: str, values: Mapping[str, Any]) -> Customer:
        """Change what `values` names. Raises NotFound, Forbidden, Invalid, Conflict."""
        values = clean(CUSTOMER_RULES, values)
        await self.get(caller, username)
        _only_own_fields(caller, values)
        if "password" in values:
            check_not_the_name(username, values["password"])
            values["password_hash"] = await self._hasher.hash(values.pop("password"))
        async with self._store.write(Scope.of(caller)) as work:
            customer = replace(await _existing(work, username), **values)
            await work.customers.update(customer.username, values)
            if caller.admin:  # others can't change who is one, nor see who else is
                await _keep_an_administrator(work)
            if customer.suspended or "password_hash" in values:
                await work.tokens.delete_of(customer.username)
        self._told(customer.username)
        return customer

    async def remove(self, caller: Principal, username: str) -> None:
        """Remove it and all that it owns. Raises NotFound, Forbidden, Conflict."""
        async with self._store.write(Scope.of(caller)) as work:
            customer = await _existing(work, username)
            only_administrators(caller)
            accounts = await work.accounts.owned_by(customer.username)
            providers = await work.providers.owned_by(customer.username)
            dialplans = await work.dialplans.names_of(customer.username)
            await work.bindings.remove_aors([account.aor for account in accounts])
            await _delete(work, customer)
            await _keep_an_administrator(work)
        self._notices.accounts(accounts)
        self._notices.providers(providers)
        self._notices.dialplans(customer.username, dialplans)
        self._told(customer.username)

    def _told(self, username: str) -> None:
        self._sessions.forget(username)
        self._notices.customer(username)


def only_administrators(caller: Principal) -> None:
    """Raises Forbidden for others."""
    if not caller.admin:
        raise Forbidden("Only an administrator may do this.")


async def _existing(work: Work, username: str) -> Customer:
    customer = await work.customers.get(username.lower())
    if customer is None:
        raise NotFound("There is no such customer.")
    return customer


def _only_own_fields(caller: Principal, values: Mapping[str, Any]) -> None:
    for field in values:
        if field == "password" and not caller.admin:
            raise Forbidden("Change your password at /me/password.", field)
        if field not in OWN_FIELDS and not caller.admin:
            raise Forbidden("Only an administrator may change this.", field)


async def _delete(work: Work, customer: Customer) -> None:
    try:
        await work.customers.delete(customer.username)
    except Conflict:
        raise Conflict("Give this customer's domains to others, or delete them, first.") from None


async def _keep_an_administrator(work: Work) -> None:
    if await work.customers.count_administrators() == 0:
        raise Conflict("This would leave no administrator who can log in.")
