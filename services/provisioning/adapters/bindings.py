"""The durable copy of the bindings in SQL.

A binding is the same as another when AOR, instance and reg-id are (RFC 5626 §6), or without an
instance when AOR and contact are. Of two the one that was registered last stays, so batches may
come twice or late. No upsert statement is portable: what is there is read first, in the same
transaction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import Row, String, and_, bindparam, delete, insert, select

from services.provisioning.adapters import tables
from services.provisioning.adapters.rows import ScopedRows
from services.provisioning.ports import Page
from tandem.bus.location import Binding

CHUNK: Final = 500
"""Keys in one statement: databases limit the parameters of one (SQLite's oldest limit is 999)."""

_NAMES: Final = tuple(field.name for field in fields(Binding))
_LIMITS: Final = {
    column.name: column.type.length
    for column in tables.bindings.c
    if isinstance(column.type, String) and column.type.length
}
_T = TypeVar("_T")


class SqlBindings(ScopedRows[Binding]):
    """Implements `ports.BindingRows`."""

    table = tables.bindings
    key = tables.bindings.c.key
    owner = tables.bindings.c.owner
    order = (tables.bindings.c.aor, tables.bindings.c.registered_at, tables.bindings.c.key)

    def entity(self, row: Row[Any]) -> Binding:
        columns = {name: value for name, value in row._mapping.items() if name != "key"}
        return Binding(**(columns | {"path": tuple(json.loads(row.path))}))

    def values(self, row: Binding) -> dict[str, Any]:
        columns = {name: getattr(row, name) for name in _NAMES}
        columns |= {"key": key_of(row), "path": json.dumps(row.path)}
        return {
            name: value[: _LIMITS[name]] if name in _LIMITS else value
            for name, value in columns.items()
        }

    async def page(
        self, offset: int, count: int, now: float | None = None, aor: str = ""
    ) -> Page[Binding]:
        """A piece of those that have not expired, of all or of one AOR."""
        condition = self.table.c.expires_at > (now or 0.0)
        if aor:
            condition = and_(condition, self.table.c.aor == aor)
        return await self.page_where(condition, offset, count)

    async def after(self, last: str, count: int, now: float) -> tuple[Sequence[Binding], str]:
        """Up to `count` of those that have not expired, in an order of no meaning, and what to
        give as `last` for those that follow ("" for the first, and at the end)."""
        statement = (
            select(self.table)
            .where(self.readable(), self.key > last, self.table.c.expires_at > now)
            .order_by(self.key)
            .limit(count)
        )
        rows = (await self.connection.execute(statement)).all()
        return await self.load(rows), rows[-1].key if len(rows) == count else ""

    async def live(self, now: float) -> Sequence[Binding]:
        """All that have not expired."""
        return await self.all_where(self.table.c.expires_at > now)

    async def store(self, bindings: Iterable[Binding]) -> None:
        """Add or replace, unless what is stored is newer."""
        for chunk in _chunks(bindings):
            known = await self._known(chunk)
            fresh = [b for b in chunk if known.get(key_of(b), 0.0) <= b.registered_at]
            await self._write([b for b in fresh if key_of(b) not in known], update_them=False)
            await self._write([b for b in fresh if key_of(b) in known], update_them=True)

    async def remove(self, bindings: Iterable[Binding]) -> None:
        """Delete, unless what is stored is newer."""
        for chunk in _chunks(bindings):
            known = await self._known(chunk)
            gone = [key_of(b) for b in chunk if known.get(key_of(b), 0.0) <= b.registered_at]
            await self.delete_where(self.key.in_(gone))

    async def remove_aors(self, aors: Iterable[str]) -> None:
        """Delete all bindings of these."""
        for chunk in _chunks(aors):
            await self.delete_where(self.table.c.aor.in_(chunk))

    async def purge(self, now: float) -> None:
        """Delete what expired."""
        await self.delete_where(self.table.c.expires_at <= now)

    async def _known(self, bindings: Sequence[Binding]) -> dict[str, float]:
        columns = self.table.c
        statement = select(columns.key, columns.registered_at).where(
            columns.key.in_([key_of(b) for b in bindings])
        )
        return {row.key: row.registered_at for row in await self.connection.execute(statement)}

    async def _write(self, bindings: Sequence[Binding], *, update_them: bool) -> None:
        if not bindings:
            return
        rows = [self.values(b) for b in bindings]
        if update_them:
            where = delete(self.table).where(self.key == bindparam("old"))
            await self.connection.execute(where, [{"old": row["key"]} for row in rows])
        await self.connection.execute(insert(self.table), rows)


def key_of(binding: Binding) -> str:
    """What makes a binding the same as another, as one string of fixed length."""
    parts = [binding.aor, "contact", binding.contact]
    if binding.instance:
        parts = [binding.aor, "instance", binding.instance, str(binding.reg_id)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()


def _chunks(items: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(items)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
