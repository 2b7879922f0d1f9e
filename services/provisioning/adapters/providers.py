"""Providers in SQL. One that was deleted is a row with `removed_at` and a name that none can have:
it is out of everybody's sight but the leases'."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, select

from services.provisioning.adapters import tables
from services.provisioning.adapters.rows import ScopedRows
from services.provisioning.domain.programs import CallbackOutline, StoredProvider
from tandem.rpc.directory import Account

_PLAIN: Final = (
    "id", "owner", "name", "server", "username", "auth_username", "realm", "outbound_proxy",
    "from_header", "in_dialplan", "register", "register_contact", "register_server",
    "register_expires", "enabled", "sealed", "has_password", "removed_at", "created_at",
    "updated_at",
)  # fmt: skip
_TUPLES: Final = ("header_names", "field_names", "users")


class SqlProviders(ScopedRows[StoredProvider]):
    """Implements `ports.ProviderRows`."""

    table = tables.providers
    key = tables.providers.c.id
    owner = tables.providers.c.owner
    order = (tables.providers.c.owner, tables.providers.c.name_key)
    taken = ("name", "there is a provider with this name already")

    def writable(self) -> ColumnElement[bool]:
        """What was deleted is not there."""
        return and_(super().writable(), self.table.c.removed_at.is_(None))

    def entity(self, row: Row[Any]) -> StoredProvider:
        return provider_of(row)

    def values(self, row: StoredProvider) -> dict[str, Any]:
        plain = {name: getattr(row, name) for name in _PLAIN}
        return self.columns(
            plain | {"custom_headers": row.custom_headers, "callback": row.callback}
        )

    def columns(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        columns = dict(changes)
        if "name" in columns:
            columns["name_key"] = columns["name"].lower()
        if "custom_headers" in columns:
            columns["custom_headers"] = json.dumps(columns["custom_headers"])
        if "callback" in columns:
            form = columns["callback"]
            columns["callback"] = json.dumps(asdict(form)) if form else ""
        if "register_contact" in columns:
            user, _, domain = columns["register_contact"].rpartition("@")
            columns |= {"contact_key": user.lower(), "contact_domain": domain.lower()}
        return columns

    async def mark_removed(self, key: str, now: float) -> None:
        """Delete one for everybody's eyes; its name is free."""
        await self.update(key, {"removed_at": now, "name_key": f"/{key}", "register": False})

    async def owned_by(self, owner: str) -> list[StoredProvider]:
        """All of one customer's."""
        return await self.all_where(self.owner == owner)

    async def count_of(self, owner: str) -> int:
        """How many a customer has."""
        return await self.count_where(self.owner == owner)

    async def count_in_domain(self, domain: str) -> int:
        """How many have their contact in a domain."""
        return await self.count_where(self.table.c.contact_domain == domain)

    async def is_anothers_contact(self, username: str, domain: str, owner: str) -> bool:
        """Whether this AOR is the register contact of somebody else than `owner`, in scope or
        not."""
        columns = self.table.c
        statement = select(columns.id).where(
            columns.contact_key == username.lower(),
            columns.contact_domain == domain.lower(),
            columns.owner != owner,
            columns.removed_at.is_(None),
        )
        return (await self.connection.execute(statement)).first() is not None

    async def contact_for_switch(self, username: str, domain: str) -> Account | None:
        """The account that calls to a register contact reach: of the oldest enabled provider that
        has it."""
        columns, customer = self.table.c, tables.customers.c
        statement = (
            select(self.table, customer.suspended, customer.max_calls)
            .select_from(self.table.join(tables.customers))
            .where(
                columns.contact_key == username.lower(), columns.contact_domain == domain.lower()
            )
            .where(columns.enabled, self.readable())
            .order_by(columns.created_at, columns.id)
            .limit(1)
        )
        row = (await self.connection.execute(statement)).one_or_none()
        return None if row is None else _contact(row)


def provider_of(row: Row[Any]) -> StoredProvider:
    """A row of `providers` to what it is."""
    plain = {name: getattr(row, name) for name in _PLAIN}
    return StoredProvider(
        custom_headers=tuple(json.loads(row.custom_headers)),
        callback=_outline(row.callback),
        **plain,
    )


def _outline(text: str) -> CallbackOutline | None:
    if not text:
        return None
    values = json.loads(text)
    return CallbackOutline(**values | {name: tuple(values[name]) for name in _TUPLES})


def _contact(row: Row[Any]) -> Account:
    user, _, domain = row.register_contact.rpartition("@")
    return Account(
        id=row.id,
        owner=row.owner,
        username=user,
        domain=domain,
        ha1={},
        owner_enabled=not row.suspended,
        in_dialplan=row.in_dialplan,
        max_calls=row.max_calls,
        contact_only=True,
    )
