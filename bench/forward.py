"""Request/response pairs per CPU second: the proxy beside Kamailio, both forwarding statelessly.

The proxy does all its duties; Kamailio only counts Max-Forwards down. The load (siploop.c, client
and server in one) runs on one core and the switch on another; runs alternate, medians count.
"""

from __future__ import annotations

import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.support import (
    HERE,
    Missing,
    compiled,
    cpu_seconds,
    free_port,
    need,
    process,
    wait_for,
)

TARGET: Final = 1.0
RUNS: Final = 3
SECONDS: Final = 4
WINDOW: Final = 256
WARM_UP: Final = 1
METHODS: Final = ("OPTIONS", "INVITE")
LOAD_CORE: Final = 1
SWITCH_CORE: Final = 0


def run() -> list[tuple[str, str, str, str, str]]:
    """The rows: work, Tandem, peer, ratio, target."""
    return [_row(method) for method in METHODS]


def _row(method: str) -> tuple[str, str, str, str, str]:
    ours: list[float] = []
    theirs: list[float] = []
    peer = ""
    for _ in range(RUNS):
        ours.append(tandem_rate(method))
        try:
            theirs.append(kamailio_rate(method))
        except Missing as missing:
            peer = str(missing)
    mine = statistics.median(ours)
    ratio = "-"
    if theirs:
        other = statistics.median(theirs)
        peer, ratio = f"Kamailio {other:,.0f} pairs/CPU s", f"{mine / other:.2f} ×"
    name = f"stateless forwarding, {method}"
    return (name, f"{mine:,.0f} pairs/CPU s", peer, ratio, f"≥ {TARGET} ×")


def tandem_rate(method: str) -> float:
    """One run through a proxy of its own."""
    proxy, sink = free_port(), free_port()
    with tandem_proxy(proxy, sink) as pid:
        load(proxy, sink, WARM_UP, method)  # its sink answers the probes: the proxy finds it
        return measure(pid, proxy, sink, method)


@contextmanager
def tandem_proxy(port: int, sink: int) -> Iterator[int]:
    """A standalone proxy before the load's sink."""
    env = os.environ | {
        "TANDEM_SIP_LISTEN": f"127.0.0.1:{port}",
        "TANDEM_BROKER_URL": "memory:",
        "TANDEM_APPSERVERS": f"udp:127.0.0.1:{sink}",
        "TANDEM_RATE_LIMIT": "10000000",
    }
    with tempfile.TemporaryDirectory(prefix="tandem-bench-") as folder:
        log = Path(folder) / "out.txt"
        with log.open("wb") as out:
            command = [sys.executable, "-m", "services.proxy"]
            with process(
                command, core=SWITCH_CORE, stdout=out, stderr=out, env=env, cwd=HERE.parent
            ) as running:
                wait_for(lambda: b"\nready" in log.read_bytes(), "the proxy's `ready`")
                yield running.pid


def kamailio_rate(method: str) -> float:
    """One run through Kamailio with its fast allocator."""
    port, sink = free_port(), free_port()
    text = (HERE / "peers" / "kamailio-stateless.cfg").read_text()
    text = text.replace("15060", str(port)).replace("15080", str(sink))
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as config:
        config.write(text)
        config.flush()
        command = [need("kamailio", "kamailio"), "-x", "fm", "-X", "fm", "-DD", "-f", config.name]
        with process(command, core=SWITCH_CORE) as running:
            wait_for(lambda: not _is_free(port), "kamailio's port")
            load(port, sink, WARM_UP, method)
            return measure(running.pid, port, sink, method)


def measure(pid: int, port: int, sink: int, method: str) -> float:
    """Pairs per CPU second of the process and its children."""
    before = cpu_seconds(pid)
    pairs = load(port, sink, SECONDS, method)
    return pairs / max(cpu_seconds(pid) - before, 0.01)


def load(port: int, sink: int, seconds: int, method: str) -> int:
    """Run the load against a port; returns the pairs that were answered."""
    arguments = [str(each) for each in (port, free_port(), sink, WINDOW, seconds, method)]
    pinned = ["taskset", "-c", str(LOAD_CORE)]
    command = [*pinned, str(compiled("siploop")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found = re.search(r"done (\d+)", done.stdout)
    assert found is not None, done.stdout
    time.sleep(0.1)  # what is still on its way is not the next run's
    return int(found[1])


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
