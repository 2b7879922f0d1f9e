"""What customers set up for the call manager, in SQL: short lists, read and replaced as a whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import Column, Row, Table, insert

from services.provisioning.adapters import callmanager_tables as tables
from services.provisioning.adapters.rows import ScopedRows
from services.provisioning.domain.agi import AgiRule
from services.provisioning.domain.callmanager import Access
from services.provisioning.domain.errors import NotFound

T = TypeVar("T")


class SqlOwnedList(ScopedRows[T], Generic[T]):
    """Implements `ports.OwnedList`. Tuples of text are kept as JSON."""

    kind: ClassVar[type[Any]]
    taken = ("owner", "there is no such customer")

    async def of(self, owner: str) -> Sequence[T]:
        """A customer's, in order."""
        return await self.all_where(self.owner == owner)

    async def replace(self, owner: str, items: Sequence[T]) -> None:
        """Put this list in its place. Raises NotFound outside the scope, Conflict for no
        customer."""
        if self.scope.owner is not None and self.scope.owner != owner:
            raise NotFound("There is no such customer.", "owner")
        await self.delete_where(self.owner == owner)
        rows = [self.values(item) | {"place": place} for place, item in enumerate(items)]
        if rows:
            await self.change(insert(self.table).values(rows))

    def entity(self, row: Row[Any]) -> T:
        """The row without its place."""
        columns = row._mapping
        values = {field.name: columns[field.name] for field in fields(self.kind)}
        lists = {name for name, value in values.items() if name in _LISTS}
        made: T = self.kind(**values | {name: tuple(json.loads(values[name])) for name in lists})
        return made

    def values(self, row: T) -> dict[str, Any]:
        """The columns, but for the place."""
        entity: Any = row
        values = asdict(entity)
        lists = {name for name in values if name in _LISTS}
        return values | {name: json.dumps(values[name]) for name in lists}


_LISTS = frozenset({"networks", "destinations", "commands"})


class SqlAccess(SqlOwnedList[Access]):
    """Methods that are open."""

    kind = Access
    table: ClassVar[Table] = tables.call_manager_access
    key: ClassVar[Column[Any]] = tables.call_manager_access.c.place
    owner: ClassVar[Column[Any]] = tables.call_manager_access.c.owner
    order = (tables.call_manager_access.c.owner, tables.call_manager_access.c.place)


class SqlAgiRules(SqlOwnedList[AgiRule]):
    """AGI rules."""

    kind = AgiRule
    table: ClassVar[Table] = tables.agi_rules
    key: ClassVar[Column[Any]] = tables.agi_rules.c.place
    owner: ClassVar[Column[Any]] = tables.agi_rules.c.owner
    order = (tables.agi_rules.c.owner, tables.agi_rules.c.place)
