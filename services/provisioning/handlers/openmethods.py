"""Methods of the call manager that customers have opened to listed addresses, without a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.provisioning.domain.callmanager import Access, Method, access
from services.provisioning.domain.errors import (
    Forbidden,
    TooManyLogins,
    WrongCredentials,
    invalid,
)
from services.provisioning.domain.openrate import OpenRate
from services.provisioning.domain.scope import EVERYTHING, Scope
from services.provisioning.ports import Store
from tandem.rpc.sessions import Principal


class TooOften(TooManyLogins):
    """An open method is called more often than it may be."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.detail = f"Without a key this may be called again in {seconds} s."


class OpenMethods:
    """The use cases. `clock` is steady, in seconds."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._rate = OpenRate()

    async def of(self, caller: Principal, owner: str) -> Sequence[Access]:
        """What a customer has opened; nothing for another's."""
        async with self._store.read(Scope.of(caller)) as work:
            return await work.access.of(owner)

    async def replace(
        self, caller: Principal, owner: str, items: Sequence[Mapping[str, Any]]
    ) -> Sequence[Access]:
        """Open these and no others. Raises Invalid, NotFound, Conflict."""
        made = [access(owner, values) for values in items]
        methods = [one.method for one in made]
        if len(set(methods)) < len(methods):
            raise invalid("open", "a method stands there once")
        async with self._store.write(Scope.of(caller)) as work:
            await work.access.replace(owner, made)
        return made

    async def admit(self, owner: str, method: Method, source: str, destination: str | None) -> None:
        """Let this address call without a key, which counts. Raises WrongCredentials for one that
        is not listed, Forbidden for a destination that is not, TooOften."""
        async with self._store.read(EVERYTHING) as work:
            opened = await work.access.of(owner)
        found = next((one for one in opened if one.method == method), None)
        if found is None or not found.admits(source):
            raise WrongCredentials("Show an API key of this user: a header, or key= in the URL.")
        wait = self._rate.take(owner, source, self._clock())
        if wait:
            raise TooOften(wait)
        if destination is not None and not found.allows(destination):
            raise Forbidden("Without a key this destination may not be called.", "destination")
