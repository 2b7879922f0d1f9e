"""Dialplans and their versions in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Row, Table, delete, func, insert, select, update

from services.provisioning.adapters import tables
from services.provisioning.adapters.rows import ScopedRows
from services.provisioning.domain.programs import DialplanVersion, StoredDialplan
from services.provisioning.ports import Page
from tandem.dialplan.script import Dialplan, Language

_versions = tables.dialplan_versions
_PLAIN: Final = (
    "id", "owner", "name", "source", "version", "created_at", "updated_at",
)  # fmt: skip
_USERS: Final[tuple[tuple[Table, str], ...]] = (
    (tables.sip_accounts, "in_dialplan"),
    (tables.sip_accounts, "out_dialplan"),
    (tables.providers, "in_dialplan"),
)
"""What names a dialplan."""


class SqlDialplans(ScopedRows[StoredDialplan]):
    """Implements `ports.DialplanRows`."""

    table = tables.dialplans
    key = tables.dialplans.c.id
    owner = tables.dialplans.c.owner
    order = (tables.dialplans.c.owner, tables.dialplans.c.name_key)
    taken = ("name", "there is a dialplan with this name already")

    def entity(self, row: Row[Any]) -> StoredDialplan:
        plain = {name: getattr(row, name) for name in _PLAIN}
        return StoredDialplan(language=Language(row.language), **plain)

    def values(self, row: StoredDialplan) -> dict[str, Any]:
        plain = {name: getattr(row, name) for name in _PLAIN}
        return self.columns(plain | {"language": row.language})

    def columns(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        columns = dict(changes)
        if "name" in columns:
            columns["name_key"] = columns["name"].lower()
        if "language" in columns:
            columns["language"] = str(columns["language"])
        return columns

    async def for_switch(self, owner: str, name: str) -> Dialplan | None:
        """One query for what a run needs."""
        columns, customer = self.table.c, tables.customers.c
        statement = (
            select(self.table, customer.timezone, customer.max_executions, customer.may_email)
            .select_from(self.table.join(tables.customers))
            .where(self.owner == owner, columns.name_key == name.lower(), self.readable())
        )
        row = (await self.connection.execute(statement)).one_or_none()
        if row is None:
            return None
        return Dialplan(
            id=row.id,
            owner=row.owner,
            name=row.name,
            language=Language(row.language),
            source=row.source,
            version=row.version,
            timezone=row.timezone,
            max_executions=row.max_executions,
            may_email=row.may_email,
        )

    async def count_of(self, owner: str) -> int:
        """How many a customer has."""
        return await self.count_where(self.owner == owner)

    async def names_of(self, owner: str) -> list[str]:
        """The names of a customer's."""
        statement = select(self.table.c.name).where(self.owner == owner, self.readable())
        return list((await self.connection.execute(statement)).scalars())

    # -- versions ------------------------------------------------------------------------------

    async def add_version(self, version: DialplanVersion, *, keep: int) -> None:
        """Add one, and forget those beyond the newest `keep`, but not the one that is published
        until now."""
        await self.change(
            insert(_versions).values(
                dialplan=version.dialplan,
                version=version.version,
                language=str(version.language),
                source=version.source,
                author=version.author,
                comment=version.comment,
                created_at=version.created_at,
            )
        )
        published = select(self.table.c.version).where(self.key == version.dialplan)
        await self.connection.execute(
            delete(_versions).where(
                _versions.c.dialplan == version.dialplan,
                _versions.c.version <= version.version - keep,
                _versions.c.version != published.scalar_subquery(),
            )
        )

    async def newest_version(self, dialplan: str) -> int:
        """The highest number in use."""
        statement = select(func.max(_versions.c.version)).where(self._within(dialplan))
        return int((await self.connection.execute(statement)).scalar_one() or 0)

    async def versions(self, dialplan: str, offset: int, count: int) -> Page[DialplanVersion]:
        """A piece of the list, the newest first, without the sources."""
        statement = (
            select(*(c for c in _versions.c if c is not _versions.c.source))
            .where(self._within(dialplan))
            .order_by(_versions.c.version.desc())
        )
        total = select(func.count()).select_from(_versions).where(self._within(dialplan))
        rows = await self.connection.execute(statement.offset(offset).limit(count))
        found = [_version(row, None) for row in rows]
        return Page(found, int((await self.connection.execute(total)).scalar_one()))

    async def version(self, dialplan: str, number: int) -> DialplanVersion | None:
        """One, with its source."""
        condition = (self._within(dialplan), _versions.c.version == number)
        statement = select(_versions).where(*condition)
        row = (await self.connection.execute(statement)).one_or_none()
        return None if row is None else _version(row, row.source)

    def _within(self, dialplan: str) -> Any:
        """Versions have no owner of their own: they are in scope when their dialplan is."""
        mine = select(self.key).where(self.key == dialplan, self.readable())
        return _versions.c.dialplan.in_(mine)

    # -- who uses it ---------------------------------------------------------------------------

    async def used_by(self, owner: str, name: str) -> list[str]:
        """The names of the owner's accounts (`user@domain`) and providers that use a dialplan."""
        found: dict[str, None] = {}
        for table, column in _USERS:
            rows = await self.connection.execute(
                select(table).where(table.c.owner == owner, self._named(table, column, name))
            )
            for row in rows:
                found[_user_name(table, row)] = None
        return sorted(found)

    async def rename_for_users(self, owner: str, old: str, new: str) -> None:
        """Have them use it by its new name."""
        for table, column in _USERS:
            condition = (table.c.owner == owner, self._named(table, column, old))
            await self.connection.execute(update(table).where(*condition).values({column: new}))

    def _named(self, table: Table, column: str, name: str) -> Any:
        there = func.lower(table.c[column]) == name.lower()
        return there if table is not tables.providers else there & table.c.removed_at.is_(None)


def _version(row: Row[Any], source: str | None) -> DialplanVersion:
    return DialplanVersion(
        dialplan=row.dialplan,
        version=row.version,
        language=Language(row.language),
        source=source,
        author=row.author,
        comment=row.comment,
        created_at=row.created_at,
    )


def _user_name(table: Table, row: Row[Any]) -> str:
    if table is tables.providers:
        return f"provider {row.name}"
    return f"{row.username}@{row.domain}"
