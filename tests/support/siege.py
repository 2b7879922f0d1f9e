"""One customer's hostile dialplans beside the calls of another: what the other hears of them."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

from tests.support.switch import DOMAIN, Switch
from tests.support.udpagent import UdpAgent, UdpCall
from tests.support.waiting import eventually

CALLS: Final = 60
ATTACKERS: Final = 20


class Siege:
    """A phone `desk` that rings, `front` whose calls the good dialplan brings to it, and an account
    for each hostile one."""

    def __init__(self, switch: Switch, language: str, hostile: Mapping[str, str]) -> None:
        self._switch = switch
        self._language = language
        self._hostile = hostile
        self._ended: list[UdpCall] = []

    @classmethod
    @asynccontextmanager
    async def laid(
        cls, switch: Switch, language: str, good: str, hostile: Mapping[str, str]
    ) -> AsyncIterator[Siege]:
        """With its two customers and their dialplans, each under the name of its account."""
        made = cls(switch, language, hostile)
        for name in ("goodcustomer", "evilcustomer"):
            body = {"username": name, "password": "a long password"}
            (await switch.api.client.post("/api/v1/customers", json=body)).raise_for_status()
        await switch.api.add_account("desk", "secret1", owner="goodcustomer")
        await made._add("goodcustomer", "front", good)
        for name, source in hostile.items():
            await made._add("evilcustomer", name, source)
        desk = await UdpAgent.open("desk")
        try:
            await desk.register(switch.address("udp"), "desk", "secret1", DOMAIN)
            yield made
        finally:
            desk.close()

    async def _add(self, owner: str, account: str, source: str) -> None:
        """An account of a customer's whose incoming calls run this."""
        api = self._switch.api
        body = {"name": account, "language": self._language, "source": source, "owner": owner}
        (await api.client.post("/api/v1/dialplans", json=body)).raise_for_status()
        await api.add_account(account, "secret1", owner=owner, in_dialplan=account)

    async def measure(self) -> None:
        """All good calls ring, while the hostile ones end as they must; how soon they ring without
        them and beside them is printed."""
        caller = await UdpAgent.open("caller")
        attackers = [await UdpAgent.open(f"attacker{n}") for n in range(ATTACKERS)]
        await self._delays(caller)
        quiet = await self._delays(caller)
        attacks = [asyncio.create_task(self._attack(*each)) for each in enumerate(attackers)]

        async def begun() -> bool:
            return len(self._ended) > 0

        await eventually(begun, "the first end of an attack")
        before = len(self._ended)
        beside = await self._delays(caller)
        for one in attacks:
            one.cancel()
        await asyncio.gather(*attacks, return_exceptions=True)
        shown = f"{_told('quiet', quiet)}; {_told('beside hostile dialplans', beside)}"
        sys.stdout.write(f"\n{self._language}: {shown}\n")
        assert len(beside) == CALLS
        assert len(self._ended) > before
        assert {call.status for call in self._ended} <= {480, 500, 503}
        for agent in (caller, *attackers):
            agent.close()

    async def _delays(self, caller: UdpAgent) -> list[float]:
        """The post-dial delays of some calls, one after the other, in milliseconds."""
        found = []
        for _ in range(CALLS):
            began = time.perf_counter()
            call = caller.invite(self._switch.address("udp"), f"sip:front@{DOMAIN}")
            await call.until(call.ringing)
            found.append((time.perf_counter() - began) * 1000)
            call.cancel()
            await call.until(call.over)
        return sorted(found)

    async def _attack(self, first: int, attacker: UdpAgent) -> None:
        """Call one hostile dialplan after the other."""
        names = list(self._hostile)
        for number in count(first):
            name = names[number % len(names)]
            call = attacker.invite(self._switch.address("udp"), f"sip:{name}@{DOMAIN}")
            await call.over.wait()
            self._ended.append(call)
            await asyncio.sleep(0.2)  # it is the dialplans that are hostile: no flood of calls


def _told(name: str, found: list[float]) -> str:
    p99 = found[math.ceil(len(found) * 0.99) - 1]
    return f"{name}: p50 {found[len(found) // 2]:.1f} ms, p99 {p99:.1f} ms"
