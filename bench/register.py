"""REGISTER with digest through proxy and appserver, beside a Kamailio registrar in memory."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from bench.support import (
    HERE,
    Missing,
    Switch,
    compiled,
    cpu_seconds,
    free_port,
    need,
    process,
    resident_bytes,
    tandem_local,
    wait_for,
)  # fmt: skip

DOMAIN: Final = "sip.test"
PASSWORD: Final = "secret"
USERS: Final = 1000
WINDOW: Final = 64
SECONDS: Final = 8
TARGET: Final = 0.25
WARM_USERS: Final = 5_000
"""Fill the caches that are bounded, so that they are not counted for each binding."""
MEMORY_USERS: Final = 10_000
MEMORY_TARGET: Final = 1500


def load(port: int, users: int = USERS, seconds: int = SECONDS) -> int:
    """Run the load against a port; returns how many registrations succeeded."""
    command = [
        "taskset", "-c", "1", str(compiled("regloop")), "127.0.0.1", str(port), str(free_port()),
        DOMAIN, PASSWORD, str(users), str(WINDOW), str(seconds),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"ok (\d+) challenges (\d+) other (\d+) lost (\d+)", done.stdout)
    assert found, done.stdout
    ok, _, other, lost = map(int, found.groups())
    if other or lost:
        print(f"  note: {other} other answers, {lost} lost: {done.stderr.strip()[:200]}")
    return ok


def kamailio_rate() -> float:
    """Registrations per CPU second of Kamailio."""
    port = free_port()
    text = (HERE / "peers" / "kamailio-registrar.cfg").read_text().replace("15060", str(port))
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as config:
        config.write(text)
        config.flush()
        command = [
            need("kamailio", "kamailio"), "-x", "fm", "-X", "fm", "-DD", "-E", "-m", "256",
            "-f", config.name,
        ]  # fmt: skip
        with process(command, core=0) as peer:
            wait_for(lambda: _answers(port), "kamailio")
            before = cpu_seconds(peer.pid)
            done = load(port)
            return done / (cpu_seconds(peer.pid) - before)


def _answers(port: int) -> bool:
    return f":{port:04X}" in Path("/proc/net/udp").read_text()


def add_users(switch: Switch, count: int) -> None:
    """Add the accounts u0, u1, …"""
    for number in range(count):
        switch.add_account(f"u{number}", PASSWORD)


def tandem_rate(switch: Switch) -> float:
    """Registrations per CPU second of Tandem, proxy and appserver together."""
    before = cpu_seconds(switch.pid)
    done = load(switch.sip_port)
    return done / (cpu_seconds(switch.pid) - before)


def memory_per_binding(switch: Switch, known: int) -> float:
    """Resident bytes for each further binding, its cached account included."""
    warm = known + WARM_USERS
    for number in range(known, warm + MEMORY_USERS):
        switch.add_account(f"u{number}", PASSWORD)
    load(switch.sip_port, warm)
    before = resident_bytes(switch.pid)
    load(switch.sip_port, warm + MEMORY_USERS, 10)
    total = int(switch.call("GET", "/api/v1/bindings?count=1")["total"])
    return (resident_bytes(switch.pid) - before) / max(1, total - warm)


def run() -> list[tuple[str, str, str, str, str]]:
    """The rows: work, Tandem, peer, ratio, target."""
    with tandem_local(core=0, domain=DOMAIN) as switch:
        add_users(switch, USERS)
        load(switch.sip_port, seconds=2)
        ours = tandem_rate(switch)
        memory = memory_per_binding(switch, USERS)
    try:
        theirs = kamailio_rate()
        peer, ratio = f"Kamailio {theirs:,.0f} /CPU s", f"{ours / theirs:.2f} ×"
    except Missing as missing:
        peer, ratio = str(missing), "-"
    return [
        ("REGISTER with digest", f"{ours:,.0f} /CPU s", peer, ratio, f"≥ {TARGET} ×"),
        ("memory per binding", f"{memory:,.0f} B", "-", "-", f"< {MEMORY_TARGET} B"),
    ]
