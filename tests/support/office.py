"""One customer's phones, dialplans and providers at the real program.

office = Office(switch, folder)
desk = await office.phone("desk", busy)
caller = await office.caller("sys.dial('desk@local')")
await caller.run("call-refused", callee="100", status=486)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, Final

from tests.support.sipp import SippPhone
from tests.support.switch import DOMAIN, Switch
from tests.support.udpagent import UdpAgent, UdpCall

PASSWORD: Final = "secret1"


class Office:
    """Phones and dialplans of one customer, and providers that are agents."""

    def __init__(self, switch: Switch, folder: Path) -> None:
        self.switch = switch
        self.folder = folder
        self.agents: dict[str, UdpAgent] = {}
        self.number = 0
        """Of the last dialplan."""
        self._callers = count(1)

    async def phone(self, name: str, on_invite: Callable[[UdpCall], None]) -> UdpAgent:
        """A registered phone that does this with each call."""
        if name in self.agents:
            self.agents[name].on_invite = on_invite
            self.agents[name].calls.clear()
            return self.agents[name]
        await self.switch.api.add_account(name, PASSWORD)
        agent = self.agents[name] = await UdpAgent.open(name, on_invite)
        await agent.register(self.switch.address("udp"), name, PASSWORD, DOMAIN)
        return agent

    async def outside(self, name: str, on_invite: Callable[[UdpCall], None]) -> UdpAgent:
        """Somebody who is no account; the former one of this name is closed."""
        if name in self.agents:
            self.agents[name].close()
        agent = self.agents[name] = await UdpAgent.open(name, on_invite)
        return agent

    async def gateway(self, name: str, on_invite: Callable[[UdpCall], None]) -> UdpAgent:
        """A provider that is an agent."""
        agent = await self.outside(name, on_invite)
        await self.provider(name, server=f"sip:{agent.address}", username="joe", password="x")
        return agent

    async def provider(self, name: str, **fields: object) -> None:
        """Any other provider."""
        await self._post("/api/v1/providers", {"name": name, **fields})

    async def dialplan(self, source: str, language: str = "python") -> str:
        """Save one under a name of its own."""
        self.number += 1
        name = f"plan{self.number}"
        answer = await self.save(name, source, language)
        answer.raise_for_status()
        return name

    async def save(self, name: str, source: str, language: str = "python") -> Any:
        """What the API says to it."""
        body = {"name": name, "language": language, "source": source}
        return await self.switch.api.client.post("/api/v1/dialplans", json=body)

    async def caller(self, source: str, language: str = "python") -> SippPhone:
        """An account whose calls run this."""
        return await self.caller_of(await self.dialplan(source, language))

    async def caller_of(self, dialplan: str) -> SippPhone:
        """An account whose calls run the dialplan of this name."""
        name = f"caller{next(self._callers)}"
        await self.switch.api.add_account(name, PASSWORD, out_dialplan=dialplan)
        return SippPhone(self.folder, name, PASSWORD, self.switch.address("udp"))

    async def close(self) -> None:
        """Nobody answers any more."""
        for agent in self.agents.values():
            agent.close()

    async def _post(self, path: str, body: dict[str, object]) -> None:
        (await self.switch.api.client.post(path, json=body)).raise_for_status()


def busy(call: UdpCall) -> None:
    """486 to every call."""
    call.refuse(486)


def ringing(call: UdpCall) -> None:
    """180, and nobody comes."""
    call.ring()


def picking_up(call: UdpCall) -> None:
    """180, 200."""
    call.ring()
    call.accept()


def refusing(status: int) -> Callable[[UdpCall], None]:
    """Another final answer to every call."""
    return lambda call: call.refuse(status)


def lose(switch: Switch, name: str, lost: str) -> None:
    """Have an account use, in place of a dialplan of this name, one that is not there: the API
    refuses that, but a database may come from elsewhere."""
    with closing(sqlite3.connect(switch.data_dir / "provisioning.db", timeout=20)) as database:
        for column in ("in_dialplan", "out_dialplan"):
            change = f"UPDATE sip_accounts SET {column} = ? WHERE {column} = ?"
            database.execute(change, (lost, name))
        database.commit()
