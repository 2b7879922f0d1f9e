"""Customers with phones on a cluster, people who call them, and a provider that calls back."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, Self

from services.proxy.domain.appservers import Appservers
from tandem.rpc.channel import open_channel
from tandem.rpc.security import Security
from tandem.stubs.callcontrol.v1 import callcontrol_pb2 as pb
from tandem.stubs.callcontrol.v1.callcontrol_pb2_grpc import CallControlStub
from tests.support.cluster import DOMAIN, Cluster
from tests.support.following import Following
from tests.support.node import Node
from tests.support.provider import Provider
from tests.support.udpagent import UdpAgent, UdpCall, session
from tests.support.waiting import PATIENCE_SECONDS, eventually

PASSWORD: Final = "secret1"
SECONDS: Final = 120.0
"""Deadline of a stream: longer than any test of them takes."""

PATIENTLY: Final[dict[str, Any]] = {"timeout": 10, "wait_for_ready": True}
"""An appserver may have been started again."""


def call_id_for(cluster: Cluster, appserver: str) -> str:
    """A Call-ID that its hash sends there, while all appservers are active."""
    choice = Appservers(node.internal for node in cluster.appservers)
    while choice.pick((token := secrets.token_hex(8)).encode()) != cluster[appserver].internal:
        pass
    return token


@dataclass(frozen=True)
class Account:
    """An account with one phone."""

    customer: str
    user: str
    phone: UdpAgent

    @property
    def address(self) -> str:
        """`user@domain`."""
        return f"{self.user}@{DOMAIN}"


@dataclass(frozen=True)
class Held:
    """A call that rings at an account, and where Tandem has it."""

    call: UdpCall
    appserver: str
    """The node's name."""
    id: str


class Town:
    """Everything goes through proxies chosen at random. Use `open` and `close`."""

    provider: Provider
    callers: UdpAgent

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.controls: dict[str, CallControlStub] = {}
        """By the name of the appserver."""
        self._security = Security(None, None, None, cluster.local.shared.cluster_key)
        self._channels: list[Any] = []
        self._agents: list[UdpAgent] = []
        self._numbers = count(secrets.randbelow(10**6) * 1000)

    @classmethod
    async def open(cls, cluster: Cluster) -> Self:
        """Nobody lives there yet."""
        town = cls(cluster)
        town.provider = await Provider.open(town.any_proxy)
        town.callers = await town.agent("callers")
        for node in cluster.appservers:
            channel = open_channel(node.grpc, town._security)
            town._channels.append(channel)
            town.controls[node.name] = CallControlStub(channel)
        return town

    async def close(self) -> None:
        """Leave the network."""
        for channel in self._channels:
            await channel.close()
        await self.provider.close()
        for agent in self._agents:
            agent.close()

    def any_proxy(self) -> str:
        """The address of one that runs."""
        return random.choice([node for node in self.cluster.proxies if node.running]).sip

    def number(self) -> str:
        """That of nobody else."""
        return f"1{next(self._numbers):010}"

    async def agent(self, name: str) -> UdpAgent:
        """Closed with the town."""
        agent = await UdpAgent.open(name)
        self._agents.append(agent)
        return agent

    async def customer(self) -> str:
        """A new one; the user name."""
        name = f"c{secrets.token_hex(4)}"
        await self.cluster.add_customer(name, "correct horse")
        return name

    async def account(self, customer: str, *, answers: bool = False) -> Account:
        """A new one, its phone registered through any proxy; the phone rings, or answers."""
        user = f"u{secrets.token_hex(4)}"
        await self.cluster.api.add_account(user, PASSWORD, owner=customer)
        phone = await self.agent(user)
        if answers:
            phone.on_invite = UdpCall.accept
        await phone.register(self.any_proxy(), user, PASSWORD, DOMAIN)
        return Account(customer, user, phone)

    async def registered(self, accounts: Iterable[Account]) -> None:
        """Wait until every appserver knows where they are."""
        wanted = {account.address for account in accounts}

        async def known() -> int:
            page = await self.cluster.api.get("/bindings", count=1000)
            found = {item["aor"] for item in page["items"]}
            return len(page["items"]) if wanted <= found else 0

        number = await eventually(known, "all bindings at provisioning")
        for node in self.cluster.appservers:

            async def look(node: Node = node) -> bool:
                return (await node.metrics())["tandem_bindings"] >= number

            await eventually(look, f"all bindings at {node.name}")

    def ring(self, account: Account, number: str, *, proxy: str = "", call_id: str = "") -> UdpCall:
        """An ordinary call from outside."""
        return self.callers.invite(
            proxy or self.any_proxy(),
            f"sip:{account.address}",
            user=number,
            offer=session(number),
            call_id=call_id,
        )

    async def hold(self, account: Account, appserver: str, proxy: str = "") -> Held:
        """A call that rings there, on this appserver."""
        call_id = call_id_for(self.cluster, appserver)
        call = self.ring(account, self.number(), proxy=proxy, call_id=call_id)
        await call.until(call.ringing)
        (held,) = await self.held([call])
        assert held.appserver == appserver
        return held

    async def held(self, calls: Iterable[UdpCall]) -> list[Held]:
        """These calls, which ring at least, as Tandem knows them; in order."""
        found: dict[str, Held] = {}
        calls = list(calls)
        callers = {call.caller: call for call in calls}
        for name, control in self.controls.items():
            if not self.cluster[name].running:
                continue
            listed = await control.ListCalls(pb.ListCallsRequest(), **PATIENTLY)
            for each in listed.calls:
                number = each.caller.removeprefix("sip:").partition("@")[0]
                if number in callers:
                    found[number] = Held(callers[number], name, each.call_id)
        return [found[call.caller] for call in calls]

    def follow(self, appserver: str, **request: Any) -> Following:
        """Start a callback there."""
        wanted = pb.StartCallbackRequest(**request)
        return Following(self.controls[appserver].StartCallback(wanted, timeout=SECONDS))

    def trigger(self) -> pb.Trigger:
        """The provider is asked, and the test has it call when it likes."""
        return pb.Trigger(url=self.provider.url, form=[pb.Field(name="please", value="call back")])

    async def hints(self) -> int:
        """How many hold on all appservers."""
        request = pb.ListHintsRequest()
        answers = [await c.ListHints(request, **PATIENTLY) for c in self.controls.values()]
        return sum(len(answer.hints) for answer in answers)

    async def hints_at(self, proxy: Node) -> int:
        """How many a proxy has."""
        return int((await proxy.metrics())["tandem_proxy_hints_live"])

    async def quiet(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until no call is under way, and nobody knows a hint."""

        async def look() -> bool:
            for control in self.controls.values():
                if (await control.ListCalls(pb.ListCallsRequest(), **PATIENTLY)).calls:
                    return False
            at_proxies = [await self.hints_at(proxy) for proxy in self.cluster.proxies]
            return await self.hints() + sum(at_proxies) == 0

        await eventually(look, "all calls and hints to be over", seconds)
