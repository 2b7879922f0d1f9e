"""A cluster under load in which one part at a time is broken, and what its users saw of it."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.cluster import DOMAIN, Cluster, Node
from tests.support.clusterload import Load, Placed, Records, Sink, known_everywhere, recorded
from tests.support.sipp import SippPhone, SippRun
from tests.support.udpagent import UdpAgent, UdpCall
from tests.support.waiting import eventually
from tests.support.watchers import PASSWORD, Answered, Console, Phones, RegisteringPhone

CALLS_PER_SECOND: Final = 3
HOLD_MS: Final = 5_000
REGISTER_SECONDS: Final = 2.0
PHONES: Final = 8
BRIEF: Final = "brief"
"""An account whose phone registers for the shortest time that is allowed."""
BRIEF_SECONDS: Final = 60
HELD: Final = 4
TRIES: Final = 8
"""Calls to one phone: with so many Call-IDs, each appserver has some of them."""
ASKED: Final = 20
"""REGISTERs of an account, each with a Call-ID of its own: that all of them go to the same one of
two appservers happens once in half a million times."""
logger = logging.getLogger(__name__)

WELL_SECONDS: Final = 90.0
"""For everything to be well again."""

Metrics = dict[str, float]


@dataclass
class Facts:
    """What was seen."""

    calls: dict[str, Placed] = field(default_factory=dict)
    """sipp's calls from outside, by Call-ID."""
    challenged: int = 0
    """Calls from an account to another, all of which went well."""
    records: Records = field(default_factory=dict)
    log: list[int] = field(default_factory=list)
    """The ids of all events since the consoles opened, as a page tells them afterwards."""
    consoles: list[Console] = field(default_factory=list)
    phones: Phones = field(default_factory=lambda: Phones([]))
    new: dict[str, list[Answered]] = field(default_factory=dict)
    """First registrations, with a new Call-ID, of accounts that the appservers know."""
    stranger: dict[str, Answered] = field(default_factory=dict)
    """The registration of an account that no appserver has ever asked for."""
    found: dict[str, list[int]] = field(default_factory=dict)
    """Answers to calls through every appserver to a phone that registered in the outage."""
    metrics: dict[str, dict[str, Metrics]] = field(default_factory=dict)
    """By moment and node."""
    writes: dict[str, list[tuple[str, int, str | None]]] = field(default_factory=dict)
    """Method, status and Retry-After."""
    reads: dict[str, dict[str, int]] = field(default_factory=dict)
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """All accounts by name, at a moment."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How long something took."""


