"""`python -m services.proxy`: one proxy alone, before appservers of a fixed list."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from typing import Any

from services.proxy.app import Proxy
from services.proxy.config import ProxyConfig, appserver_address
from tandem.bus.ports import Topic
from tandem.runtime.address import HostPort
from tandem.runtime.config import ConfigError
from tandem.runtime.lifecycle import bounded, stop_signal
from tandem.runtime.logs import set_up
from tandem.siptransport.udp import UdpSocket
from tandem.siptransport.udplink import UdpLink


class Nobody:
    """The publisher of a proxy that runs without a broker."""

    def publish(self, topic: Topic, payload: Any) -> None:
        """Nobody listens; the counters tell the same."""


def read_config() -> ProxyConfig:
    """From the environment; raises ConfigError."""
    config = ProxyConfig.from_env(os.environ)
    if os.environ.get("TANDEM_BROKER_URL", "memory:") != "memory:":
        raise ConfigError("TANDEM_BROKER_URL: only memory: is known")
    try:
        return replace(config, appservers=tuple(map(appserver_address, config.appservers)))
    except ValueError as error:
        raise ConfigError(str(error)) from None


async def serve(config: ProxyConfig) -> None:
    """Run until SIGTERM or Ctrl-C; raises OSError for an address that can't be had."""
    internal = UdpSocket.open(config.internal_listen.host, config.internal_listen.port)
    link = UdpLink(internal, allowed=config.appservers)
    link.start()
    proxy = Proxy(config, link, Nobody())
    async with stop_signal() as stop:
        await proxy.start()
        lines = [f"{name} {HostPort(host, port)}" for name, host, port in proxy.addresses]
        sys.stdout.write("\n".join([*lines, f"internal {link.address}", "ready", ""]))
        sys.stdout.flush()
        await stop.wait()
        await bounded(proxy.stop(), "the proxy")
    link.close()


def main() -> int:
    """The exit status."""
    set_up()
    try:
        asyncio.run(serve(read_config()))
    except (ConfigError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
