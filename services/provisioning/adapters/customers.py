"""Customers, tokens and API keys in SQL."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, delete, false, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.provisioning.adapters import tables
from services.provisioning.adapters.rows import ScopedRows
from services.provisioning.domain.entities import ApiKey, Customer, Token
from tandem.rpc.sessions import Principal


class SqlCustomers(ScopedRows[Customer]):
    """Implements `ports.CustomerRows`: a customer is its own owner."""

    table = tables.customers
    key = owner = tables.customers.c.username
    order = (tables.customers.c.username,)
    taken = ("username", "this user name is taken")

    def entity(self, row: Row[Any]) -> Customer:
        return Customer(**row._mapping)

    def values(self, row: Customer) -> dict[str, Any]:
        return asdict(row)

    async def count_administrators(self) -> int:
        """Administrators who are not suspended."""
        columns = self.table.c
        return await self.count_where(columns.admin & (columns.suspended == false()))


class SqlApiKeys(ScopedRows[ApiKey]):
    """Implements `ports.Rows[ApiKey]`."""

    table = tables.api_keys
    key = tables.api_keys.c.id
    owner = tables.api_keys.c.owner
    order = (tables.api_keys.c.created_at, tables.api_keys.c.id)

    def entity(self, row: Row[Any]) -> ApiKey:
        return ApiKey(**row._mapping)

    def values(self, row: ApiKey) -> dict[str, Any]:
        return asdict(row)


class SqlTokens:
    """Implements `ports.TokenRows`. A secret is its own scope: whoever has it may use it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def holder(self, secret_hash: str, now: float) -> Principal | None:
        """The customer behind a token or a key."""
        for table in (tables.tokens, tables.api_keys):
            customer = tables.customers.c
            statement = (
                select(customer.username, customer.admin)
                .select_from(table.join(tables.customers))
                .where(table.c.secret_hash == secret_hash, table.c.expires_at > now)
                .where(customer.suspended == false())
            )
            row = (await self._connection.execute(statement)).one_or_none()
            if row is not None:
                return Principal(row.username, row.admin)
        return None

    async def insert(self, token: Token) -> None:
        """Add."""
        await self._connection.execute(insert(tables.tokens).values(asdict(token)))

    async def delete(self, secret_hash: str) -> None:
        """End one session."""
        table = tables.tokens
        await self._connection.execute(delete(table).where(table.c.secret_hash == secret_hash))

    async def delete_of(self, owner: str, *, but: str = "") -> None:
        """End all sessions of a customer, but perhaps one."""
        table = tables.tokens
        statement = delete(table).where(table.c.owner == owner, table.c.secret_hash != but)
        await self._connection.execute(statement)

    async def purge(self, now: float) -> None:
        """Delete what expired."""
        for table in (tables.tokens, tables.api_keys):
            await self._connection.execute(delete(table).where(table.c.expires_at <= now))