class Outage:
    """Load on a cluster. Use as a context; `end` before leaving it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.facts = Facts()
        self._folder = Path(tempfile.mkdtemp(prefix="tandem-outage-"))
        self._stack = AsyncExitStack()
        self._loads: list[Load] = []
        self._runs: list[SippRun] = []
        self._held: list[tuple[UdpCall, UdpCall]] = []
        self._agents: list[UdpAgent] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._known: list[RegisteringPhone] = []
        self._sink = ""
        self._began = 0.0
        self._first = 0
        self._numbers = count(1)

    # -- load ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Outage:
        try:
            await self._begin()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _begin(self) -> None:
        cluster, api = self.cluster, self.cluster.api
        self._began = time.time()
        await api.add_account("caller", PASSWORD)
        await self._ask_everywhere("caller")
        phones = [await self._phone(f"phone{number}", number) for number in range(PHONES)]
        brief = await self._phone(BRIEF)
        brief.expires = BRIEF_SECONDS
        self.facts.phones = Phones([*phones, brief])
        self._first = (await cluster.events_apis[0].get("/events", count=1))["cursor"]
        bases = [node.http for node in cluster.events]
        for turn in range(len(bases)):
            token = api.client.headers["Authorization"]
            self.facts.consoles.append(Console(bases[turn:] + bases[:turn], token, self._first))
        for work in (
            *(c.run() for c in self.facts.consoles),
            self.facts.phones.run(REGISTER_SECONDS),
        ):
            self._tasks.append(asyncio.create_task(work))
        sink = await self._stack.enter_async_context(Sink.open(cluster, cluster.proxies[0]))
        self._sink = sink.user
        await self._hold()
        for proxy in cluster.proxies:
            self._loads.append(await sink.load(proxy, rate=CALLS_PER_SECOND, hold_ms=HOLD_MS))
        for load in self._loads:
            await load.answered(CALLS_PER_SECOND)

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for run in self._runs:
            await run.stop()
        await self._stack.aclose()
        for agent in self._agents:
            agent.close()
        shutil.rmtree(self._folder)

    async def _phone(self, user: str, number: int = 0, *, add: bool = True) -> RegisteringPhone:
        if add:
            await self.cluster.api.add_account(user, PASSWORD)
        proxy = self.cluster.proxies[number % len(self.cluster.proxies)]
        phone = await RegisteringPhone.open(user, DOMAIN, proxy.sip)
        self._agents.append(phone.agent)
        return phone

    async def _hold(self) -> None:
        """Calls that stay up from the first moment to the last."""
        first, last = self.cluster.proxies[0], self.cluster.proxies[-1]
        callee = await UdpAgent.open("held", lambda call: call.accept())
        caller = await UdpAgent.open("holder")
        self._agents += [callee, caller]
        await self.cluster.api.add_account("held", PASSWORD)
        await callee.register(first.sip, "held", PASSWORD, DOMAIN)
        await known_everywhere(self.cluster, "held")
        for _ in range(HELD):
            call = caller.invite(last.sip, f"sip:held@{DOMAIN}")
            await call.until(call.answered)
            self._held.append((call, callee.calls[-1]))

    async def know(self, count: int) -> None:
        """Have accounts that every appserver knows, and whose phones are registered nowhere."""
        for _ in range(count):
            number = next(self._numbers)
            user = f"known{number}"
            phone = await self._phone(user, number)
            await self._ask_everywhere(user)
            self._known.append(phone)

    async def _ask_everywhere(self, user: str) -> None:
        """With so many Call-IDs, each appserver asks for the account."""
        for number in range(ASKED):
            phone = await self._phone(user, number, add=False)

            async def registered(phone: RegisteringPhone = phone) -> bool:
                # an appserver may need a second to find provisioning again
                return (await phone.register()).status == 200

            await eventually(registered, f"{user} to be known")
            assert (await phone.register(0)).status == 200

    # -- during an outage ----------------------------------------------------------------------

    async def register_new(self, outage: str) -> list[str]:
        """Register phones of known accounts for the first time; the names of the accounts."""
        phones, self._known = self._known, []
        self.facts.new[outage] = [await phone.register() for phone in phones]
        return [phone.user for phone in phones]

    async def register_stranger(self, outage: str, user: str) -> None:
        """Register a phone of an account that exists, and that nobody has asked for."""
        phone = await self._phone(user, add=False)
        self.facts.stranger[outage] = await phone.register()

    async def call_by_accounts(self, seconds: float) -> None:
        """Begin calls from an account to another that are challenged: two a second."""
        number = len(self._runs)
        proxy = self.cluster.proxies[number % len(self.cluster.proxies)]
        sipp = SippPhone(self._folder, "caller", PASSWORD, proxy.sip)
        calls = int(seconds * 2)
        self.facts.challenged += calls
        self._runs.append(await sipp.start("call", callee=self._sink, calls=calls, rate=2))

    async def reinvite(self) -> None:
        """An INVITE inside each call that is held; it must get through."""
        for call, other in self._held:
            other.reinvited.clear()
            call.request("INVITE", call.offer)
            await call.until(other.reinvited)

    async def look(self, moment: str) -> None:
        """Note the metrics of all nodes that run."""
        nodes = [node for node in self.cluster.nodes.values() if node.running]
        found = await asyncio.gather(*(node.metrics() for node in nodes))
        self.facts.metrics[moment] = {n.name: m for n, m in zip(nodes, found, strict=True)}

    async def write(self, moment: str, account: str, new: str) -> None:
        """Try to change `account` (an id), to remove it, and to add one."""
        client = self.cluster.api.client
        one = f"/api/v1/sip-accounts/{account}"
        answers = [
            await client.patch(one, json={"enabled": False}),
            await client.delete(one),
            await client.post("/api/v1/sip-accounts", json={"username": new, "password": PASSWORD}),
        ]
        self.facts.writes[moment] = [
            (a.request.method, a.status_code, a.headers.get("retry-after")) for a in answers
        ]

    async def refuses_writes(self, account: str) -> None:
        """Wait until the database's new settings have reached its connections."""

        async def refused() -> bool:
            path = f"/api/v1/sip-accounts/{account}"  # is enabled
            answer = await self.cluster.api.client.patch(path, json={"enabled": True})
            return answer.status_code == 503

        await eventually(refused, "writes to be refused")

    async def read(self, moment: str) -> None:
        """Note what reading gives."""
        found = {}
        for api, path in (
            (self.cluster.api, "/sip-accounts"),
            (self.cluster.api, "/bindings"),
            (self.cluster.events_apis[0], "/cdrs"),
            (self.cluster.events_apis[-1], "/calls"),
        ):
            found[path] = (await api.client.get(f"/api/v1{path}")).status_code
        self.facts.reads[moment] = found

    async def note_accounts(self, moment: str) -> None:
        """Note all accounts."""
        page = await self.cluster.api.get("/sip-accounts", count=1000)
        self.facts.accounts[moment] = {item["username"]: item for item in page["items"]}

    async def find(self, outage: str, users: list[str]) -> None:
        """Call each user through every appserver."""
        answers = self.facts.found.setdefault(outage, [])
        caller = await UdpAgent.open("finder")
        self._agents.append(caller)
        for user in users:
            for number in range(TRIES):
                proxy = self.cluster.proxies[number % len(self.cluster.proxies)]
                call = caller.invite(proxy.sip, f"sip:{user}@{DOMAIN}")
                done = [asyncio.create_task(e.wait()) for e in (call.answered, call.over)]
                await asyncio.wait(done, timeout=40, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.cancel()
                answers.append(call.status)
                if call.answered.is_set():
                    await call.hang_up()

    async def takes(self, what: str, look: Callable[[], Awaitable[Any]]) -> None:
        """Wait for something, and note how long that takes from now."""
        began = time.monotonic()
        await eventually(look, what, WELL_SECONDS)
        self.facts.seconds[what] = time.monotonic() - began

    async def well(self, after: str) -> None:
        """Wait until every node is ready, and nothing waits anywhere; note how long that takes."""

        async def ready() -> bool:
            nodes = self.cluster.nodes.values()
            return all([await node.health() == 200 for node in nodes])

        async def sent() -> bool:
            found = [await node.metrics() for node in self.cluster.nodes.values()]
            return all(m["tandem_bus_connected"] and waiting(m) < 50 for m in found)

        async def stored() -> bool:
            # as old as on a machine that is busy
            return all([await _delay(node) < 5 for node in self.cluster.events])

        began = time.monotonic()
        for what, look in (("ready", ready), ("sent", sent), ("stored", stored)):
            await eventually(look, f"{what} after {after}", WELL_SECONDS)
            self.facts.seconds[f"{what} after {after}"] = time.monotonic() - began
            logger.info("%s after %s: %.1f s", what, after, time.monotonic() - began)

    # -- the end -------------------------------------------------------------------------------

    async def end(self) -> None:
        """Hang up what is held, end the load, and wait until the switch has told everything."""
        facts, cluster = self.facts, self.cluster
        await self.reinvite()
        for call, _ in self._held:
            assert not call.over.is_set()
            await call.hang_up()
        for run in self._runs:
            await run.succeeded()
        for load in self._loads:
            facts.calls |= await load.stop()
        facts.phones.stopping = True
        held = [call.invite.call_id for call, _ in self._held]
        by_python = {i: Placed(i, 0.0, 0.0, 0.0) for i in held}
        facts.calls |= by_python
        facts.records = await recorded(cluster, facts.calls.values(), self._began, WELL_SECONDS)
        await self.look("end")
        api = cluster.events_apis[0]

        async def followed() -> bool:
            last = (await api.get("/events", count=1))["cursor"]
            return all(console.cursor >= last for console in facts.consoles)

        await self.takes("consoles to be at the end", followed)
        cursor = self._first
        while True:
            page = await api.get("/events", cursor=cursor, count=1000)
            facts.log += [item["id"] for item in page["items"]]
            if page["cursor"] == cursor or not page["items"]:
                return
            cursor = page["cursor"]


def waiting(metrics: Metrics) -> float:
    """Envelopes of a node that are not with the broker."""
    return sum(v for name, v in metrics.items() if name.startswith("tandem_bus_outbox{"))


def lost(metrics: Metrics, topics: tuple[str, ...] = ("events", "location", "directory")) -> float:
    """Envelopes that a node gave up, of topics of which nothing may be lost."""
    return sum(
        value
        for name, value in metrics.items()
        if name.startswith("tandem_bus_dropped_total{")
        and any(f'topic="{topic}"' in name for topic in topics)
    )


async def _delay(node: Node) -> float:
    try:
        return (await node.metrics())["tandem_events_ingest_delay_seconds"]
    except httpx.HTTPError:
        return float("inf")
