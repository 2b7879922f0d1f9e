"""Dialplans: list, read, save, change, remove; their versions, and back to one of them.

Each save of another program is a version that never changes; one of them is published, which is
what calls run. A roll-back publishes an older one, and the next save goes on counting.

A dialplan that accounts use keeps its users: a new name is theirs too, and it can't be deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from weakref import WeakValueDictionary

from services.provisioning.domain.errors import Conflict, NotFound, WrongSource, invalid
from services.provisioning.domain.programs import DialplanVersion, StoredDialplan
from services.provisioning.domain.rules import DIALPLAN_RULES, clean
from services.provisioning.domain.scope import Scope
from services.provisioning.domain.secrets import new_id
from services.provisioning.handlers.notices import Notices
from services.provisioning.handlers.owning import owner_of
from services.provisioning.ports import Checker, Clock, Page, Store, Work
from tandem.dialplan.script import Language, Problem
from tandem.rpc.sessions import Principal

KEEP_VERSIONS: Final = 50
"""Versions of a dialplan that are kept, besides the one that was published before the last save."""
CHECK_SECONDS: Final = 20.0
"""How long a check may take: who saves waits for it."""
NAMED_USERS: Final = 10
"""Accounts that a refusal names."""


class Dialplans:
    """The use cases. `quota`: how many each customer may have, unless its own limit says
    otherwise."""

    def __init__(
        self, store: Store, notices: Notices, checker: Checker, clock: Clock, *, quota: int
    ) -> None:
        self._store = store
        self._notices = notices
        self._checker = checker
        self._clock = clock
        self._quota = quota
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def page(self, caller: Principal, offset: int, count: int) -> Page[StoredDialplan]:
        """A piece of the caller's, by name."""
        async with self._store.read(Scope.of(caller)) as work:
            return await work.dialplans.page(offset, count)

    async def get(self, caller: Principal, key: str) -> StoredDialplan:
        """One. Raises NotFound."""
        async with self._store.read(Scope.of(caller)) as work:
            return await _existing(work, key)

    async def create(self, caller: Principal, values: Mapping[str, Any]) -> StoredDialplan:
        """A new one, and its first version. Raises Invalid, Conflict, Forbidden."""
        values = clean(DIALPLAN_RULES, values)
        comment = values.pop("comment", "")
        values.pop("expected_version", None)
        await self._check(caller, values["language"], values["source"])
        async with self._store.write(Scope.of(caller)) as work:
            values["owner"] = await owner_of(work, caller, values.get("owner"))
            await self._check_quota(work, values["owner"])
            now = self._clock()
            made = StoredDialplan(id=new_id(), created_at=now, updated_at=now, **values)
            await work.dialplans.insert(made)
            await self._keep(work, made, caller, comment)
        self._notices.dialplans(made.owner, [made.name])
        return made

    async def change(
        self, caller: Principal, key: str, values: Mapping[str, Any]
    ) -> StoredDialplan:
        """Change name or program. Raises Invalid, Conflict, NotFound."""
        values = clean(DIALPLAN_RULES, values)
        if "owner" in values:
            raise invalid("owner", "a dialplan stays whose it is; make a new one")
        comment = values.pop("comment", "")
        seen = await self.get(caller, key)
        if values.pop("expected_version", seen.version) != seen.version:
            raise _changed_meanwhile()
        new = replace(seen, **values, updated_at=self._clock())
        rewritten = (new.language, new.source) != (seen.language, seen.source)
        if rewritten:
            await self._check(caller, new.language, new.source)
        async with self._store.write(Scope.of(caller)) as work:
            old = await _existing(work, key)
            if old != seen:
                raise _changed_meanwhile()
            if new.name != old.name:
                await work.dialplans.rename_for_users(old.owner, old.name, new.name)
            if rewritten:
                new = replace(new, version=await work.dialplans.newest_version(key) + 1)
                values |= {"version": new.version}
                await self._keep(work, new, caller, comment)
            await work.dialplans.update(key, values | {"updated_at": new.updated_at})
        self._told(old, new)
        return new

    async def remove(self, caller: Principal, key: str) -> None:
        """Remove one that nothing uses. Raises NotFound, Conflict."""
        async with self._store.write(Scope.of(caller)) as work:
            old = await _existing(work, key)
            users = await work.dialplans.used_by(old.owner, old.name)
            if users:
                raise Conflict(f"{_listed(users)} use this dialplan; give them another first.")
            await work.dialplans.delete(key)
        self._notices.dialplans(old.owner, [old.name])

    async def versions(
        self, caller: Principal, key: str, offset: int, count: int
    ) -> tuple[Page[DialplanVersion], int]:
        """A piece of its versions, the newest first, and which one is published. Raises
        NotFound."""
        async with self._store.read(Scope.of(caller)) as work:
            published = (await _existing(work, key)).version
            return await work.dialplans.versions(key, offset, count), published

    async def version(
        self, caller: Principal, key: str, number: int
    ) -> tuple[DialplanVersion, int]:
        """One, with its source, and which one is published. Raises NotFound."""
        async with self._store.read(Scope.of(caller)) as work:
            published = (await _existing(work, key)).version
            return await _version(work, key, number), published

    async def roll_back(self, caller: Principal, key: str, number: int) -> StoredDialplan:
        """Publish an older version, or a newer one again. Raises NotFound."""
        async with self._store.write(Scope.of(caller)) as work:
            old = await _existing(work, key)
            version = await _version(work, key, number)
            assert version.source is not None
            changes: dict[str, Any] = {
                "version": number,
                "language": version.language,
                "source": version.source,
                "updated_at": self._clock(),
            }
            await work.dialplans.update(key, changes)
        self._notices.dialplans(old.owner, [old.name])
        return replace(old, **changes)

    async def _check(self, caller: Principal, language: Language, source: str) -> None:
        """One at a time of each user: few are checked at once, and nobody shall keep others from
        saving."""
        turn = self._turns.setdefault(caller.username, asyncio.Lock())
        try:
            async with asyncio.timeout(CHECK_SECONDS), turn:
                problems = await self._checker(language, source)
        except TimeoutError:
            problems = [Problem(f"this could not be checked in {CHECK_SECONDS:g} s")]
        if problems:
            raise WrongSource(problems)

    async def _check_quota(self, work: Work, owner: str) -> None:
        customer = await work.customers.get(owner)
        limit = customer.max_dialplans if customer else None
        allowed = self._quota if limit is None else limit
        if await work.dialplans.count_of(owner) >= allowed:
            raise Conflict(f"{allowed} dialplans are all that this customer may have.")

    async def _keep(
        self, work: Work, saved: StoredDialplan, caller: Principal, comment: str
    ) -> None:
        version = DialplanVersion(
            dialplan=saved.id,
            version=saved.version,
            language=saved.language,
            source=saved.source,
            author=caller.username,
            comment=comment,
            created_at=saved.updated_at,
        )
        await work.dialplans.add_version(version, keep=KEEP_VERSIONS)

    def _told(self, old: StoredDialplan, new: StoredDialplan) -> None:
        self._notices.dialplans(new.owner, dict.fromkeys([old.name, new.name]))
        if old.name != new.name:
            # what appservers have at hand of its users names it by the old name
            self._notices.customer(new.owner)


async def _existing(work: Work, key: str) -> StoredDialplan:
    found = await work.dialplans.get(key)
    if found is None:
        raise NotFound("There is no such dialplan.")
    return found


async def _version(work: Work, key: str, number: int) -> DialplanVersion:
    found = await work.dialplans.version(key, number)
    if found is None:
        raise NotFound("There is no such version, or it is not kept any more.")
    return found


def _changed_meanwhile() -> Conflict:
    return Conflict("it was changed meanwhile: look at what it is now", "expected_version")


def _listed(users: Sequence[str]) -> str:
    more = f" and {len(users) - NAMED_USERS} more" if len(users) > NAMED_USERS else ""
    return ", ".join(users[:NAMED_USERS]) + more
