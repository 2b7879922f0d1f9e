"""Queries within a scope. Every statement on a table that has an owner is built here, and only here
is the owner compared: there is no second place to forget it in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Row,
    Table,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.provisioning.domain.errors import Conflict, NotFound
from services.provisioning.domain.scope import Scope
from services.provisioning.ports import Page

T = TypeVar("T")


class ScopedRows(Generic[T]):
    """The rows of one table that a scope covers. A subclass names the table and translates."""

    table: ClassVar[Table]
    key: ClassVar[Column[Any]]
    owner: ClassVar[Column[Any]]
    order: ClassVar[tuple[Column[Any], ...]]
    ownerless_is_readable: ClassVar[bool] = False
    """Whether a row with no owner may be read by all."""
    taken: ClassVar[tuple[str, str]] = ("", "this already exists")
    """The field and the sentence for a row that clashes with another."""

    def __init__(self, connection: AsyncConnection, scope: Scope) -> None:
        self.connection = connection
        self.scope = scope

    def readable(self) -> ColumnElement[bool]:
        """The condition on what may be read."""
        if self.scope.owner is not None and self.ownerless_is_readable:
            return or_(self.owner.is_(None), self.writable())
        return self.writable()

    def writable(self) -> ColumnElement[bool]:
        """The condition on what may be changed."""
        return true() if self.scope.owner is None else self.owner == self.scope.owner

    async def page(self, offset: int, count: int) -> Page[T]:
        """A piece of the list."""
        return await self.page_where(true(), offset, count)

    async def page_where(self, condition: ColumnElement[bool], offset: int, count: int) -> Page[T]:
        """A piece of the list of those that fulfil a condition."""
        total = await self.count_where(condition)
        statement = select(self.table).where(self.readable(), condition).order_by(*self.order)
        rows = (await self.connection.execute(statement.offset(offset).limit(count))).all()
        return Page(await self.load(rows), total)

    async def count_where(self, condition: ColumnElement[bool]) -> int:
        """How many fulfil a condition."""
        statement = select(func.count()).select_from(self.table).where(self.readable(), condition)
        return int((await self.connection.execute(statement)).scalar_one())

    async def all_where(self, condition: ColumnElement[bool]) -> list[T]:
        """All that fulfil a condition."""
        statement = select(self.table).where(self.readable(), condition).order_by(*self.order)
        return await self.load((await self.connection.execute(statement)).all())

    async def get(self, key: str) -> T | None:
        """One by its key."""
        found = await self.all_where(self.key == key)
        return found[0] if found else None

    async def insert(self, row: T) -> None:
        """Add one. Raises Conflict; NotFound for a row that would lie outside the scope."""
        values = self.values(row)
        if self.scope.owner is not None and values[self.owner.name] != self.scope.owner:
            raise NotFound("There is no such customer.", self.owner.name)
        await self.change(insert(self.table).values(values))

    async def update(self, key: str, changes: Mapping[str, Any]) -> None:
        """Change columns of one. Raises Conflict."""
        columns = self.columns(changes)
        if columns:
            where = (self.key == key, self.writable())
            await self.change(update(self.table).where(*where).values(columns))

    async def delete(self, key: str) -> None:
        """Delete one. Raises Conflict while others refer to it."""
        await self.delete_where(self.key == key)

    async def delete_where(self, condition: ColumnElement[bool]) -> None:
        """Delete all that fulfil a condition."""
        await self.change(delete(self.table).where(condition, self.writable()))

    async def change(self, statement: Any) -> None:
        """Execute; a broken constraint becomes a Conflict."""
        try:
            await self.connection.execute(statement)
        except IntegrityError as fault:
            field, detail = self.taken
            raise Conflict(detail, field or None) from fault

    async def load(self, rows: Sequence[Row[Any]]) -> list[T]:
        """Rows to entities."""
        return [self.entity(row) for row in rows]

    def entity(self, row: Row[Any]) -> T:
        """One row to an entity."""
        raise NotImplementedError

    def values(self, row: T) -> dict[str, Any]:
        """An entity to columns."""
        raise NotImplementedError

    def columns(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Changed attributes of the entity to columns."""
        return dict(changes)
