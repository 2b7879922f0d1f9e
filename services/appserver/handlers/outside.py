"""Ways outside by RFC 3263: known at once for addresses and cached names, else looked up, a
bounded number at a time; none to where the operator lets nobody be called; and what became of
those that were tried."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from services.appserver.domain.domains import Domains
from services.appserver.domain.fence import Fence
from services.appserver.domain.plan import NextHop
from services.appserver.domain.proxies import Proxies
from services.appserver.domain.routing import to_outside, to_self
from services.appserver.ports import Done, OutsideHop, Resolver
from tandem.sip.uri import Uri

MAX_RESOLVING: Final = 500
"""Requests that wait for DNS, each with a task; more find no way."""

BARRED: Final = "This host is barred by the operator"
PRIVATE: Final = "This address is in a private network"

Found = Callable[[Sequence[OutsideHop]], None]
Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Outside:
    """The resolver, for plans and for requests inside dialogs."""

    def __init__(
        self,
        resolver: Resolver,
        spawn: Spawn,
        clock: Callable[[], float],
        proxies: Proxies,
        fence: Fence,
    ) -> None:
        self._resolver = resolver
        self._fence = fence
        self._proxies = proxies
        self._spawn = spawn
        self._clock = clock
        self._waiting = 0

    def known(self, uri: Uri) -> Sequence[OutsideHop] | None:
        """Where a URI leads, best first, if that is known without waiting."""
        hops = self._resolver.resolve_now(uri)
        return self._admitted(hops) if hops is not None else None

    def objection(self, uri: Uri) -> str:
        """Why nobody is called there, "" if somebody may be. A name's addresses are judged as soon
        as they are known; ways to others are not found, either."""
        hosts = (uri.host, uri.param("maddr") or "")
        if any(map(self._fence.bars, hosts)):
            return BARRED
        hops = self._resolver.resolve_now(uri)
        return PRIVATE if hops and not self._admitted(hops) else ""

    def _admitted(self, hops: Sequence[OutsideHop]) -> Sequence[OutsideHop]:
        return [hop for hop in hops if self._fence.admits(hop.host)]

    def look_up(self, uri: Uri, found: Found) -> bool:
        """Call `found` once it is known, with nothing if it leads nowhere. False: too many wait."""
        if self._waiting >= MAX_RESOLVING:
            return False
        self._waiting += 1
        self._spawn(self._look_up(uri, found))
        return True

    async def _look_up(self, uri: Uri, found: Found) -> None:
        hops: Sequence[OutsideHop] = ()
        try:
            hops = self._admitted(await self._resolver.resolve(uri))
        finally:
            self._waiting -= 1
            found(hops)

    def next_hops(self, uri: Uri, proxy: str, now: float, done: Done) -> None:
        """`services.appserver.ports.NextHops`."""
        hops = self.known(uri)
        proxy = self._proxies.through(proxy, now, str(uri))
        if hops is not None:
            done(_through(proxy, hops), now)
        elif not self.look_up(uri, _Later(proxy, done, self._clock)):
            done((), now)

    def judge(self, hop: NextHop, good: bool, now: float) -> None:
        """`services.appserver.ports.Judge`."""
        if not hop.pinned:
            self._resolver.judge(hop.text, good, now)


class Places:
    """Where somebody is to be rung whom nobody has looked up: `services.appserver.ports.NextHops`.
    Who is in a domain of ours is rung by way of ourselves, as an incoming call."""

    def __init__(self, ways: Outside, domains: Domains) -> None:
        self._ways = ways
        self._domains = domains

    def __call__(self, uri: Uri, proxy: str, now: float, done: Done) -> None:
        if self._domains.serviced(uri.host, uri.port) is not None:
            done((to_self(),), now)
        elif self._ways.objection(uri):
            done((), now)
        else:
            self._ways.next_hops(uri, proxy, now, done)


class _Later:
    """What a look-up for a request inside a dialog goes on with."""

    def __init__(self, proxy: str, done: Done, clock: Callable[[], float]) -> None:
        self._proxy = proxy
        self._done = done
        self._clock = clock

    def __call__(self, hops: Sequence[OutsideHop]) -> None:
        self._done(_through(self._proxy, hops), self._clock())


def _through(proxy: str, hops: Sequence[OutsideHop]) -> tuple[NextHop, ...]:
    return tuple([to_outside(hop, proxy) for hop in hops])
