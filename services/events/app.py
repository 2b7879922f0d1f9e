"""The composition root of the event service."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter

from services.events.adapters.eventlog import SqlEventLog
from services.events.config import EventsConfig
from services.events.domain.calls import LiveCalls
from services.events.entrypoints.grpc_feed import SERVICE, FeedServicer
from services.events.entrypoints.http import EventsApi
from services.events.handlers.consoles import Consoles
from services.events.handlers.feed import Feed
from services.events.handlers.ingest import Ingest
from services.events.handlers.lost import LostCalls
from services.events.handlers.queries import Queries
from services.events.handlers.retention import DAY, Keep, Retention
from services.events.handlers.tail import POLL_SECONDS, Tail, recovery_start
from services.events.handlers.watched import Watched
from services.events.ports import StorageError, Unusable
from tandem import __version__
from tandem.bus import ports
from tandem.bus.metrics import register_nodes
from tandem.bus.node_events import NodeStarted, NodeStopped
from tandem.bus.nodes import NodeAnnounced, Nodes
from tandem.bus.ports import Bus, Topic
from tandem.rpc.server import GrpcServer
from tandem.rpc.sessions import Sessions
from tandem.runtime.address import HostPort
from tandem.runtime.metrics import Metrics
from tandem.stubs.eventfeed.v1.eventfeed_pb2_grpc import add_EventFeedServicer_to_server

KIND: Final = "events"
REOPEN_SECONDS: Final = 1.0
"""Between attempts to open a database that is away."""

logger = logging.getLogger(__name__)


class Events:
    """Event log, call records, live calls and consoles. `cluster`: it is one of several nodes, so
    others may write the log too, and nodes may be lost."""

    def __init__(
        self,
        config: EventsConfig,
        bus: Bus,
        sessions: Sessions,
        clock: Callable[[], float] = time.time,
        *,
        cluster: bool = False,
    ) -> None:
        self._config = config
        self._clock = clock
        self._bus = bus
        self._log = SqlEventLog(config.database_url)
        self.calls = LiveCalls()
        self.feed = Feed(self._log)
        poll = POLL_SECONDS if cluster else None
        self.tail = Tail(self._log, self.calls, self.feed, bus, poll_seconds=poll)
        self.ingest = Ingest(self._log, self.tail, clock)
        self.watched = Watched(bus, clock)
        self.consoles = Consoles(
            self.feed,
            sessions,
            heartbeat_seconds=config.heartbeat_seconds,
            max_open=config.max_consoles,
            max_per_user=config.max_consoles_per_user,
            watched=self.watched,
        )
        self.retention = Retention(self._log, self.feed, self.calls, _keep(config), clock)
        self._queries = Queries(self._log, self.calls, self.feed)
        self._api = EventsApi(self._queries, self.consoles, sessions)
        self._tasks: list[asyncio.Task[None]] = []
        self._open = False
        self.nodes: Nodes | None = None
        self.lost: LostCalls | None = None
        bus.subscribe(Topic.EVENTS, self.ingest, name=KIND, keep=ports.Keep.SHARED)
        if cluster:
            self._make_cluster_parts()

    def _make_cluster_parts(self) -> None:
        config = self._config
        self._bus.subscribe(Topic.FEED, self.tail.heard, name=f"{config.node_id}-feed")
        self._me = NodeAnnounced(
            node=config.node_id,
            kind=KIND,
            incarnation=int(self._clock() * 1000),
            version=__version__,
        )
        self.nodes = Nodes(self._bus, lambda: self._me, time.monotonic)
        self.lost = LostCalls(
            self._log,
            self.calls,
            self.tail,
            self.nodes,
            self._bus,
            node=config.node_id,
            lost_seconds=config.lost_seconds,
            clock=self._clock,
        )

    async def start(self) -> None:
        """Open the database. Raises `services.events.ports.StorageError` if that fails; in a
        cluster only for a setting that can't be right: a database that is away is tried again."""
        try:
            await self._begin()
        except Unusable:
            raise
        except StorageError as error:
            if self.nodes is None:
                raise
            logger.warning("%s; trying again", error)
            self._spawn(self._begin_later(str(error)), "opening")

    async def _begin(self) -> None:
        await self._log.open()
        recovered = recovery_start(self._clock) if self._config.recover_calls else None
        await self.tail.start(recovered)
        self._spawn(self.tail.run(), "tail")
        self._spawn(self.retention.run(), "retention")
        if self.lost is not None:
            self._spawn(self.lost.run(), "lost calls")
        self._open = True

    async def _begin_later(self, told: str) -> None:
        while not self._open:
            await asyncio.sleep(REOPEN_SECONDS)
            try:
                await self._begin()
            except StorageError as error:
                if str(error) != told:
                    told = str(error)
                    logger.warning("%s", told)
        logger.warning("the events database is open")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    def join(self, *, grpc: HostPort, http: HostPort) -> None:
        """Be one of the nodes, and tell the others where it serves. For a node of a cluster, when
        the bus is open."""
        assert self.nodes is not None, "this node is alone"
        self._me = replace(self._me, grpc=str(grpc), http=str(http))
        self.nodes.start()
        self._bus.publish(Topic.EVENTS, NodeStarted(what=KIND, version=__version__))

    async def leave(self) -> None:
        """Say good-bye to the others, while the bus is open."""
        if self.nodes is not None:
            await self.nodes.stop()
            self._bus.publish(Topic.EVENTS, NodeStopped(what=KIND))

    async def ready(self) -> bool:
        """Whether consoles are served well: the log can be read, and in a cluster we have heard
        of ourselves. A broker that goes away later makes nobody unready, since the log can still
        be read, and the delay is shown."""
        heard = self.nodes is None or self._config.node_id in self.nodes.known
        return self._open and not self.tail.failing and heard

    def close_consoles(self) -> None:
        """Say good-bye to all streams. To be called before the servers stop, which wait for open
        responses."""
        self.feed.close()

    async def stop(self) -> None:
        """Close streams and database. To be called after the bus was closed, which delivers what
        is still queued."""
        self.close_consoles()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._log.close()

    def router(self) -> APIRouter:
        """`/api/v1/calls`, `/cdrs` and `/events`."""
        return self._api.router()

    def serve(self, server: GrpcServer) -> None:
        """Add the gRPC service, EventFeed."""
        servicer = FeedServicer(self._queries, self.consoles)
        server.add(add_EventFeedServicer_to_server, servicer, SERVICE)

    def register(self, metrics: Metrics) -> None:
        """Show the counters."""
        metrics.counters("tandem_events", self.ingest, "Events taken off the bus")
        metrics.counters("tandem_events_tail", self.tail, "Following the log")
        metrics.counters("tandem_events_consoles", self.consoles, "Event streams")
        metrics.counters("tandem_events_calls", self.calls, "The directory of live calls")
        for name, read, help in (
            ("ingest_delay_seconds", self.ingest.delay, "How long events wait to be stored"),
            ("last_id", lambda: self.feed.last, "The last event that consoles can have"),
            ("live_calls", lambda: len(self.calls), "Calls under way"),
            ("open_consoles", lambda: len(self.consoles), "Open streams"),
            ("watched_customers", lambda: len(self.watched), "Customers whose traces are watched"),
        ):
            metrics.gauge(f"tandem_events_{name}", read, help)
        if self.nodes is not None:
            register_nodes(metrics, self.nodes)
        if self.lost is not None:
            metrics.counters("tandem_events_lost", self.lost, "What lost nodes left")


def _keep(config: EventsConfig) -> Keep:
    return Keep(
        events=config.event_keep_count,
        event_seconds=config.event_keep_days * DAY,
        record_seconds=config.record_keep_days * DAY,
        traces=config.trace_keep_count,
        trace_seconds=config.trace_keep_days * DAY,
    )
