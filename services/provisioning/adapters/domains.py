"""Domains in SQL: a row of its own for each, and one in `domain_names` for each of its names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, delete, func, insert, select

from services.provisioning.adapters import tables
from services.provisioning.adapters.rows import ScopedRows
from services.provisioning.domain.entities import ServedDomain

_names = tables.domain_names


class SqlDomains(ScopedRows[ServedDomain]):
    """Implements `ports.DomainRows`."""

    table = tables.domains
    key = tables.domains.c.name
    owner = tables.domains.c.owner
    order = (tables.domains.c.position, tables.domains.c.name)
    ownerless_is_readable = True
    taken = ("name", "this domain or one of its aliases is served already, or is still in use")

    async def load(self, rows: Sequence[Row[Any]]) -> list[ServedDomain]:
        """With their aliases, by one more query."""
        statement = (
            select(_names)
            .where(_names.c.domain.in_([row.name for row in rows]), _names.c.place > 0)
            .order_by(_names.c.place)
        )
        found: dict[str, list[str]] = {row.name: [] for row in rows}
        for row in await self.connection.execute(statement) if rows else ():
            found[row.domain].append(row.name)
        return [ServedDomain(**row._mapping, aliases=tuple(found[row.name])) for row in rows]

    async def insert(self, row: ServedDomain) -> None:
        """Add, with its names. Raises Conflict if any of them is served."""
        await super().insert(row)
        await self._insert_names(row.name, [row.name, *row.aliases])

    def values(self, row: ServedDomain) -> dict[str, Any]:
        return {
            "name": row.name,
            "owner": row.owner,
            "position": row.position,
            "created_at": row.created_at,
        }

    async def update(self, key: str, changes: Mapping[str, Any]) -> None:
        """Change; aliases are replaced as a whole. Raises Conflict."""
        await super().update(key, changes)
        if "aliases" in changes and await self.get(key):
            await self.connection.execute(delete(_names).where(_names.c.domain == key))
            await self._insert_names(key, [key, *changes["aliases"]])

    def columns(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in changes.items() if name != "aliases"}

    async def _insert_names(self, domain: str, names: Sequence[str]) -> None:
        rows = [
            {"name": name, "domain": domain, "place": place} for place, name in enumerate(names)
        ]
        await self.change(insert(_names).values(rows))

    async def by_any_name(self, name: str) -> ServedDomain | None:
        """The domain with this name or alias."""
        canonical = select(_names.c.domain).where(_names.c.name == name).scalar_subquery()
        found = await self.all_where(self.key == canonical)
        return found[0] if found else None

    async def last_position(self) -> int:
        """The highest position in use, of all domains whatever the scope; -1 for none."""
        statement = select(func.coalesce(func.max(self.table.c.position), -1))
        return int((await self.connection.execute(statement)).scalar_one())
