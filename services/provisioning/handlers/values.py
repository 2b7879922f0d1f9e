"""The customers' key/value stores, for people; dialplans come by `handlers.programs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from services.provisioning.domain.errors import Conflict, Forbidden, NotFound
from services.provisioning.domain.programs import StoredValue
from services.provisioning.domain.rules import VALUE_RULES, clean, value_key
from services.provisioning.domain.scope import Scope
from services.provisioning.handlers.owning import owner_of
from services.provisioning.ports import Clock, Page, Store
from tandem.rpc.sessions import Principal

MAX_KEYS: Final = 100
"""Keys of one customer (ORIGINAL §6)."""


class Values:
    """The use cases. `owner`: whose, None for the caller's own; others' are for administrators."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def page(self, caller: Principal, offset: int, count: int) -> Page[StoredValue]:
        """A piece of the caller's, by key."""
        async with self._store.read(Scope.of(caller)) as work:
            return await work.values.page(offset, count)

    async def get(self, caller: Principal, owner: str | None, key: str) -> StoredValue:
        """One. Raises NotFound, Forbidden."""
        _refuse_others(caller, owner)
        key = _known(key)
        async with self._store.read(Scope.of(caller)) as work:
            found = await work.values.read(owner or caller.username, key)
        if found is None:
            raise _none()
        return found

    async def write(
        self, caller: Principal, owner: str | None, values: Mapping[str, Any]
    ) -> StoredValue:
        """Set one: `key` and `value`. Raises Invalid, Conflict for one too many, Forbidden."""
        values = clean(VALUE_RULES, values)
        async with self._store.write(Scope.of(caller)) as work:
            whose = await owner_of(work, caller, owner)
            value = StoredValue(owner=whose, updated_at=self._clock(), **values)
            if not await work.values.write(value, limit=MAX_KEYS):
                raise Conflict(f"{MAX_KEYS} keys are all that a customer may have.", "key")
        return value

    async def remove(self, caller: Principal, owner: str | None, key: str) -> None:
        """Remove one. Raises NotFound, Forbidden."""
        _refuse_others(caller, owner)
        key = _known(key)
        async with self._store.write(Scope.of(caller)) as work:
            if not await work.values.remove(owner or caller.username, key):
                raise _none()


def _refuse_others(caller: Principal, owner: str | None) -> None:
    if owner not in (None, caller.username) and not caller.admin:
        raise Forbidden("Only an administrator looks at what is others'.", "owner")


def _known(key: str) -> str:
    try:
        return value_key(key)
    except ValueError:
        raise _none() from None


def _none() -> NotFound:
    return NotFound("There is no such key.")
