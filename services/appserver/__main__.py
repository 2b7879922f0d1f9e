"""`python -m services.appserver`: one appserver alone, behind proxies of a fixed list."""

from __future__ import annotations

import asyncio
import os
import sys

from services.appserver.adapters.file_directory import FileDirectory
from services.appserver.adapters.outside import OutsideResolver
from services.appserver.app import AppServer
from services.appserver.config import AppServerConfig
from tandem.bus.memory import MemoryBus
from tandem.runtime.config import ConfigError
from tandem.runtime.lifecycle import bounded, settle, stop_signal
from tandem.runtime.logs import set_up
from tandem.siptransport.resolver import Resolver
from tandem.siptransport.udp import UdpSocket
from tandem.siptransport.udplink import UdpLink

WRONG_SETTING = 2
"""The exit status of a start that a setting prevented."""


def read_directory(config: AppServerConfig) -> FileDirectory:
    """The accounts; raises ConfigError."""
    if os.environ.get("TANDEM_BROKER_URL", "memory:") != "memory:":
        raise ConfigError("TANDEM_BROKER_URL: only memory: is known")
    if config.accounts_file is None:
        raise ConfigError("TANDEM_ACCOUNTS_FILE is not set")
    try:
        return FileDirectory(config.accounts_file)
    except ValueError as error:
        raise ConfigError(f"TANDEM_ACCOUNTS_FILE: {error}") from None


async def serve(config: AppServerConfig, directory: FileDirectory) -> None:
    """Run until SIGTERM or Ctrl-C; raises OSError for an address that can't be had."""
    socket = UdpSocket.open(config.internal_listen.host, config.internal_listen.port)
    link = UdpLink(socket)
    link.start()
    bus = MemoryBus(config.node_id)
    resolver = Resolver()
    appserver = AppServer(config, bus, directory, link, OutsideResolver(resolver))
    async with stop_signal() as stop:
        await bus.start()
        await appserver.start()
        settle()
        sys.stdout.write(f"internal {link.address}\nready\n")
        sys.stdout.flush()
        await stop.wait()
        await bounded(appserver.stop(), "the appserver")
        await bounded(resolver.close(), "the resolver")
        await bounded(bus.close(), "the bus")
    link.close()


def main() -> int:
    """The exit status."""
    set_up()
    try:
        config = AppServerConfig.from_env(os.environ)
        asyncio.run(serve(config, read_directory(config)))
    except (ConfigError, OSError) as error:
        sys.stderr.write(f"tandem appserver: {error}\n")
        return WRONG_SETTING
    return 0


if __name__ == "__main__":
    sys.exit(main())
