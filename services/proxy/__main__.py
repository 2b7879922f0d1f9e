"""`tandem proxy`: one proxy, before the appservers that its broker tells of, or of a fixed list."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from services.proxy.adapters.presence import Presence
from services.proxy.app import Proxy
from services.proxy.config import ProxyConfig, appserver_address
from services.proxy.entrypoints.figures import register
from services.proxy.handlers.arrival import meet
from services.proxy.handlers.hintfeed import HintFeed
from tandem.bus.metrics import register_bus, register_nodes
from tandem.bus.nodes import NodeState
from tandem.bus.open import open_bus
from tandem.bus.ports import CountedBus
from tandem.rpc.httpservice import make_service_app
from tandem.runtime.address import HostPort
from tandem.runtime.config import ConfigError
from tandem.runtime.httpserver import HttpServer
from tandem.runtime.lifecycle import bounded, settle, stop_signal
from tandem.runtime.logs import set_up
from tandem.runtime.metrics import Metrics
from tandem.siptransport.tls import TlsFileError
from tandem.siptransport.udp import UdpSocket
from tandem.siptransport.udplink import UdpLink

if TYPE_CHECKING:
    from tandem.runtime.telemetry import Tracing


def read_config() -> ProxyConfig:
    """From the environment; raises ConfigError."""
    config = ProxyConfig.from_env(os.environ)
    try:
        return replace(config, appservers=tuple(map(appserver_address, config.appservers)))
    except ValueError as error:
        raise ConfigError(str(error)) from None


def open_broker(config: ProxyConfig) -> CountedBus:
    """The bus of the settings; raises ConfigError."""
    try:
        return open_bus(config.broker_url, config.node_id)
    except ValueError as error:
        raise ConfigError(f"TANDEM_BROKER_URL: {error}") from None


def open_tracing(config: ProxyConfig) -> Tracing | None:
    """What makes spans, if that is wanted."""
    if not config.otlp_endpoint:
        return None
    # most switches are not traced, and OpenTelemetry takes time to load
    from tandem.runtime.telemetry import Tracing

    return Tracing("proxy", config.node_id, config.otlp_endpoint)


class Node:
    """A proxy with all that joins it to a cluster."""

    def __init__(self, config: ProxyConfig, bus: CountedBus) -> None:
        """Raises OSError when the internal address can't be had."""
        loop = asyncio.get_running_loop()
        internal = UdpSocket.open(config.internal_listen.host, config.internal_listen.port)
        self._config = config
        self._bus = bus
        self.link = UdpLink(internal, allowed=config.appservers)
        self._tracing = open_tracing(config)
        self.proxy = proxy = Proxy(config, self.link, bus, self._tracing)
        proxy.members.on_changed = lambda: self.link.allow(proxy.members.addresses)
        self._feed = HintFeed(proxy.hints, bus, config.node_id, loop.call_later)
        self.presence = Presence(
            config, bus, proxy.members,
            link=self.link.address, hints=lambda: len(proxy.hints), clock=loop.time,
        )  # fmt: skip
        self._http: HttpServer | None = None

    async def start(self) -> list[str]:
        """Learn what others know, then take traffic, then say so. Returns the lines to show;
        raises OSError and TlsFileError as `Proxy.start`."""
        self._open_http()
        self.link.start()
        self.proxy.begin()
        since = asyncio.get_running_loop().time()
        await self._bus.start()
        if self._config.has_broker:
            await self._feed.catch_up()
            await meet(self.proxy.appservers, self.proxy.hints, since)
        await self.proxy.start()
        lines = [f"{name} {HostPort(host, port)}" for name, host, port in self.proxy.addresses]
        lines.append(f"internal {self.link.address}")
        if self._http is not None:
            self._register()
            await self._http.start()
            lines.append(f"http http://{self._http.address}")
            self.presence.http = str(self._http.address)
        self.presence.public = self.proxy.public_addresses
        self.presence.start()
        return lines

    async def stop(self) -> None:
        """Announce the end, forward for TANDEM_DRAIN_SECONDS, close, say good-bye."""
        self.presence.leave()
        await asyncio.sleep(self._config.drain_seconds)
        await bounded(self.proxy.stop(), "the proxy")
        await self.presence.stop()

    async def close(self) -> None:
        """Let go of what was opened, however far the start came."""
        await self.proxy.stop()
        if self._http is not None:
            await bounded(self._http.stop(), "HTTP")
        await bounded(self._bus.close(), "the bus")
        self.link.close()
        if self._tracing is not None:
            await bounded(asyncio.to_thread(self._tracing.close), "the traces")

    async def ready(self) -> bool:
        """Whether clients should come here."""
        return self.presence.state == NodeState.ACTIVE and bool(self.proxy.appservers.active)

    def _open_http(self) -> None:
        if self._config.http_listen is not None:
            self._metrics = Metrics()
            app = make_service_app("Tandem proxy", (), self._metrics, self.ready)
            self._http = HttpServer(app, self._config.http_listen)
            self._http.open()

    def _register(self) -> None:
        register(self._metrics, self.proxy)
        register_nodes(self._metrics, self.presence.nodes)
        if self._tracing is not None:
            self._metrics.counters("tandem_spans", self._tracing.export, "OpenTelemetry spans")
        register_bus(self._metrics, self._bus)
        self._metrics.counters(
            "tandem_proxy_hints", lambda: {"acknowledged": self._feed.acknowledged}, "Hints"
        )
        self._metrics.counters(
            "tandem_proxy_link", lambda: {"strangers": self.link.strangers}, "Packets dropped"
        )


async def serve(config: ProxyConfig) -> None:
    """Run until SIGTERM or Ctrl-C; raises OSError for an address that can't be had."""
    node = Node(config, open_broker(config))
    async with stop_signal() as stop:
        try:
            lines = await node.start()
            sys.stdout.write("\n".join([*lines, "ready", ""]))
            sys.stdout.flush()
            settle()
            await stop.wait()
            await node.stop()
        finally:
            await node.close()


def main() -> int:
    """The exit status."""
    set_up()
    try:
        asyncio.run(serve(read_config()))
    except (ConfigError, TlsFileError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
