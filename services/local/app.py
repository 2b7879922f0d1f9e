"""All four services in one process: the composition root of local mode."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

from services.appserver.adapters.outside import OutsideResolver
from services.appserver.app import AppServer
from services.appserver.config import AppServerConfig
from services.appserver.handlers.calls import Calls
from services.events.app import Events
from services.events.config import EventsConfig
from services.events.ports import StorageError
from services.local.addresses import contact_host, own_hosts, unusable, with_ports
from services.local.config import DEFAULT_DOMAIN, LocalConfig
from services.local.entrypoints import http_phones
from services.local.entrypoints.http import make_app
from services.local.files import DataFolder, DataFolderProblem, certificate, secret
from services.local.settings import of_service
from services.local.texts import start_lines, taken
from services.provisioning.app import DatabaseProblem, Provisioning
from services.provisioning.config import ProvisioningConfig
from services.provisioning.domain.errors import Invalid
from services.provisioning.entrypoints.fastagi import register_fastagi
from services.proxy.adapters.presence import Presence
from services.proxy.app import Proxy
from services.proxy.config import ProxyConfig
from services.proxy.entrypoints import figures
from services.proxy.handlers.hintfeed import HintFeed
from tandem.bus.memory import MemoryBus
from tandem.bus.metrics import register_bus, register_nodes
from tandem.bus.nodes import Nodes
from tandem.rpc.security import Security
from tandem.rpc.server import GrpcServer
from tandem.runtime.httpserver import HttpServer
from tandem.runtime.lifecycle import bounded
from tandem.runtime.metrics import Metrics
from tandem.siptransport.link import Hub, MemoryLink
from tandem.siptransport.resolver import Resolver
from tandem.siptransport.tls import TlsFileError

NODE: Final = "local"
"""What publishes on the bus, and the appserver, whose calls are known by it."""
PROXY_NODE: Final = "local-proxy"
PROVISIONING_NODE: Final = "local-provisioning"
EVENTS_NODE: Final = "local-events"
LINK_PROXY: Final = "proxy.invalid:5060"
LINK_APPSERVER: Final = "appserver.invalid:5060"
"""What Vias and Routes name the ends of the in-process link by. They resolve nowhere."""
STOP_SECONDS: Final = 5.0
"""For each part, so that all of them stop within what a service manager waits for."""


class StartProblem(Exception):
    """Tandem can't start; the text is one line that says why and what to do."""


class SettingProblem(StartProblem):
    """Tandem can't start with these settings."""


