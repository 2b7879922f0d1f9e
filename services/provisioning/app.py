"""Where provisioning is put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from fastapi import APIRouter

from services.provisioning.adapters.appservers_grpc import RemoteAppservers
from services.provisioning.adapters.callcontrol_grpc import RemoteCallControl
from services.provisioning.adapters.checks import RunnerChecks, runners
from services.provisioning.adapters.database import open_database
from services.provisioning.adapters.passwords import Argon2Hasher
from services.provisioning.adapters.secretbox import SecretBox
from services.provisioning.adapters.sql_store import SqlStore
from services.provisioning.config import ProvisioningConfig
from services.provisioning.domain.errors import Conflict, DatabaseProblem
from services.provisioning.entrypoints import grpc_directory, grpc_ops
from services.provisioning.entrypoints.fastagi import FastAgiServer
from services.provisioning.entrypoints.grpc_directory import GrpcDirectory
from services.provisioning.entrypoints.grpc_ops import GrpcOps
from services.provisioning.entrypoints.http import make_router
from services.provisioning.entrypoints.http_route import UseCases
from services.provisioning.handlers import administrator
from services.provisioning.handlers.accounts import Accounts
from services.provisioning.handlers.agi import Agi
from services.provisioning.handlers.agi_rules import AgiRules
from services.provisioning.handlers.api_keys import ApiKeys
from services.provisioning.handlers.callmanager import CallManager
from services.provisioning.handlers.customers import Customers
from services.provisioning.handlers.dialplans import Dialplans
from services.provisioning.handlers.directory import StoredDirectory
from services.provisioning.handlers.domains import Domains
from services.provisioning.handlers.dryruns import DryRuns
from services.provisioning.handlers.housekeeping import Housekeeping
from services.provisioning.handlers.leases import Leases
from services.provisioning.handlers.location import LocationCopy
from services.provisioning.handlers.login import Login
from services.provisioning.handlers.nodes import Operations
from services.provisioning.handlers.notices import Notices
from services.provisioning.handlers.openmethods import OpenMethods
from services.provisioning.handlers.orders import Orders
from services.provisioning.handlers.programs import StoredPrograms
from services.provisioning.handlers.providers import Limits, Providers
from services.provisioning.handlers.sealing import Sealing
from services.provisioning.handlers.sessions import StoredSessions
from services.provisioning.handlers.signals import Signals
from services.provisioning.handlers.values import Values
from services.provisioning.ports import Checker, Clock
from tandem import __version__
from tandem.bus.node_events import NodeDraining, NodeStarted, NodeStopped
from tandem.bus.nodes import NodeAnnounced, Nodes, NodeState
from tandem.bus.ports import Bus, Keep, Topic
from tandem.rpc.directory import Directory, DirectoryUnavailable
from tandem.rpc.programs import Programs
from tandem.rpc.security import Security
from tandem.rpc.server import GrpcServer
from tandem.rpc.sessions import Sessions
from tandem.runtime.address import HostPort
from tandem.runtime.metrics import Metrics
from tandem.stubs.directory.v1.directory_pb2_grpc import add_DirectoryServicer_to_server
from tandem.stubs.ops.v1.ops_pb2_grpc import add_OpsServicer_to_server

__all__ = ["DatabaseProblem", "Provisioning"]

REOPEN_SECONDS: Final = 1.0
"""Between two attempts to open a database that was away at the start."""
READY_SECONDS: Final = 2.0
"""How long the database may take to show that it is there."""
KIND: Final = "provisioning"

_log = logging.getLogger(__name__)


class Provisioning:
    """The service. `start` may raise DatabaseProblem, whose text is one line for the operator.

    `security` is what its calls to appservers are made with; None: that of `config`. `checker`
    finds what is wrong with a dialplan that is saved; None: who would run it.
    """

    def __init__(
        self,
        config: ProvisioningConfig,
        bus: Bus,
        clock: Clock = time.time,
        security: Security | None = None,
        checker: Checker | None = None,
    ) -> None:
        self._config = config
        self._checks = RunnerChecks(runners())
        self._checker = checker or self._checks
        self._bus = bus
        self._clock = clock
        self._me = NodeAnnounced(
            node=config.node_id,
            kind=KIND,
            incarnation=int(clock() * 1000),
            version=__version__,
        )
        self._joined = False
        self.nodes = Nodes(bus, lambda: self._me, time.monotonic)
        self.nodes.on_drain = self._drain
        self._appservers = RemoteAppservers(security or config.security())
        self._store = SqlStore(wait_seconds=config.database_wait_seconds)
        self._hasher = Argon2Hasher(
            time_cost=config.argon2_time_cost,
            memory_kib=config.argon2_memory_kib,
            parallelism=config.argon2_parallelism,
        )
        self._notices = Notices(bus)
        self._sealing = Sealing(SecretBox(config.secrets))
        self._cases = self._use_cases()
        self._tasks: list[asyncio.Task[None]] = []
        self.opened = asyncio.Event()
        """Set once the database was opened."""
        self.directory: Directory = StoredDirectory(self._store, self._cases.location)
        leases = Leases(self._store, self._notices, self._sealing)
        self.programs: Programs = StoredPrograms(self._store, self._sealing, leases, clock)
        self.sessions: Sessions = self._cases.sessions

    def _switch(self) -> list[str]:
        """The public addresses of all proxies."""
        return [place for said in self.nodes.alive("proxy") for place in said.public]

    def _use_cases(self) -> UseCases:
        store, clock, config = self._store, self._clock, self._config
        notices = self._notices
        sessions = StoredSessions(store, clock, cache_seconds=config.session_cache_seconds)
        control = RemoteCallControl(self._appservers)
        return UseCases(
            accounts=Accounts(store, notices, clock),
            agi_rules=AgiRules(store),
            call_manager=CallManager(store, self.nodes, control),
            open_methods=OpenMethods(store, time.monotonic),
            orders=Orders(self._bus),
            signals=Signals(self.nodes, control),
            api_keys=ApiKeys(store, sessions, clock),
            customers=Customers(store, notices, self._hasher, sessions, clock),
            dialplans=Dialplans(store, notices, self._checker, clock, quota=config.max_dialplans),
            domains=Domains(store, notices, clock),
            dry_runs=DryRuns(store, self._checks.runner, clock),
            location=LocationCopy(store, clock, kept=not config.broker_url.startswith("memory:")),
            login=Login(
                store,
                self._bus,
                self._hasher,
                sessions,
                clock,
                token_seconds=config.token_seconds,
            ),
            operations=Operations(self.nodes, self._bus, self._appservers, time.monotonic),
            providers=Providers(
                store,
                notices,
                self._sealing,
                clock,
                Limits(config.max_providers, config.barred_providers),
                self._switch,
            ),
            sessions=sessions,
            values=Values(store, clock),
        )

    async def start(self) -> None:
        """Open the database, bring it up to date, and follow the location topic. When the
        database does not answer, it is opened as soon as it does."""
        loop = asyncio.get_running_loop()
        try:
            await self._open()
        except DirectoryUnavailable as fault:
            _log.warning("not ready: %s", fault)
            self._tasks.append(loop.create_task(self._opening(), name="provisioning database"))
        location, node = self._cases.location, self._config.node_id
        # what happened to a binding waits for whichever instance is there to write it
        self._bus.subscribe(Topic.LOCATION, location.take, name=KIND, keep=Keep.SHARED)
        self._bus.subscribe(Topic.DIRECTORY, self._cases.sessions.take, name=f"{node}-sessions")
        housekeeping = Housekeeping(
            location,
            self._cases.providers,
            flush_seconds=self._config.location_flush_seconds,
            purge_seconds=self._config.purge_seconds,
        )
        self._tasks += [
            loop.create_task(housekeeping.flush(), name="provisioning flush"),
            loop.create_task(housekeeping.purge(), name="provisioning purge"),
        ]

    async def stop(self) -> None:
        """Write what waits, close the database. May be called after a start that failed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tasks:
            await self._cases.location.flush_or_log()
        self._tasks = []
        await self._checks.stop()
        await self._appservers.close()
        self._hasher.close()
        await self._store.close()

    def join(self, *, grpc: HostPort | None = None, http: HostPort | None = None) -> None:
        """Be one of the nodes, and tell the others where it serves."""
        self._me = replace(self._me, grpc=str(grpc) if grpc else "", http=str(http) if http else "")
        self._joined = True
        self.nodes.start()
        self._bus.publish(Topic.EVENTS, NodeStarted(what=KIND, version=__version__))

    async def leave(self) -> None:
        """Say good-bye to the others, while the bus is open."""
        if self._joined:
            self._joined = False
            await self.nodes.stop()
            self._bus.publish(Topic.EVENTS, NodeStopped(what=KIND))

    def serve(self, server: GrpcServer) -> None:
        """Add the gRPC services."""
        cases = self._cases
        directory = GrpcDirectory(
            self.directory, cases.location.pieces, self.sessions, self.programs
        )
        server.add(add_DirectoryServicer_to_server, directory, grpc_directory.NAME)
        ops = GrpcOps(cases.operations, cases.location)
        server.add(add_OpsServicer_to_server, ops, grpc_ops.NAME)

    def fastagi(self, listen: HostPort) -> FastAgiServer:
        """A server for Asterisk machines; it is to be started and stopped."""
        cases = self._cases
        agi = Agi(cases.sessions, cases.agi_rules, cases.call_manager, cases.signals, cases.orders)
        return FastAgiServer(listen, agi)

    def register(self, metrics: Metrics) -> None:
        """Show what is counted here."""
        location = self._cases.location
        metrics.counters("tandem_location_copy", location, "The bindings' durable copy")
        metrics.gauge(
            "tandem_location_copy_waiting",
            lambda: len(location),
            "Bindings that wait for the database",
        )

    def router(self) -> APIRouter:
        """All routes, under /api/v1. The application must have `tandem.rpc.http.install`."""
        return make_router(self._cases)

    async def ready(self) -> bool:
        """Whether the database answers, and nobody wants this node to drain."""
        with contextlib.suppress(DirectoryUnavailable, TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                await self.directory.domains()
            return self._me.state == NodeState.ACTIVE
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

    async def first_start(self, domains: Iterable[str], password: str | None) -> str | None:
        """`ensure_domains` and `ensure_administrator`, beside other instances that do the same.
        Raises Invalid and DirectoryUnavailable."""
        try:
            await self.ensure_domains(domains)
            return await self.ensure_administrator(password)
        except Conflict:  # another was faster, and now it is there
            await self.ensure_domains(domains)
            return await self.ensure_administrator(password)

    async def reseal(self) -> int:
        """Seal by the newest key what an older one sealed, as every start does; how many."""
        return await self._cases.providers.reseal()

    async def _open(self) -> None:
        config = self._config
        engine = await open_database(config.database_url, wait_seconds=config.database_wait_seconds)
        self._store.open(engine)
        self.opened.set()

    async def _opening(self) -> None:
        told = ""
        while not self.opened.is_set():
            await asyncio.sleep(REOPEN_SECONDS)
            try:
                await self._open()
            except (DirectoryUnavailable, DatabaseProblem) as fault:
                if isinstance(fault, DatabaseProblem) and str(fault) != told:
                    told = str(fault)
                    _log.error("%s", told)
        _log.warning("the database is open")

    def _drain(self, drain: bool) -> None:
        state = NodeState.DRAINING if drain else NodeState.ACTIVE
        if self._me.state != state:
            self._me = replace(self._me, state=state)
            self._bus.publish(Topic.EVENTS, NodeDraining(what=KIND, draining=drain))
        self.nodes.announce()
