"""A Dialer at a Site: accounts, phones, providers, names outside; forks that fail as told."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from services.appserver.domain.fence import Fence
from services.appserver.domain.plan import Fork, NextHop, Target
from services.appserver.handlers.dialplans.dialer import Dialer, Rung
from services.appserver.handlers.dialplans.lookups import Lookups
from services.appserver.handlers.dialplans.resolve import Resolver, Run, ToSelf
from services.appserver.handlers.outside import Outside
from services.appserver.ports import LegFailure
from tandem.dialplan.world import Dial, Ended, Incoming, Outcome
from tandem.rpc.directory import Account, DirectoryUnavailable
from tandem.rpc.programs import Provider
from tests.support.appserver import PROXY, Address, Phone, Site, account

SELF = NextHop("self", ("<sip:self;lr>",), True, False, "self")
FAR = Address("udp", "198.51.100.4", 5060)


def provider(name: str = "prov", **more: Any) -> Provider:
    """A provider of alice's owner at `sip.NAME.example`."""
    given = {"server": f"sip:sip.{name}.example", "username": "me", "password": "pw", **more}
    return Provider(id=name, owner="owner-alice", name=name, **given)


class FakeRinger:
    """Every fork fails: each leg with the next of these statuses, 503 when there is none."""

    call_id = "the-call"

    def __init__(self, *statuses: int | str) -> None:
        self.statuses = list(statuses)
        self.forks: list[Fork] = []

    async def ring(self, fork: Fork) -> Rung:
        self.forks.append(fork)
        legs = []
        for target in fork.targets:
            status = self.statuses.pop(0) if self.statuses else 503
            if status == "answer":
                raise Ended
            if status == "time-out":
                late = tuple(LegFailure(each, 408, "Request Timeout") for each in fork.targets)
                return Rung(late, timed_out=True)
            contacts = ("sip:new@there.example",) if status == 302 else ()
            legs.append(LegFailure(target, int(status), f"Reason {status}", contacts))
        return Rung(tuple(legs))


class Desk:
    """alice's dialplan `main` runs, and dials."""

    def __init__(
        self,
        *accounts: Account,
        to_self: ToSelf | None = lambda: SELF,
        fence: Fence | None = None,
    ) -> None:
        self.site = Site(*(accounts or (account("alice"), account("bob"))))
        self.providers: list[Provider] | None = [provider()]
        self.asked: list[str] = []
        self.tasks: set[asyncio.Task[None]] = set()
        tools = self.site.app.tools
        self.ways = Outside(
            self.site.resolver, self._spawn, tools.clock, tools.proxies, fence or Fence()
        )
        lookups = Lookups(tools.accounts, self.ways, self._providers, tools.clock)
        self.dialer = Dialer(Resolver(tools, lookups, to_self), tools.publisher)
        self.ringer = FakeRinger()
        self.run = Run.of(self.incoming(), "main", PROXY)
        self.site.resolver.known["sip.prov.example"] = [FAR]

    @staticmethod
    def incoming(**more: Any) -> Incoming:
        """A call of alice's to 5551234."""
        given = {
            "direction": "out", "customer": "owner-alice", "account": "alice@example.com",
            "uri": "sip:5551234@example.com", "user": "5551234", "host": "example.com",
            "from_name": "Alice", "from_user": "alice", "from_host": "example.com",
            "call_id": "call-1", **more,
        }  # fmt: skip
        return Incoming(**given)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _providers(self, owner: str) -> list[Provider]:
        self.asked.append(owner)
        if self.providers is None:
            raise DirectoryUnavailable
        return [each for each in self.providers if each.owner == owner]

    async def __aenter__(self) -> Desk:
        await self.site.__aenter__()
        await Phone(self.site, "bob", host="203.0.113.8").registered()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.site.__aexit__(*exc)

    async def dial(self, text: str, *statuses: int | str, **more: Any) -> Outcome:
        """Dial; each leg in turn fails with these statuses."""
        self.ringer = FakeRinger(*statuses)
        return await self.dialer.dial(self.run, Dial(text, **more), self.ringer)

    @property
    def rung(self) -> list[list[str]]:
        """The legs of each attempt that rang, as they were written."""
        return [[target.options.name for target in fork.targets] for fork in self.ringer.forks]

    async def targets(self, text: str, **more: Any) -> Sequence[Target]:
        """The targets of a dial string of one attempt."""
        await self.dial(text, **more)
        return self.ringer.forks[0].targets if self.ringer.forks else ()

    async def target(self, text: str, **more: Any) -> Target:
        """The one target that it has."""
        (target,) = await self.targets(text, **more)
        return target

    async def nowhere(self, text: str) -> tuple[int, str]:
        """Why its one leg can't be rung."""
        (leg,) = (await self.dial(text)).legs
        assert self.ringer.forks == []
        assert leg.uri == ""
        return leg.status, leg.reason
