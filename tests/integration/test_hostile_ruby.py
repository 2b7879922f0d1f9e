"""What one customer's hostile Ruby dialplans do to the calls of another."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.test_hostile_dialplans import ATTACKERS, CALLS, delays, told
from tests.support.ruby import require_ruby
from tests.support.switch import DOMAIN, Switch
from tests.support.udpagent import UdpAgent, UdpCall
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = """
if sys.IsAvailable?("desk")
  sys.Log(req.Header.From.FromURI.User)
  sys.Dial("desk@local")
end
"""
HOSTILE = {
    "loop": "loop { }",
    "bomb": "a = []\nloop { a << 'x' * 100_000 }",
    "deep": "def f(n) = f(n + 1)\nloop { begin; f(0); rescue SystemStackError; end }",
    "chatty": "loop { sys.Log('x') }",
    "sleepy": "sleep 60",
    "wide": "loop { sys.Log('y' * 500_000) }",
}


async def add(switch: Switch, owner: str, account: str, source: str) -> None:
    """An account of a customer's whose incoming calls run this."""
    dialplan = {"name": account, "language": "ruby", "source": source, "owner": owner}
    (await switch.api.client.post("/api/v1/dialplans", json=dialplan)).raise_for_status()
    await switch.api.add_account(account, "secret1", owner=owner, in_dialplan=account)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(switch: Switch) -> AsyncIterator[UdpAgent]:
    """A phone that rings, and accounts whose calls are good and bad."""
    require_ruby()
    for name in ("goodcustomer", "evilcustomer"):
        body = {"username": name, "password": "a long password"}
        (await switch.api.client.post("/api/v1/customers", json=body)).raise_for_status()
    await switch.api.add_account("desk", "secret1", owner="goodcustomer")
    await add(switch, "goodcustomer", "front", GOOD)
    for name, source in HOSTILE.items():
        await add(switch, "evilcustomer", name, source)
    agent = await UdpAgent.open("desk")
    await agent.register(switch.address("udp"), "desk", "secret1", DOMAIN)
    yield agent
    agent.close()


async def attack(switch: Switch, attacker: UdpAgent, first: int, ended: list[UdpCall]) -> None:
    """Call one hostile dialplan after the other."""
    names = list(HOSTILE)
    for number in range(first, 1_000_000):
        name = names[number % len(names)]
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
    attacks = [
        asyncio.create_task(attack(switch, one, number, ended))
        for number, one in enumerate(attackers)
    ]

    async def begun() -> bool:
        return len(ended) > 0

    await eventually(begun, "the first end of an attack")
    before = len(ended)
    beside = await delays(switch, caller)
    for one in attacks:
        one.cancel()
    await asyncio.gather(*attacks, return_exceptions=True)
    sys.stdout.write(f"\n{told('quiet', quiet)}; {told('beside hostile Ruby', beside)}\n")
    assert len(beside) == CALLS
    assert len(ended) > before
    assert {call.status for call in ended} <= {480, 500, 503}
    for agent in (caller, *attackers):
        agent.close()
