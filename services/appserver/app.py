"""The composition root of an appserver: everything is made and joined here, and only here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from services.appserver import gauges, making
from services.appserver.adapters.clockwork import Clockwork
from services.appserver.adapters.http_trigger import HttpxTrigger
from services.appserver.adapters.loopback import Loopback
from services.appserver.adapters.web import HttpxWeb
from services.appserver.config import AppServerConfig
from services.appserver.dialplans import Parts, Used, make_engine, make_transfers
from services.appserver.domain.domains import Domains
from services.appserver.domain.fence import Fence
from services.appserver.domain.location import LocationTable
from services.appserver.domain.loops import Loops
from services.appserver.domain.ownership import Ownership
from services.appserver.domain.proxies import Proxies
from services.appserver.entrypoints.grpc_callcontrol import SERVICE, GrpcCallControl
from services.appserver.handlers.bindings import Bindings
from services.appserver.handlers.callbacks import Callbacks
from services.appserver.handlers.calls import Calls as B2bua
from services.appserver.handlers.core import Core
from services.appserver.handlers.hints import Hints
from services.appserver.handlers.membership import Membership
from services.appserver.handlers.news import News
from services.appserver.handlers.no_transfers import NoTransfers
from services.appserver.handlers.outside import Outside, Places
from services.appserver.handlers.planner import Planner
from services.appserver.handlers.registrations import Registrations
from services.appserver.handlers.signals import Signals
from services.appserver.handlers.subscriptions import Subscriptions
from services.appserver.handlers.tools import Tools
from services.appserver.handlers.traces import Send, Traces
from services.appserver.handlers.transfer_counts import TransferCounts
from services.appserver.handlers.watch import Looks, Statistics, Watch
from services.appserver.handlers.watched import Watched
from services.appserver.ports import (
    CallHost,
    Calls,
    CallsFactory,
    HttpTrigger,
    Pilot,
    Referral,
    Resolver,
    Transfers,
)
from tandem import __version__
from tandem.bus.node_events import NodeDraining, NodeStarted, NodeStopped
from tandem.bus.nodes import NodeAnnounced, Nodes, NodeState
from tandem.bus.ports import Bus, Keep, Topic
from tandem.rpc.directory import Account, Directory, DirectoryUnavailable
from tandem.rpc.programs import NoPrograms, Programs
from tandem.rpc.server import GrpcServer
from tandem.runtime.ids import RandomIds
from tandem.runtime.metrics import Metrics
from tandem.sip.errors import RemoteFault
from tandem.sip.message import parse_message
from tandem.sip.transaction import TransactionLayer
from tandem.siptransport.link import Link
from tandem.stubs.callcontrol.v1.callcontrol_pb2_grpc import add_CallControlServicer_to_server

if TYPE_CHECKING:
    from tandem.runtime.telemetry import Tracing

logger = logging.getLogger(__name__)

START_SECONDS: Final = 10.0
"""Longest wait for the snapshot at the start: after it the node serves with what it hears."""


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
        http: HttpTrigger | None = None,
        programs: Programs | None = None,
        parts: Parts | None = None,
    ) -> None:
        """Without `programs` it registers at no providers."""
        self.config = config
        self._programs = programs or NoPrograms()
        self._bus = bus
        self.statistics = Statistics()
        self._transfer_counts = TransferCounts()
        self._watched = Watched(wall)
        self.traces = Traces(bus, wall, self._owners_of, self._watched)
        looks: list[Looks] = [self.statistics, self._transfer_counts, self.traces]
        self._loopback = Loopback(link.send, self.receive)
        self._loops = Loops()
        self._send: Send = self._loopback.send
        registers = None
        if tracing is not None:
            # not at the top: most switches are not traced, and OpenTelemetry takes time to load
            from services.appserver.handlers.register_spans import RegisterSpans
            from services.appserver.handlers.spans import CallSpans

            looks.insert(0, CallSpans(tracing, self.traces))
            registers = RegisterSpans(tracing)
            self._send = registers.sending(self._send)
        self._publisher = Watch(bus, *looks)
        self._tracing = tracing
        self._directory = directory
        self._link = link
        self._incarnation = int(wall() * 1000)
        self._nodes: Nodes | None = None
        self._membership: Membership | None = None
        self._grpc = self._http = ""
        self.state = NodeState.ACTIVE
        """ACTIVE or DRAINING."""
        self._clock = clock
        self._work = Clockwork(clock, self._count_error)
        self.deadlines = self._work.deadlines
        self.domains = Domains(config.domains, config.own_hosts)
        self.location = LocationTable(config.node_id)
        self._new_token = RandomIds().hex
        self.tools = self._make_tools(wall)
        self.counters = self.tools.counters
        self.bindings = Bindings(self.tools)
        self._news = News(self.tools, self.bindings, directory, self._work.spawn)
        contact = f"Contact: <sip:{link.address}>"
        self.subscriptions = Subscriptions(self.tools, contact, self._work.arm)
        self._publisher.add(self.subscriptions.lines.calls)
        self._news.on_change = self.subscriptions.notifier.directory_changed
        self._subscribed = False
        self._core = Core(self.tools, self.bindings, self.traces, link.reliable, self.subscriptions)
        if registers is not None:
            self._core.register = registers.receiving(self._core.register)
        self.layer = TransactionLayer(
            self._send,
            self._core,
            self.deadlines,
            sent_by=link.address,
            new_token=self._new_token,
            sent=self.traces.sent,
        )
        fence = Fence(config.private_targets, config.barred_providers)
        ways = Outside(resolver, self._work.spawn, clock, self.tools.proxies, fence)
        self.calls: Calls = calls(self._call_host(wall, ways))
        self.callbacks = self._make_callbacks(http)
        self.signals = Signals(self.deadlines, clock, self._work.arm)
        used = Used(self.calls, self.callbacks, self.signals, ways, resolver, self._work.arm)
        self.dialplans = make_engine(self.tools, used, parts or Parts())
        self._transfers = make_transfers(
            self.dialplans, self.calls, lambda: self.state == NodeState.DRAINING
        )
        self.transfers: Transfers = self._transfers or NoTransfers()
        run = self.dialplans.begin if self.dialplans is not None else None
        planner = Planner(self.tools, self.layer, ways, self.callbacks.waits, self._loops, run)
        self._core.attach(self.layer, planner, self.calls, ways.judge)
        self.registrations = Registrations(
            self.tools, programs, self.layer, ways, self.traces, self._work.spawn, link.reliable
        )

    def _make_tools(self, wall: Callable[[], float]) -> Tools:
        config, spawn, clock = self.config, self._work.spawn, self._clock
        return Tools(
            config=config,
            domains=self.domains,
            accounts=making.accounts(config, self._directory, spawn, clock),
            programs=making.programs(config, self._programs, spawn, clock),
            authenticator=making.authenticator(config),
            table=self.location,
            ownership=Ownership(config.node_id),
            proxies=Proxies(),
            publisher=self._publisher,
            deadlines=self.deadlines,
            send=self.traces.sending(self._send),
            send_outside=self.traces.sending_outside(self._send),
            tell=self._link.send,
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
            places=Places(ways, self.domains),
            judge=ways.judge,
            proxies=self.tools.proxies,
            loops=self._loops,
            refer=self._refer,
        )

    def _refer(self, referral: Referral) -> Pilot | None:
        """A REFER for the switch to do; None: nobody is there to do it."""
        return self._transfers.refer(referral) if self._transfers is not None else None

    def _make_callbacks(self, http: HttpTrigger | None) -> Callbacks:
        node, tools = self.config.node_id, self.tools
        observe = self.statistics.hint_acknowledged.observe
        hints = Hints(
            self._bus, node, self._proxies, tools.deadlines, self._clock, self._work.arm, observe
        )
        return Callbacks(
            tools,
            self.calls,
            hints,
            http or HttpxTrigger(HttpxWeb(private=self.config.trigger_private)),
            self._link.address,
            self._work.spawn,
            self._work.arm,
        )

    def _proxies(self) -> list[str]:
        """The live proxies; none in a process of its own, where there is nobody to choose."""
        return [said.node for said in self._nodes.alive("proxy")] if self._nodes else []

    def serve(self, server: GrpcServer) -> None:
        """Add the gRPC service, CallControl."""
        servicer = GrpcCallControl(
            self.callbacks, self.calls, self.hang_up, self.transfers, self.signals
        )
        server.add(add_CallControlServicer_to_server, servicer, SERVICE)

    def hang_up(self, call_id: str, reason: str) -> bool:
        """End a call, from outside of SIP; False if there is none with this id."""
        found = self.calls.hang_up(call_id, reason, self._clock())
        self._work.arm()
        return found

    def register(self, metrics: Metrics) -> None:
        """Show what this appserver did, and what is under way: all of that returns to zero when
        nobody calls."""
        gauges.show(
            metrics, self.tools, self.layer, self.calls, self._core.requests,
            lambda: self.state == NodeState.DRAINING,
        )  # fmt: skip
        self.statistics.register(metrics)
        self._transfer_counts.register(metrics)
        self.subscriptions.register(metrics)
        self.callbacks.register(metrics)
        self.signals.register(metrics)
        if self.dialplans is not None:
            self.dialplans.register(metrics)
        self.traces.register(metrics)
        self.registrations.register(metrics)

    # -- life ----------------------------------------------------------------------------------

    def join(self, nodes: Nodes, *, grpc: str = "", http: str = "") -> None:
        """Take part in a cluster, before `start`. `grpc` and `http` are the addresses, `host:port`,
        that it announces."""
        self._nodes = nodes
        self._grpc, self._http = grpc, http
        nodes.on_drain = self.drain
        self._membership = Membership(self.tools, self.bindings, self.calls, nodes)
        self._membership.on_proxy_lost = self.subscriptions.notifier.proxy_lost
        self.subscriptions.join(nodes)

    def subscribe(self) -> None:
        """Begin to hear what the bus brings; `start` does it otherwise. Before the bus starts, so
        that nothing is missed between the snapshot and the first delivery."""
        if self._subscribed:
            return
        self._subscribed = True
        node, news = self.config.node_id, self._news
        subscribe = self._bus.subscribe
        subscribe(Topic.LOCATION, news.on_location, name=f"{node}-loc", keep=Keep.NODE)
        subscribe(Topic.DIRECTORY, news.on_directory, name=f"{node}-dir")
        subscribe(Topic.INTEREST, self._watched.on_interest, name=f"{node}-interest")
        self._bus.on_resumed(news.resumed)
        self.callbacks.hints.start()
        self.subscriptions.listen(self._bus)

    async def start(self) -> None:
        """Learn domains and bindings, then take messages. Provisioning may be away: then the
        configured domains serve, and the rest is caught up with."""
        self.subscribe()
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._news.snapshot()
        except (DirectoryUnavailable, TimeoutError):
            logger.warning("provisioning does not answer: starting without its domains")
            self._news.catch_up()
        self._link.receiver = self.receive
        now = self._clock()
        self.bindings.start(now)
        self.subscriptions.lines.start(now)
        if self._membership is not None:
            self._membership.start(now)
        self.registrations.start(now)
        self._work.arm()
        self._bus.publish(Topic.EVENTS, NodeStarted(what="appserver", version=__version__))
        if self._nodes is not None:
            self._nodes.start()

    def describe(self) -> NodeAnnounced:
        """What this node announces."""
        return NodeAnnounced(
            node=self.config.node_id,
            kind="appserver",
            incarnation=self._incarnation,
            version=__version__,
            state=self.state,
            weight=self.config.weight,
            sip=self._link.address,
            grpc=self._grpc,
            http=self._http,
            calls=len(self.calls),
            bindings=self.location.own,
            hints=len(self.callbacks.hints),
        )

    def drain(self, draining: bool) -> None:
        """Take no new calls, or take them again: the proxies are told, by an announcement and by
        the answers to their probes. What still comes is served all the same."""
        if draining == (self.state == NodeState.DRAINING):
            return
        self.state = NodeState.DRAINING if draining else NodeState.ACTIVE
        self._core.draining = draining
        self.registrations.drain(draining)
        self._bus.publish(Topic.EVENTS, NodeDraining(what="appserver", draining=draining))
        if self._nodes is not None:
            self._nodes.announce()
        self.subscriptions.notifier.drain(draining, self._clock())
        self._work.arm()

    def leave(self) -> None:
        """Drain for good: the node is about to stop."""
        self.drain(True)
        if self._nodes is not None:
            self._nodes.on_drain = None

    async def ready(self) -> bool:
        """Whether new calls are welcome: what provisioning knows was read, and it doesn't drain."""
        return self._news.caught_up and self.state == NodeState.ACTIVE

    async def send_away(self) -> None:
        """Tell phones that subscribed to do so elsewhere; `stop` does, too. For when the proxies
        of this process stop before it."""
        self.subscriptions.notifier.stop(self._clock())
        await asyncio.sleep(0)  # a link in memory delivers in the next turn

    async def stop(self) -> None:
        """Say good-bye and take no more messages; bindings and calls stay as they are."""
        await self.registrations.stop()
        if self._nodes is not None:
            await self._nodes.stop()
        self._link.receiver = lambda data, peer: None
        self._loopback.close()
        await self.calls.stop()
        if self.dialplans is not None:
            await self.dialplans.stop()
        await self._work.stop()
        await self.send_away()
        self._bus.publish(Topic.EVENTS, NodeStopped(what="appserver"))

    # -- messages and time ---------------------------------------------------------------------

    def receive(self, data: bytes, peer: str) -> None:
        """The receiver of the link. Never raises."""
        self._core.receive(data, peer, self._clock())
        self._work.arm()

    def run_deadlines(self, now: float) -> None:
        """Do what is due."""
        self._work.run(now)

    def _count_error(self) -> None:
        self.counters.errors += 1

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
