"""The durable copy of the bindings in SQL.

A binding is the same as another when AOR, instance and reg-id are (RFC 5626 §6), or without an
instance when AOR and contact are. Of two the newer registration stays, and what was removed stays
for a while as a row with `removed_at`: so batches may come twice, late, and from two instances in
any order. No upsert statement is portable: what is there is read first, in the same transaction,
which has its turn at writing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Row, String, and_, insert, select

from services.provisioning.adapters import tables
from services.provisioning.adapters.rows import ScopedRows
from services.provisioning.domain.versions import newer
from services.provisioning.ports import Page
from tandem.bus.location import Binding

CHUNK: Final = 500
"""Keys in one statement: databases limit the parameters of one (SQLite's oldest limit is 999)."""
MAX_INTEGER: Final = 2**31 - 1
REMOVED_SECONDS: Final = 3600.0
"""How long a removed binding is remembered at least: as long as news may wait in a queue."""

_NAMES: Final = tuple(field.name for field in fields(Binding))
_LIMITS: Final = {
    column.name: column.type.length
    for column in tables.bindings.c
    if isinstance(column.type, String) and column.type.length
}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Version:
    key: str
    binding: Binding
    removed_at: float | None

    def beats(self, other: _Version) -> bool:
        if newer(self.binding, other.binding):
            return True
        return self.removed_at is not None and not newer(other.binding, self.binding)


class SqlBindings(ScopedRows[Binding]):
    """Implements `ports.BindingRows`."""

    table = tables.bindings
    key = tables.bindings.c.key
    owner = tables.bindings.c.owner
    order = (tables.bindings.c.aor, tables.bindings.c.registered_at, tables.bindings.c.key)

    def entity(self, row: Row[Any]) -> Binding:
        columns = {name: row._mapping[name] for name in _NAMES}
        return Binding(**(columns | {"path": tuple(json.loads(row.path))}))

    def values(self, row: Binding) -> dict[str, Any]:
        columns = {name: getattr(row, name) for name in _NAMES}
        columns |= {"key": key_of(row), "path": json.dumps(row.path)}
        columns["reg_id"] = min(row.reg_id, MAX_INTEGER)
        return {
            name: _storable(value)[: _LIMITS.get(name)] if isinstance(value, str) else value
            for name, value in columns.items()
        }

    async def page(
        self, offset: int, count: int, now: float | None = None, aor: str = ""
    ) -> Page[Binding]:
        """A piece of those that have not expired, of all or of one AOR."""
        condition = self._live(now or 0.0)
        if aor:
            condition = and_(condition, self.table.c.aor == aor)
        return await self.page_where(condition, offset, count)

    async def after(self, last: str, count: int, now: float) -> tuple[Sequence[Binding], str]:
        """Up to `count` of those that have not expired, in an order of no meaning, and what to
        give as `last` for those that follow ("" for the first, and at the end)."""
        statement = (
            select(self.table)
            .where(self.readable(), self.key > last, self._live(now))
            .order_by(self.key)
            .limit(count)
        )
        rows = (await self.connection.execute(statement)).all()
        return await self.load(rows), rows[-1].key if len(rows) == count else ""

    async def live(self, now: float) -> Sequence[Binding]:
        """All that have not expired."""
        return await self.all_where(self._live(now))

    def _live(self, now: float) -> ColumnElement[bool]:
        return and_(self.table.c.expires_at > now, self.table.c.removed_at.is_(None))

    async def store(self, bindings: Iterable[Binding]) -> None:
        """Add or replace, unless what is stored, or was removed, is newer."""
        for chunk in _chunks(bindings):
            await self._merge([_Version(key_of(b), b, None) for b in chunk])

    async def remove(self, bindings: Iterable[Binding], now: float) -> None:
        """Mark as removed, unless what is stored is newer."""
        for chunk in _chunks(bindings):
            await self._merge([_Version(key_of(b), b, now) for b in chunk])

    async def remove_aors(self, aors: Iterable[str]) -> None:
        """Delete all bindings of these."""
        for chunk in _chunks(aors):
            await self.delete_where(self.table.c.aor.in_(chunk))

    async def purge(self, now: float) -> None:
        """Delete what expired, and what was removed long enough ago."""
        await self.delete_where(self.table.c.expires_at <= now)

    async def _merge(self, versions: Sequence[_Version]) -> None:
        known = await self._known([version.key for version in versions])
        best: dict[str, _Version] = {}
        for version in versions:
            other = best.get(version.key) or known.get(version.key)
            if other is None or version.beats(other):
                best[version.key] = version
        # One statement for all old rows and one for all new ones: an update of each would be a
        # round trip of each.
        await self.delete_where(self.key.in_([key for key in best if key in known]))
        if best:
            rows = [self._row(version) for version in best.values()]
            await self.connection.execute(insert(self.table), rows)

    async def _known(self, keys: Sequence[str]) -> dict[str, _Version]:
        statement = select(self.table).where(self.key.in_(keys))
        rows = await self.connection.execute(statement)
        return {row.key: _Version(row.key, self.entity(row), row.removed_at) for row in rows}

    def _row(self, version: _Version) -> dict[str, Any]:
        row = self.values(version.binding) | {"removed_at": version.removed_at}
        if version.removed_at is not None:
            row["expires_at"] = max(row["expires_at"], version.removed_at + REMOVED_SECONDS)
        return row


def key_of(binding: Binding) -> str:
    """What makes a binding the same as another, as one string of fixed length."""
    parts = [binding.aor, "contact", binding.contact]
    if binding.instance:
        parts = [binding.aor, "instance", binding.instance, str(binding.reg_id)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()


def _storable(text: str) -> str:
    """What a database takes: no NUL (PostgreSQL), nothing that is no UTF-8."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _chunks(items: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(items)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