class Local:
    """The switch of one PC."""

    def __init__(self, config: LocalConfig) -> None:
        self._config = config
        self._folder = DataFolder(config.data_dir)
        self._security = Security.of_one_process()
        self._running: list[tuple[str, Callable[[], Awaitable[object]]]] = []

    async def start(self) -> list[str]:
        """Start everything; returns the lines to show. Raises StartProblem; call `stop` then
        too, for what had started."""
        try:
            self._folder.open()
            self._started("the data folder", partial(_call, self._folder.close))
            return await self._start()
        except (DataFolderProblem, DatabaseProblem, StorageError) as problem:
            raise StartProblem(str(problem)) from None

    async def stop(self) -> None:
        """Stop what was started, last first: the sockets close before the databases do."""
        while self._running:
            name, stop = self._running.pop()
            await bounded(stop(), name, STOP_SECONDS)

    def _started(self, name: str, stop: Callable[[], Awaitable[object]]) -> None:
        self._running.append((name, stop))

    async def _start(self) -> list[str]:
        metrics = Metrics()
        bus = MemoryBus(NODE)
        provisioning, password = await self._start_provisioning(bus)
        events = await self._start_events(bus, provisioning)
        await bus.start()
        self._started("the bus", bus.close)
        hosts = own_hosts(listener for _, listener in self._config.listeners)
        key = secret(self._config.data_dir / "secret.key").hex()
        hub = Hub()
        appserver = self._make_appserver(bus, provisioning, hub, key, hosts)
        grpc = await self._start_grpc(provisioning, events, appserver, metrics)
        nodes = Nodes(bus, appserver.describe, time.monotonic)
        appserver.join(nodes, grpc=str(grpc.address))
        proxy_config = self._proxy_config(key, hosts)
        proxy = await self._start_switch(bus, hub, appserver, proxy_config, hosts)
        appserver.register(metrics)
        provisioning.register(metrics)
        figures.register(metrics, proxy)
        register_bus(metrics, bus)
        register_nodes(metrics, nodes)
        events.register(metrics)
        phones = http_phones.make_router(
            provisioning.sessions, lambda: proxy.addresses, DEFAULT_DOMAIN
        )
        routers = [provisioning.router(), events.router(), phones]
        app = make_app(routers, metrics, provisioning.ready)
        config = self._config
        server = HttpServer(app, config.http, config.http_cert, config.http_key)
        try:
            server.open()
        except OSError as error:
            raise StartProblem(taken("http", self._config.http, error)) from None
        await server.start()
        self._started("HTTP", server.stop)
        self._started("the consoles", partial(_call, events.close_consoles))
        provisioning.join(grpc=grpc.address, http=server.address)
        self._started("the announcements", provisioning.leave)
        lines = start_lines(proxy, server.url, grpc.address, password)
        return lines + await self._start_fastagi(provisioning, metrics)

    async def _start_fastagi(self, provisioning: Provisioning, metrics: Metrics) -> list[str]:
        if self._config.fastagi is None:
            return []
        server = provisioning.fastagi(self._config.fastagi)
        try:
            await server.start()
        except OSError as error:
            raise StartProblem(taken("fastagi", self._config.fastagi, error)) from None
        self._started("FastAGI", server.stop)
        register_fastagi(metrics, server)
        return [f"fastagi {server.address}"]

    async def _start_grpc(
        self, provisioning: Provisioning, events: Events, appserver: AppServer, metrics: Metrics
    ) -> GrpcServer:
        listen = self._config.grpc
        server = GrpcServer(listen, self._security, provisioning.sessions, provisioning.ready)
        provisioning.serve(server)
        events.serve(server)
        appserver.serve(server)
        try:
            await server.start()
        except OSError as error:
            raise StartProblem(taken("grpc", listen, error)) from None
        self._started("gRPC", server.stop)
        metrics.counters("tandem_grpc", server.counters, "gRPC calls")
        return server

    async def _start_provisioning(self, bus: MemoryBus) -> tuple[Provisioning, str | None]:
        config = self._config
        provisioning = Provisioning(
            of_service(
                ProvisioningConfig,
                config.environ,
                node_id=PROVISIONING_NODE,
                database_url=_sqlite(config.data_dir / "provisioning.db"),
                secret_key=secret(config.data_dir / "secret.key").hex(),
            ),
            bus,
            security=self._security,
        )
        self._started("provisioning", provisioning.stop)
        await provisioning.start()
        await provisioning.ensure_domains(config.domains)
        try:
            return provisioning, await provisioning.ensure_administrator(config.admin_password)
        except Invalid as fault:
            raise SettingProblem(f"TANDEM_ADMIN_PASSWORD: {fault}") from None

    async def _start_events(self, bus: MemoryBus, provisioning: Provisioning) -> Events:
        url = _sqlite(self._config.data_dir / "events.db")
        # no call outlives this process, so there is none to recover
        own = {"node_id": EVENTS_NODE, "database_url": url, "recover_calls": False}
        config = of_service(EventsConfig, self._config.environ, **own)
        events = Events(config, bus, provisioning.sessions)
        self._started("events", events.stop)
        await events.start()
        return events

    def _make_appserver(
        self,
        bus: MemoryBus,
        provisioning: Provisioning,
        hub: Hub,
        key: str,
        hosts: tuple[str, ...],
    ) -> AppServer:
        config = self._config
        return AppServer(
            of_service(
                AppServerConfig,
                config.environ,
                node_id=NODE,
                domains=config.domains,
                local_hosts=hosts,
                contact_host=contact_host(config),
                nonce_secret=key,
            ),
            bus,
            provisioning.directory,
            MemoryLink(LINK_APPSERVER, hub),
            OutsideResolver(Resolver()),
            calls=Calls,
            programs=provisioning.programs,
        )

    async def _start_switch(
        self,
        bus: MemoryBus,
        hub: Hub,
        appserver: AppServer,
        config: ProxyConfig,
        hosts: tuple[str, ...],
    ) -> Proxy:
        loop = asyncio.get_running_loop()
        proxy = Proxy(config, MemoryLink(LINK_PROXY, hub), bus)
        HintFeed(proxy.hints, bus, config.node_id, loop.call_later)
        presence = Presence(
            config, bus, proxy.members,
            link=LINK_PROXY, hints=lambda: len(proxy.hints), clock=loop.time,
        )  # fmt: skip
        self._started("the appserver", appserver.stop)
        await appserver.start()
        self._started("the proxy", proxy.stop)
        await self._open(proxy)
        ports = {port for _, _, port in proxy.addresses}
        elsewhere = filter(None, (contact_host(self._config),))
        appserver.domains.listen_at((*with_ports(hosts, ports), *elsewhere))
        presence.public = proxy.public_addresses
        presence.start()
        self._started("the proxy's announcements", presence.stop)
        self._started("the subscriptions", appserver.send_away)
        return proxy

    def _proxy_config(self, key: str, hosts: tuple[str, ...]) -> ProxyConfig:
        config = self._config
        cert, tls_key = config.tls_cert, config.tls_key
        if (config.tls or config.wss) and cert is None:
            cert, tls_key = certificate(config.data_dir, (*hosts, *config.domains))
        return of_service(
            ProxyConfig,
            config.environ,
            node_id=PROXY_NODE,
            sip_listen=config.sip,
            tls_listen=config.tls,
            ws_listen=config.ws,
            wss_listen=config.wss,
            tls_cert=cert,
            tls_key=tls_key,
            appservers=(LINK_APPSERVER,),
            cluster_key=key,
            domains=config.domains,
        )

    async def _open(self, proxy: Proxy) -> None:
        try:
            await proxy.start()
        except TlsFileError as error:
            raise SettingProblem(f"--tls-cert or --tls-key can't be used: {error}") from None
        except OSError as error:
            option, listener = unusable(self._config.listeners) or ("sip", "an address")
            raise StartProblem(taken(option, listener, error)) from None


async def _call(function: Callable[[], None]) -> None:
    function()


def _sqlite(path: Path) -> str:
    return f"sqlite:///{path.resolve()}"
