"""API keys: shown once when made, then only by their first characters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from services.provisioning.domain.entities import ApiKey
from services.provisioning.domain.errors import Forbidden, NotFound, invalid
from services.provisioning.domain.rules import API_KEY_RULES, clean
from services.provisioning.domain.scope import Scope
from services.provisioning.domain.secrets import PREFIX_LENGTH, at_rest, new_api_key, new_id
from services.provisioning.handlers.sessions import StoredSessions
from services.provisioning.ports import Clock, Page, Store, Work
from tandem.rpc.sessions import Principal

DEFAULT_DAYS: Final = 365
DAY_SECONDS: Final = 24 * 3600


class ApiKeys:
    """The use cases."""

    def __init__(self, store: Store, sessions: StoredSessions, clock: Clock) -> None:
        self._store = store
        self._sessions = sessions
        self._clock = clock

    async def page(self, caller: Principal, offset: int, count: int) -> Page[ApiKey]:
        """A piece of the caller's keys, the oldest first."""
        async with self._store.read(Scope.of(caller)) as work:
            return await work.api_keys.page(offset, count)

    async def get(self, caller: Principal, key: str) -> ApiKey:
        """One. Raises NotFound."""
        async with self._store.read(Scope.of(caller)) as work:
            return await _existing(work, key)

    async def create(self, caller: Principal, values: Mapping[str, Any]) -> tuple[ApiKey, str]:
        """A new one and its secret. Raises Invalid, Forbidden."""
        values = clean(API_KEY_RULES, values)
        owner, now, secret = values.get("owner", caller.username), self._clock(), new_api_key()
        if owner != caller.username and not caller.admin:
            raise Forbidden("Only an administrator makes keys for others.", "owner")
        key = ApiKey(
            id=new_id(),
            owner=owner,
            name=values["name"],
            prefix=secret[:PREFIX_LENGTH],
            secret_hash=at_rest(secret),
            created_at=now,
            expires_at=now + values.get("lifetime_days", DEFAULT_DAYS) * DAY_SECONDS,
        )
        async with self._store.write(Scope.of(caller)) as work:
            if await work.customers.get(owner) is None:
                raise invalid("owner", "there is no such customer")
            await work.api_keys.insert(key)
        return key, secret

    async def rename(self, caller: Principal, key: str, values: Mapping[str, Any]) -> ApiKey:
        """Change its name. Raises NotFound, Invalid."""
        values = clean({"name": API_KEY_RULES["name"]}, values)
        async with self._store.write(Scope.of(caller)) as work:
            await _existing(work, key)
            await work.api_keys.update(key, values)
            return await _existing(work, key)

    async def remove(self, caller: Principal, key: str) -> None:
        """End one at once. Raises NotFound."""
        async with self._store.write(Scope.of(caller)) as work:
            found = await _existing(work, key)
            await work.api_keys.delete(key)
        self._sessions.forget(found.owner)


async def _existing(work: Work, key: str) -> ApiKey:
    found = await work.api_keys.get(key)
    if found is None:
        raise NotFound("There is no such API key.")
    return found
