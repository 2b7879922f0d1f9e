"""What one customer's hostile dialplans do to the calls of another: nothing that can be heard."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.switch import DOMAIN, Switch
from tests.support.udpagent import UdpAgent, UdpCall
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLS = 60
ATTACKERS = 20
HOSTILE = {
    "loop": "while True: pass",
    "bomb": "x = []\nwhile True: x.append('a' * 1000)",
    "deep": "def f(n): return f(n + 1)\nwhile True:\n    try: f(0)\n    except BaseException: pass",
    "chatty": "while True: sys.log('x')",
    "sleepy": "import time\ntime.sleep(60)",
    "wide": "sys.log(str([0] * 900000)[:10])\nwhile True: sys.log('y' * 200000)",
}


async def add(switch: Switch, owner: str, account: str, source: str) -> None:
    """An account of a customer's whose incoming calls run this."""
    client = switch.api.client
    dialplan = {"name": account, "language": "python", "source": source, "owner": owner}
    (await client.post("/api/v1/dialplans", json=dialplan)).raise_for_status()
    await switch.api.add_account(account, "secret1", owner=owner, in_dialplan=account)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(switch: Switch) -> AsyncIterator[UdpAgent]:
    """A phone that rings, and two accounts whose calls are good and bad."""
    client = switch.api.client
    for name in ("goodcustomer", "evilcustomer"):
        body = {"username": name, "password": "a long password"}
        (await client.post("/api/v1/customers", json=body)).raise_for_status()
    await switch.api.add_account("desk", "secret1", owner="goodcustomer")
    good = "if sys.is_available('desk'):\n    sys.log(req.from_user)\n    sys.dial('desk@local')"
    await add(switch, "goodcustomer", "front", good)
    for name, source in HOSTILE.items():
        await add(switch, "evilcustomer", name, source)
    agent = await UdpAgent.open("desk")
    await agent.register(switch.address("udp"), "desk", "secret1", DOMAIN)
    yield agent
    agent.close()


async def delays(switch: Switch, caller: UdpAgent) -> list[float]:
    """The post-dial delays of some calls, one after the other, in milliseconds."""
    found = []
    for _ in range(CALLS):
        began = time.perf_counter()
        call = caller.invite(switch.address("udp"), f"sip:front@{DOMAIN}")
        await call.until(call.ringing)
        found.append((time.perf_counter() - began) * 1000)
        call.cancel()
        await call.until(call.over)
    return sorted(found)


def told(name: str, found: list[float]) -> str:
    p99 = found[math.ceil(len(found) * 0.99) - 1]
    return f"{name}: p50 {found[len(found) // 2]:.1f} ms, p99 {p99:.1f} ms"


async def attack(switch: Switch, attacker: UdpAgent, ended: list[UdpCall]) -> None:
    """Call a hostile dialplan again and again."""
    names = list(HOSTILE)
    for number in range(1_000_000):
        name = names[(number + int(attacker.name.removeprefix("attacker"))) % len(names)]
        call = attacker.invite(switch.address("udp"), f"sip:{name}@{DOMAIN}")
        await call.over.wait()
        ended.append(call)
        await asyncio.sleep(0.2)  # it is the dialplans that are hostile here: no flood of calls


async def test_calls_of_others_keep_their_post_dial_delay(switch: Switch, desk: UdpAgent) -> None:
    caller = await UdpAgent.open("caller")
    attackers = [await UdpAgent.open(f"attacker{n}") for n in range(ATTACKERS)]
    await delays(switch, caller)
    quiet = await delays(switch, caller)
    ended: list[UdpCall] = []
    attacks = [asyncio.create_task(attack(switch, one, ended)) for one in attackers]

    async def begun() -> bool:
        return len(ended) > 0

    await eventually(begun, "the first end of an attack")
    before = len(ended)
    beside = await delays(switch, caller)
    for one in attacks:
        one.cancel()
    await asyncio.gather(*attacks, return_exceptions=True)
    sys.stdout.write(f"\n{told('quiet', quiet)}; {told('beside hostile dialplans', beside)}\n")
    assert len(beside) == CALLS
    assert len(ended) > before
    assert {call.status for call in ended} <= {480, 500, 503}
    for agent in (caller, *attackers):
        agent.close()
