"""The composition root of the event service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from fastapi import APIRouter

from services.events.adapters.eventlog import SqlEventLog
from services.events.config import EventsConfig
from services.events.domain.calls import LiveCalls
from services.events.entrypoints.http import EventsApi
from services.events.handlers.consoles import Consoles
from services.events.handlers.feed import Feed
from services.events.handlers.ingest import Ingest
from services.events.handlers.queries import Queries
from services.events.handlers.recover import recover_calls
from services.events.handlers.retention import DAY, Keep, Retention
from tandem.bus.ports import Bus, Topic
from tandem.rpc.sessions import Sessions
from tandem.runtime.metrics import Metrics


class Events:
    """Event log, call records, live calls and consoles. Start it before what publishes."""

    def __init__(
        self,
        config: EventsConfig,
        bus: Bus,
        sessions: Sessions,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._clock = clock
        self._log = SqlEventLog(config.database_url)
        self.calls = LiveCalls()
        self.feed = Feed(self._log)
        self.ingest = Ingest(self._log, self.calls, self.feed)
        self.consoles = Consoles(
            self.feed,
            sessions,
            heartbeat_seconds=config.heartbeat_seconds,
            max_open=config.max_consoles,
            max_per_user=config.max_consoles_per_user,
        )
        self.retention = Retention(self._log, self.feed, self.calls, _keep(config), clock)
        self._api = EventsApi(Queries(self._log, self.calls, self.feed), self.consoles, sessions)
        self._tasks: list[asyncio.Task[None]] = []
        bus.subscribe(Topic.EVENTS, self.ingest, name="events")

    async def start(self) -> None:
        """Open the database. Raises `services.events.ports.StorageError` if that fails; the bus
        must not deliver before this is done."""
        await self._log.open()
        await self.feed.start()
        if self._config.recover_calls:
            await recover_calls(self._log, self.calls, self._clock())
        keeping = asyncio.get_running_loop().create_task(self.retention.run(), name="retention")
        self._tasks.append(keeping)

    def close_consoles(self) -> None:
        """Say good-bye to all streams. To be called before the HTTP server stops, which waits for
        open responses."""
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

    def register(self, metrics: Metrics) -> None:
        """Show the counters."""
        metrics.counters("tandem_events", self.ingest, "Events taken off the bus")
        metrics.counters("tandem_events_consoles", self.consoles, "Event streams")
        metrics.counters("tandem_events_calls", self.calls, "The directory of live calls")
        metrics.gauge("tandem_events_live_calls", lambda: len(self.calls), "Calls under way")
        metrics.gauge("tandem_events_open_consoles", lambda: len(self.consoles), "Open streams")


def _keep(config: EventsConfig) -> Keep:
    return Keep(
        events=config.event_keep_count,
        event_seconds=config.event_keep_days * DAY,
        record_seconds=config.record_keep_days * DAY,
    )
