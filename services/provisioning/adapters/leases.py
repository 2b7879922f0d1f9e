"""Which appserver registers at which provider, in SQL.

A node's one row in `registrars` says until when it lives; a provider is the node's that its row in
`provider_bindings` names, while that node lives. So a node with any number of leases renews them
all by one small update.

Whether a node lives is told by the database's clock, not by ours: there is one of it, whatever the
clocks of two instances say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Row,
    and_,
    delete,
    false,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from services.provisioning.adapters import tables
from services.provisioning.adapters.providers import provider_of
from services.provisioning.adapters.rows import ScopedRows
from services.provisioning.domain.leases import Held, Orphan, State
from services.provisioning.domain.programs import ProviderBinding, ShownBinding
from services.provisioning.ports import Page

CHUNK: Final = 500
"""Keys in one statement."""
FORGET_SECONDS: Final = 3600.0
"""How long a node that is gone is remembered."""
_NOW: Final = {
    # none of them knows summer time
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)",
    "mysql": "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6",
}
_providers, _bindings = tables.providers, tables.provider_bindings
_registrars, _customers = tables.registrars, tables.customers
_COLUMNS: Final = tuple(column.name for column in _bindings.c)


class SqlLeases(ScopedRows[ShownBinding]):
    """Implements `ports.LeaseRows`. What is listed lies within the scope; the leases themselves
    are the service's own work."""

    table = tables.providers
    key = tables.providers.c.id
    owner = tables.providers.c.owner
    order = (tables.providers.c.owner, tables.providers.c.name_key)

    async def page(self, offset: int, count: int) -> Page[ShownBinding]:
        """A piece of the list of providers that are registered at, or shall be, or were."""
        there = or_(_bindings.c.provider.is_not(None), self._wanted_by_its_owner())
        joined = self.table.outerjoin(_bindings).outerjoin(*_alive(await self.now()))
        statement = select(self.table, *_labelled(), _registrars.c.until).select_from(joined)
        statement = statement.where(self.readable(), there).order_by(*self.order)
        total = select(func.count()).select_from(joined).where(self.readable(), there)
        rows = (await self.connection.execute(statement.offset(offset).limit(count))).all()
        return Page(
            [_shown(row) for row in rows], int((await self.connection.execute(total)).scalar_one())
        )

    async def now(self) -> float:
        """The database's time, in Unix seconds."""
        dialect = self.connection.dialect.name
        statement = text(_NOW["mysql" if dialect == "mariadb" else dialect])
        return float((await self.connection.execute(statement)).scalar_one())

    async def anything(self) -> bool:
        """Whether there is a registration to be made, kept or ended."""
        now = await self.now()
        lingers = and_(_bindings.c.registered, _bindings.c.expires_at > now)
        statement = (
            select(self.key)
            .select_from(self.table.outerjoin(_bindings).outerjoin(*_alive(now)))
            .where(or_(self._wanted_by_its_owner(), _registrars.c.node.is_not(None), lingers))
        )
        return (await self.connection.execute(statement.limit(1))).first() is not None

    # -- nodes ---------------------------------------------------------------------------------

    async def renew(self, node: str, until: float) -> None:
        """This node lives until then."""
        statement = update(_registrars).where(_registrars.c.node == node)
        done = await self.connection.execute(statement.values(until=until))
        if not done.rowcount:
            await self.change(insert(_registrars).values(node=node, until=until))

    async def leave(self, node: str) -> None:
        """This node is gone, and holds nothing."""
        await self.connection.execute(delete(_registrars).where(_registrars.c.node == node))
        statement = update(_bindings).where(_bindings.c.node == node)
        await self.connection.execute(statement.values(node=None))

    async def nodes(self, now: float) -> list[str]:
        """Those that live."""
        statement = select(_registrars.c.node).where(_registrars.c.until > now)
        return list((await self.connection.execute(statement)).scalars())

    # -- providers -----------------------------------------------------------------------------

    async def held_by(self, node: str, only: Sequence[str] | None = None) -> list[Held]:
        """What this node was given: all of it, or only of these providers."""
        joined = self.table.join(_bindings).join(_customers)
        statement = (
            select(self.table, *_labelled(), _customers.c.suspended)
            .select_from(joined)
            .where(_bindings.c.node == node)
            .order_by(self.key)
        )
        parts = [statement]
        if only is not None:
            chunks = [only[start : start + CHUNK] for start in range(0, len(only), CHUNK)]
            parts = [statement.where(self.key.in_(chunk)) for chunk in chunks]
        rows = [row for part in parts for row in (await self.connection.execute(part)).all()]
        return [Held(provider_of(row), _binding(row), not row.suspended) for row in rows]

    async def states(self, node: str) -> list[State]:
        """The same in short."""
        columns = self.table.c
        statement = (
            select(
                self.key,
                columns.updated_at,
                columns.register,
                columns.enabled,
                columns.removed_at.is_not(None),
                _customers.c.suspended,
            )
            .select_from(self.table.join(_bindings).join(_customers))
            .where(_bindings.c.node == node)
        )
        rows = (await self.connection.execute(statement)).all()
        return [(row[0], row[1], *map(bool, row[2:])) for row in rows]

    async def orphans(self, now: float) -> list[Orphan]:
        """Those that no live node holds, and that are to be registered, or to be unregistered."""
        wanted = and_(self._wanted_by_its_owner(), _customers.c.suspended == false())
        lingers = and_(_bindings.c.registered, _bindings.c.expires_at > now)
        joined = self.table.join(_customers).outerjoin(_bindings).outerjoin(*_alive(now))
        statement = (
            select(self.key, self.owner, _bindings.c.provider)
            .select_from(joined)
            .where(_registrars.c.node.is_(None), or_(wanted, lingers))
        )
        rows = (await self.connection.execute(statement)).all()
        return [Orphan(row.id, row.owner, row.provider is not None) for row in rows]

    async def take(self, node: str, orphans: Sequence[Orphan]) -> None:
        """Give them to this node."""
        for start in range(0, len(orphans), CHUNK):
            keys = [one.provider for one in orphans[start : start + CHUNK] if one.known]
            statement = update(_bindings).where(_bindings.c.provider.in_(keys))
            await self.connection.execute(statement.values(node=node))
        new = [
            asdict(ProviderBinding(provider=one.provider, owner=one.owner, node=node))
            for one in orphans
            if not one.known
        ]
        if new:
            await self.connection.execute(insert(_bindings), new)

    async def store(self, bindings: Sequence[ProviderBinding]) -> None:
        """Replace these, in two statements for each CHUNK of them."""
        for start in range(0, len(bindings), CHUNK):
            chunk = bindings[start : start + CHUNK]
            keys = [binding.provider for binding in chunk]
            await self.connection.execute(delete(_bindings).where(_bindings.c.provider.in_(keys)))
            await self.connection.execute(insert(_bindings), [asdict(one) for one in chunk])

    async def give_up(self, providers: Iterable[str]) -> None:
        """Register no more at these, until their owners want it again."""
        statement = update(self.table).where(self.key.in_(list(providers)))
        await self.connection.execute(statement.values(register=False))

    async def forget(self, providers: Iterable[str]) -> None:
        """These were deleted and are not registered any more: delete them."""
        condition = (self.key.in_(list(providers)), self.table.c.removed_at.is_not(None))
        await self.connection.execute(delete(self.table).where(*condition))

    async def purge(self, now: float) -> None:
        """Delete nodes that are long gone, and the providers that were deleted and that nobody
        has to unregister."""
        old = _registrars.c.until <= now - FORGET_SECONDS
        await self.connection.execute(delete(_registrars).where(old))
        alive = select(_registrars.c.node).where(_registrars.c.until > now)
        busy = select(_bindings.c.provider).where(
            or_(
                _bindings.c.node.in_(alive),
                and_(_bindings.c.registered, _bindings.c.expires_at > now),
            )
        )
        gone = (self.table.c.removed_at.is_not(None), self.key.not_in(busy))
        await self.connection.execute(delete(self.table).where(*gone))

    def _wanted_by_its_owner(self) -> ColumnElement[bool]:
        columns = self.table.c
        return and_(columns.register, columns.enabled, columns.removed_at.is_(None))


def _alive(now: float) -> tuple[Any, ColumnElement[bool]]:
    """What an outer join needs, for the row of a binding's node while it lives."""
    return _registrars, and_(_bindings.c.node == _registrars.c.node, _registrars.c.until > now)


def _labelled() -> list[Any]:
    return [_bindings.c[name].label(f"b_{name}") for name in _COLUMNS]


def _binding(row: Row[Any]) -> ProviderBinding:
    return ProviderBinding(**{name: getattr(row, f"b_{name}") for name in _COLUMNS})


def _shown(row: Row[Any]) -> ShownBinding:
    known = row.b_provider is not None
    return ShownBinding(
        binding=_binding(row) if known else ProviderBinding(provider=row.id, owner=row.owner),
        provider_name=row.name,
        lease_until=row.until,
    )
