"""A private DNS server (NSD) on a free loopback port, for tests against the real thing."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.installs import require
from tests.support.ports import free_port

_CONFIG = """
server:
    ip-address: 127.0.0.1@{port}
    do-ip6: no
    server-count: 1
    username: "{user}"
    chroot: ""
    zonesdir: "{folder}"
    pidfile: "{folder}/nsd.pid"
    xfrdfile: "{folder}/xfrd.state"
    xfrdir: "{folder}"
    zonelistfile: "{folder}/zone.list"
remote-control:
    control-enable: no
zone:
    name: "{origin}"
    zonefile: "zone"
"""

_SOA = """$ORIGIN {origin}.
$TTL 60
@ IN SOA ns.{origin}. hostmaster.{origin}. 1 3600 600 86400 60
@ IN NS ns
ns IN A 127.0.0.1
"""

START_TIMEOUT = 10.0
"""Seconds for NSD to answer: it takes a fraction of one."""


@contextmanager
def dns_server(folder: Path, origin: str, zone: str) -> Iterator[tuple[str, int]]:
    """Run NSD with the records of `zone` (zone file lines under `origin`); gives its address.
    Without NSD the test is skipped, and under CI=true it fails."""
    program = require("nsd")
    port = free_port()
    (folder / "zone").write_text(_SOA.format(origin=origin) + zone)
    user = "root" if os.getuid() == 0 else ""
    config = folder / "nsd.conf"
    config.write_text(_CONFIG.format(port=port, folder=folder, origin=origin, user=user))
    with (folder / "nsd.log").open("wb") as log:
        process = subprocess.Popen([program, "-d", "-c", config], stdout=log, stderr=log)
    try:
        _await_port(process, port, folder / "nsd.log")
        yield ("127.0.0.1", port)
    finally:
        process.terminate()
        process.wait(START_TIMEOUT)


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    pytest.fail(f"NSD does not start: {log.read_text(errors='replace')}")


class SilentDns(asyncio.DatagramProtocol):
    """A DNS server that swallows every query and counts them."""

    def __init__(self) -> None:
        self.queries = 0

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self.queries += 1
