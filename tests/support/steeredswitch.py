"""A real proxy and a real appserver in this process, whose calls a test steers.

    async with SteeredSwitch("line", "bob") as switch:
        switch.forks = [Fork((switch.outside(uri, agent.address),))]
        call = caller.invite(switch.address, switch.uri("line"))

Who calls `line` is steered: the forks are rung in turn. Other accounts ring their phones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from services.appserver.adapters.outside import OutsideResolver
from services.appserver.app import AppServer
from services.appserver.config import AppServerConfig
from services.appserver.domain.plan import CallPlan, Fork, LegOptions, Target
from services.appserver.domain.routing import to_outside, to_self
from services.appserver.handlers.calls import Calls
from services.appserver.ports import CallHost, LegFailure
from services.proxy.app import Proxy
from services.proxy.config import ProxyConfig
from tandem.bus.call_events import CallRecord
from tandem.bus.memory import MemoryBus
from tandem.bus.ports import Envelope, Topic
from tandem.runtime.address import HostPort
from tandem.sip.transaction import ServerTransaction
from tandem.siptransport.link import Hub, MemoryLink
from tandem.siptransport.resolver import Hop, Resolver
from tests.support.appserver import DOMAIN, FakeDirectory, account
from tests.support.udpagent import UdpAgent

LINE: Final = "line"
LINK_PROXY: Final = "proxy.invalid:5060"
LINK_APPSERVER: Final = "appserver.invalid:5060"
KEY: Final = "00" * 32


class Piloted(Calls):
    """Steers what is called LINE."""

    def __init__(self, host: CallHost, switch: SteeredSwitch) -> None:
        super().__init__(host)
        self._switch = switch

    def start(self, tx: ServerTransaction, plan: CallPlan, now: float) -> None:
        """As routing asks."""
        if plan.callee is None or plan.callee.username != LINE:
            super().start(tx, plan, now)
            return
        pilot = Pilot(self._switch)
        call_id = self.begin(tx, plan, pilot, now)
        if call_id is not None:
            pilot.next(call_id, now)


class Pilot:
    """Rings the switch's forks one after the other."""

    def __init__(self, switch: SteeredSwitch) -> None:
        self._switch = switch
        self._call_id = ""

    def next(self, call_id: str, now: float) -> None:
        """The next one, or give up."""
        self._call_id = call_id
        calls, forks = self._switch.calls, self._switch.forks
        if forks:
            calls.ring(call_id, forks.pop(0), now)
        else:
            calls.refuse(call_id, 480, "Nobody answered", (), now)

    def failed(self, legs: Sequence[LegFailure], timed_out: bool, now: float) -> None:
        """Noted."""
        self._switch.failures += legs
        self.next(self._call_id, now)

    def answered(self, now: float) -> None:
        """Noted."""
        self._switch.told.append("answered")

    def gone(self, reason: str, now: float) -> None:
        """Noted."""
        self._switch.told.append(reason)


class SteeredSwitch:
    """The two services, and what their pilot does and hears."""

    def __init__(self, *users: str) -> None:
        self.users = (LINE, *users)
        self.forks: list[Fork] = []
        self.failures: list[LegFailure] = []
        self.told: list[str] = []
        self.records: list[CallRecord] = []
        self._phones: list[UdpAgent] = []

    @property
    def calls(self) -> Piloted:
        """The B2BUA."""
        assert isinstance(self.app.calls, Piloted)
        return self.app.calls

    async def __aenter__(self) -> SteeredSwitch:
        hub, bus = Hub(), MemoryBus("local")
        bus.subscribe(Topic.EVENTS, self._note, name="events")
        await bus.start()
        self._bus = bus
        self.app = AppServer(
            AppServerConfig(
                node_id="local", domains=(DOMAIN,), nonce_secret=KEY, private_targets=("allow",)
            ),
            bus,
            FakeDirectory(*(account(user) for user in self.users)),
            MemoryLink(LINK_APPSERVER, hub),
            OutsideResolver(Resolver()),
            calls=lambda host: Piloted(host, self),
        )
        config = ProxyConfig(
            node_id="proxy",
            sip_listen=(HostPort("127.0.0.1", 0),),
            appservers=(LINK_APPSERVER,),
            cluster_key=KEY,
            rate_limit=0,
            domains=(DOMAIN,),
        )
        self._proxy = Proxy(config, MemoryLink(LINK_PROXY, hub), bus)
        await self.app.start()
        await self._proxy.start()
        host, port = next(place[1:] for place in self._proxy.addresses if place[0] == "udp")
        self.address = f"{host}:{port}"
        await self.phone(LINE)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for phone in self._phones:
            phone.close()
        await self._proxy.stop()
        await self.app.stop()
        await self._bus.close()
        assert self.app.counters.errors == 0

    async def _note(self, batch: Sequence[Envelope]) -> None:
        self.records += [e.payload for e in batch if isinstance(e.payload, CallRecord)]

    async def phone(self, user: str) -> UdpAgent:
        """A phone that has registered for this account, and rings."""
        phone = await UdpAgent.open(user)
        self._phones.append(phone)
        await phone.register(self.address, user, "secret", DOMAIN)
        return phone

    async def agent(self, name: str) -> UdpAgent:
        """Somebody outside, who rings."""
        agent = await UdpAgent.open(name)
        self._phones.append(agent)
        return agent

    def uri(self, user: str) -> str:
        """Of an account."""
        return f"sip:{user}@{DOMAIN}"

    def outside(self, uri: str, address: str, **options: Any) -> Target:
        """A leg to this address (`host:port`)."""
        host, _, port = address.rpartition(":")
        hop = to_outside(Hop("udp", host, int(port)), LINK_PROXY)
        return Target(uri, (hop,), "", LegOptions(**options))

    def back(self, user: str, **options: Any) -> Target:
        """A leg to an account, by way of ourselves."""
        return Target(self.uri(user), (to_self(),), f"{user}@{DOMAIN}", LegOptions(**options))
