"""What a run of a dialplan waits for where the path of a message must not: accounts that are not
at hand yet, and names outside."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from services.appserver.domain.routing import candidates
from services.appserver.handlers.accounts import AccountCache, Miss
from services.appserver.handlers.outside import Outside
from services.appserver.ports import OutsideHop
from tandem.rpc.directory import Account, DirectoryUnavailable
from tandem.rpc.programs import Provider
from tandem.sip.uri import Uri

TRIES: Final = 3
"""Fetches of one account: it may change while it is fetched."""

ProvidersOf = Callable[[str], Awaitable[Sequence[Provider]]]
"""A customer's providers; raises DirectoryUnavailable."""


class Lookups:
    """Asks caches, and waits where they must ask others. All waits are bounded by those others."""

    def __init__(
        self,
        accounts: AccountCache,
        ways: Outside,
        providers: ProvidersOf,
        clock: Callable[[], float],
    ) -> None:
        self._accounts = accounts
        self._ways = ways
        self._clock = clock
        self.providers = providers

    async def account(self, username: str, domain: str) -> Account | None:
        """The account of exactly this name in a canonical domain. Raises DirectoryUnavailable."""
        for _ in range(TRIES):
            found = self._accounts.get(username, domain, self._clock())
            if not isinstance(found, Miss):
                return found
            fetched = asyncio.Event()
            if found is Miss.UNAVAILABLE or not self._accounts.wait(username, domain, fetched.set):
                break
            await fetched.wait()
        raise DirectoryUnavailable

    async def callee(self, user: str, domain: str) -> Account | None:
        """The account that a user part means: itself, else what follows its last dot."""
        for name in candidates(user):
            found = await self.account(name, domain)
            if found is not None:
                return found
        return None

    def objection(self, uri: Uri) -> str:
        """Why nobody is called there; "" if somebody may be: `Outside.objection`."""
        return self._ways.objection(uri)

    async def hops(self, uri: Uri) -> Sequence[OutsideHop]:
        """Where a URI leads by RFC 3263, best first; nowhere if too many wait for DNS."""
        known = self._ways.known(uri)
        if known is not None:
            return known
        answer: list[Sequence[OutsideHop]] = []
        found = asyncio.Event()

        def take(hops: Sequence[OutsideHop]) -> None:
            answer.append(hops)
            found.set()

        if not self._ways.look_up(uri, take):
            return ()
        await found.wait()
        return answer[0]
