"""Where provisioning is put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from typing import Final

from fastapi import APIRouter

from services.provisioning.adapters.database import open_database
from services.provisioning.adapters.passwords import Argon2Hasher
from services.provisioning.adapters.sql_store import SqlStore
from services.provisioning.config import ProvisioningConfig
from services.provisioning.domain.errors import DatabaseProblem
from services.provisioning.entrypoints.http import make_router
from services.provisioning.entrypoints.http_route import UseCases
from services.provisioning.handlers import administrator
from services.provisioning.handlers.accounts import Accounts
from services.provisioning.handlers.api_keys import ApiKeys
from services.provisioning.handlers.customers import Customers
from services.provisioning.handlers.directory import StoredDirectory
from services.provisioning.handlers.domains import Domains
from services.provisioning.handlers.location import LocationCopy
from services.provisioning.handlers.login import Login
from services.provisioning.handlers.notices import Notices
from services.provisioning.handlers.sessions import StoredSessions
from services.provisioning.ports import Clock
from tandem.bus.ports import Bus, Topic
from tandem.rpc.directory import Directory, DirectoryUnavailable
from tandem.rpc.sessions import Sessions

__all__ = ["DatabaseProblem", "Provisioning"]

RENEWAL_TURNS: Final = 15
"""Refreshes are written every so many times that new bindings are: a quarter of the shortest
registration."""

_log = logging.getLogger(__name__)


class Provisioning:
    """The service. `start` may raise DatabaseProblem, whose text is one line for the operator."""

    def __init__(self, config: ProvisioningConfig, bus: Bus, clock: Clock = time.time) -> None:
        self._config = config
        self._bus = bus
        self._clock = clock
        self._store = SqlStore(wait_seconds=config.database_wait_seconds)
        self._hasher = Argon2Hasher(
            time_cost=config.argon2_time_cost,
            memory_kib=config.argon2_memory_kib,
            parallelism=config.argon2_parallelism,
        )
        self._cases = self._use_cases()
        self._tasks: list[asyncio.Task[None]] = []
        self.directory: Directory = StoredDirectory(self._store, self._cases.location)
        self.sessions: Sessions = self._cases.sessions

    def _use_cases(self) -> UseCases:
        store, clock, config = self._store, self._clock, self._config
        notices = Notices(self._bus)
        sessions = StoredSessions(store, clock, cache_seconds=config.session_cache_seconds)
        return UseCases(
            accounts=Accounts(store, notices, clock),
            api_keys=ApiKeys(store, sessions, clock),
            customers=Customers(store, notices, self._hasher, sessions, clock),
            domains=Domains(store, notices, clock),
            location=LocationCopy(store, clock),
            login=Login(
                store,
                self._bus,
                self._hasher,
                sessions,
                clock,
                token_seconds=config.token_seconds,
            ),
            sessions=sessions,
        )

    async def start(self) -> None:
        """Open the database, bring it up to date, and follow the location topic."""
        self._store.open(
            await open_database(
                self._config.database_url, wait_seconds=self._config.database_wait_seconds
            )
        )
        location = self._cases.location
        self._bus.subscribe(Topic.LOCATION, location.take, name="provisioning-location")
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._flushing(), name="provisioning flush"),
            loop.create_task(self._purging(), name="provisioning purge"),
        ]

    async def stop(self) -> None:
        """Write what waits, close the database. May be called after a start that failed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tasks:
            await self._cases.location.flush_or_log()
        self._tasks = []
        self._hasher.close()
        await self._store.close()

    def router(self) -> APIRouter:
        """All routes, under /api/v1. The application must have `tandem.rpc.http.install`."""
        return make_router(self._cases)

    async def ready(self) -> bool:
        """Whether the database answers."""
        with contextlib.suppress(DirectoryUnavailable):
            await self.directory.domains()
            return True
        return False

    async def ensure_administrator(self, password: str | None) -> str | None:
        """Make `admin` if it isn't there. Returns the password if one was made up: show it once.
        Raises Invalid."""
        return await administrator.ensure_administrator(
            self._store, self._hasher, self._clock, password
        )

    async def ensure_domains(self, names: Iterable[str]) -> None:
        """Serve these; the first is the default domain. Raises Invalid."""
        await self._cases.domains.ensure(names)

    async def _flushing(self) -> None:
        while True:
            for turn in range(RENEWAL_TURNS):
                await asyncio.sleep(self._config.location_flush_seconds)
                await self._cases.location.flush_or_log(renewals=turn == 0)

    async def _purging(self) -> None:
        while True:
            try:
                await self._cases.location.purge()
            except DirectoryUnavailable as fault:
                _log.warning("nothing was purged: %s", fault)
            await asyncio.sleep(self._config.purge_seconds)
