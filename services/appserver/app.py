"""The composition root of an appserver: everything is made and joined here, and only here."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from services.appserver.config import AppServerConfig
from services.appserver.domain.authentication import Authenticator
from services.appserver.domain.domains import Domains
from services.appserver.domain.guard import Guard
from services.appserver.domain.location import LocationTable
from services.appserver.domain.ownership import Ownership
from services.appserver.domain.proxies import Proxies
from services.appserver.domain.routing import objection
from services.appserver.handlers.accounts import AccountCache
from services.appserver.handlers.bindings import Bindings
from services.appserver.handlers.calls import Calls as B2bua
from services.appserver.handlers.core import Core
from services.appserver.handlers.outside import Outside
from services.appserver.handlers.planner import Planner
from services.appserver.handlers.tools import Tools
from services.appserver.handlers.traces import Traces
from services.appserver.handlers.watch import Looks, Statistics, Watch
from services.appserver.ports import CallHost, Calls, CallsFactory, Resolver
from tandem.bus.events import NodeStarted
from tandem.bus.ports import Bus, Envelope, Topic
from tandem.rpc.directory import Account, Directory, DirectoryChanged, DirectoryUnavailable
from tandem.runtime.ids import RandomIds
from tandem.runtime.metrics import Metrics
from tandem.sip.deadlines import Deadlines
from tandem.sip.errors import RemoteFault
from tandem.sip.message import parse_message
from tandem.sip.nonce import NonceCounter, NonceSource
from tandem.sip.transaction import TransactionLayer
from tandem.siptransport.link import Link

if TYPE_CHECKING:
    from tandem.runtime.telemetry import Tracing

logger = logging.getLogger(__name__)

START_SECONDS: Final = 10.0
"""Longest wait for the snapshot at the start: after it the node serves with what it hears."""
DOMAIN_RETRY_SECONDS: Final = 5.0
"""Between attempts to read the domains while provisioning is away."""
VERSION: Final = "0.1.0"


class AppServer:
    """Registrar, authentication, location and routing, with the B2BUA that `calls` makes."""

    def __init__(
        self,
        config: AppServerConfig,
        bus: Bus,
        directory: Directory,
        link: Link,
        resolver: Resolver,
        *,
        calls: CallsFactory = B2bua,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        tracing: Tracing | None = None,
    ) -> None:
        self.config = config
        self._bus = bus
        self.statistics = Statistics()
        self.traces = Traces(bus, wall, self._owners_of)
        looks: list[Looks] = [self.statistics, self.traces]
        if tracing is not None:
            # not at the top: most switches are not traced, and OpenTelemetry takes time to load
            from services.appserver.handlers.spans import CallSpans

            looks.insert(0, CallSpans(tracing, self.traces))
        self._publisher = Watch(bus, *looks)
        self._tracing = tracing
        self._directory = directory
        self._link = link
        self._send = self.traces.sending(link.send)
        self._clock = clock
        self.deadlines = Deadlines()
        self._timer: asyncio.TimerHandle | None = None
        self._armed_at = math.inf
        self._tasks: set[asyncio.Task[None]] = set()
        self.domains = Domains(config.domains, config.local_hosts)
        self.location = LocationTable(config.node_id)
        self._new_token = RandomIds().hex
        self.tools = self._make_tools(wall)
        self.counters = self.tools.counters
        self.bindings = Bindings(self.tools)
        self._core = Core(self.tools, self.bindings, self.traces, link.reliable)
        self.layer = TransactionLayer(
            self._send, self._core, self.deadlines, sent_by=link.address, new_token=self._new_token
        )
        ways = Outside(resolver, self._spawn, clock, self.tools.proxies)
        self.calls: Calls = calls(self._call_host(wall, ways))
        self._core.attach(self.layer, Planner(self.tools, self.layer, ways), self.calls, ways.judge)

    def _make_tools(self, wall: Callable[[], float]) -> Tools:
        config = self.config
        accounts = AccountCache(
            self._directory,
            self._spawn,
            self._clock,
            fresh_seconds=config.account_seconds,
            usable_seconds=config.account_max_seconds,
            missing_seconds=config.missing_seconds,
            limit=config.max_accounts,
        )
        return Tools(
            config=config,
            domains=self.domains,
            accounts=accounts,
            authenticator=_authenticator(config),
            table=self.location,
            ownership=Ownership(config.node_id),
            proxies=Proxies(),
            publisher=self._publisher,
            deadlines=self.deadlines,
            send=self._send,
            clock=self._clock,
            wall=wall,
            new_token=self._new_token,
            tracing=self._tracing,
        )

    def _call_host(self, wall: Callable[[], float], ways: Outside) -> CallHost:
        return CallHost(
            layer=self.layer,
            deadlines=self.deadlines,
            publisher=self._publisher,
            config=self.config,
            link_address=self._link.address,
            link_reliable=self._link.reliable,
            wall=wall,
            new_token=self._new_token,
            next_hops=ways.next_hops,
            judge=ways.judge,
            proxies=self.tools.proxies,
        )

    def register(self, metrics: Metrics) -> None:
        """Show what this appserver did, and what is under way: all of that returns to zero when
        nobody calls."""
        metrics.counters("tandem_appserver", self.counters, "What the appserver did")
        metrics.labelled("tandem_requests", "method", lambda: self._core.requests, "Requests")
        answers = self.layer.answers
        metrics.labelled(
            "tandem_answers",
            "status",
            lambda: {f"{n}xx": count for n, count in enumerate(answers) if n},
            "Answers to requests",
        )
        self.statistics.register(metrics)
        metrics.gauge("tandem_calls", lambda: len(self.calls), "Calls under way")
        metrics.gauge("tandem_transactions", lambda: len(self.layer), "Transactions under way")
        metrics.gauge("tandem_bindings", lambda: self.location.count, "Bindings known")
        metrics.gauge("tandem_traces", lambda: len(self.traces), "Legs whose messages are kept")

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Learn domains and bindings, then take messages. Provisioning may be away: then the
        configured domains serve, and the rest is caught up with."""
        self._bus.subscribe(Topic.LOCATION, self._on_location, name=f"{self.config.node_id}-loc")
        self._bus.subscribe(Topic.DIRECTORY, self._on_directory, name=f"{self.config.node_id}-dir")
        self._bus.subscribe(
            Topic.INTEREST, self.traces.on_interest, name=f"{self.config.node_id}-interest"
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                self.domains.load(await self._directory.domains())
                self.bindings.restore(await self._directory.bindings())
        except (DirectoryUnavailable, TimeoutError):
            logger.warning("provisioning does not answer: starting without its domains")
            self._spawn(self._load_domains())
        self._link.receiver = self.receive
        self.bindings.start(self._clock())
        self._arm()
        self._bus.publish(Topic.EVENTS, NodeStarted(what="appserver", version=VERSION))

    async def stop(self) -> None:
        """Take no more messages; bindings and calls stay as they are."""
        self._link.receiver = lambda data, peer: None
        await self.calls.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _load_domains(self) -> None:
        while True:
            try:
                self.domains.load(await self._directory.domains())
                return
            except DirectoryUnavailable:
                await asyncio.sleep(DOMAIN_RETRY_SECONDS)

    # -- messages and time ---------------------------------------------------------------------

    def receive(self, data: bytes, peer: str) -> None:
        """The receiver of the link. Never raises."""
        self._core.receive(data, peer, self._clock())
        self._arm()

    def _arm(self) -> None:
        """Move the loop's one timer when something is due before it; if what it was set for is
        cancelled it fires in vain."""
        due = self.deadlines.next()
        if due is None or due >= self._armed_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_at = due
        delay = max(0.0, due - self._clock())
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._armed_at = math.inf
        self.run_deadlines(self._clock())
        self._arm()

    def run_deadlines(self, now: float) -> None:
        """Do what is due. One that fails costs itself only: it is counted, the rest go on."""
        while True:
            try:
                self.deadlines.run(now)
                return
            except Exception:
                self.counters.errors += 1
                logger.exception("a deadline could not be met")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.counters.errors += 1
            logger.error("a look-up failed", exc_info=error)
        if self._armed_at < math.inf:
            self._arm()

    # -- the bus -------------------------------------------------------------------------------

    def _owners_of(self, data: bytes) -> tuple[str, ...]:
        """The customers of the accounts in From and To, as far as they are at hand."""
        try:
            message = parse_message(data)
            uris = (message.from_.uri, message.to.uri)
        except RemoteFault:
            return ()
        found = []
        for uri in uris:
            domain = self.domains.serviced(uri.host, uri.port) if uri.is_sip else None
            account = domain and self.tools.accounts.get(uri.unescaped_user, domain, self._clock())
            if isinstance(account, Account) and account.owner not in found:
                found.append(account.owner)
        return tuple(found)

    async def _on_location(self, batch: Sequence[Envelope]) -> None:
        for envelope in batch:
            self.bindings.heard(envelope.payload, envelope.node, envelope.time)

    async def _on_directory(self, batch: Sequence[Envelope]) -> None:
        for envelope in batch:
            if isinstance(envelope.payload, DirectoryChanged):
                self._on_change(envelope.payload)

    def _on_change(self, change: DirectoryChanged) -> None:
        """Ask anew before the next use; and for who is registered here, ask at once."""
        self.tools.accounts.invalidate(change.kind, change.key)
        if change.kind == "domain":
            self._spawn(self._load_domains())
        for aor in self._registered(change):
            username, _, domain = aor.rpartition("@")
            self.tools.accounts.wait(username, domain, partial(self._review, aor))

    def _registered(self, change: DirectoryChanged) -> set[str]:
        if change.kind == "sip-account":
            return {b.aor for b in self.location.bindings(change.key)}
        return {
            b.aor for b in self.location.all() if change.key in (b.owner, b.aor.rpartition("@")[2])
        }

    def _review(self, aor: str) -> None:
        """An account that is gone or may not be used any more keeps no bindings."""
        username, _, domain = aor.rpartition("@")
        account = self.tools.accounts.get(username, domain, self._clock())
        if account is None or (isinstance(account, Account) and objection(account) is not None):
            self.bindings.account_removed(aor)


def _authenticator(config: AppServerConfig) -> Authenticator:
    secret = config.nonce_secret.encode() or os.urandom(32)
    guard = Guard(
        forbid_after=config.forbid_after,
        ban_after=config.ban_after,
        ban_address_after=config.ban_address_after,
        ban_seconds=config.ban_seconds,
    )
    key = hashlib.sha256(b"tandem nonce" + secret).digest()
    nonces = NonceSource(key, config.nonce_seconds)
    return Authenticator(nonces, NonceCounter(), guard, config.digest_algorithms)
