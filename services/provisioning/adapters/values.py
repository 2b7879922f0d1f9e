"""The customers' key/value stores in SQL."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, delete, select, update

from services.provisioning.adapters import tables
from services.provisioning.adapters.rows import ScopedRows
from services.provisioning.domain.programs import StoredValue


class SqlValues(ScopedRows[StoredValue]):
    """Implements `ports.ValueRows`. A key means one row for each owner, so all but the list names
    the owner."""

    table = tables.customer_values
    key = tables.customer_values.c.key
    owner = tables.customer_values.c.owner
    order = (tables.customer_values.c.owner, tables.customer_values.c.key)

    def entity(self, row: Row[Any]) -> StoredValue:
        return StoredValue(**row._mapping)

    def values(self, row: StoredValue) -> dict[str, Any]:
        return asdict(row)

    async def read(self, owner: str, key: str) -> StoredValue | None:
        """One."""
        found = await self.all_where((self.owner == owner) & (self.key == key))
        return found[0] if found else None

    async def write(self, value: StoredValue, *, limit: int) -> bool:
        """Add or replace; False when the owner has `limit` keys already."""
        where = (self.owner == value.owner, self.key == value.key, self.writable())
        columns = {"value": value.value, "updated_at": value.updated_at}
        if await self.read(value.owner, value.key) is not None:
            await self.connection.execute(update(self.table).where(*where).values(columns))
            return True
        if len(await self.keys(value.owner)) >= limit:
            return False
        await self.insert(value)
        return True

    async def remove(self, owner: str, key: str) -> bool:
        """Whether it was there."""
        where = (self.owner == owner, self.key == key, self.writable())
        return bool((await self.connection.execute(delete(self.table).where(*where))).rowcount)

    async def keys(self, owner: str) -> list[str]:
        """The keys in use."""
        statement = select(self.key).where(self.owner == owner, self.readable())
        return list((await self.connection.execute(statement.order_by(self.key))).scalars())
