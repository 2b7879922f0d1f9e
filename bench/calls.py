"""CPU time of a call through the B2BUA (INVITE to BYE, default routing), beside sippy."""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Final

from bench.support import (
    HERE,
    Missing,
    Switch,
    cpu_seconds,
    free_port,
    need,
    process,
    resident_bytes,
    tandem_local,
    wait_for,
)  # fmt: skip

QUIET_RATE: Final = 50
"""Calls per second at which waking up, not work, costs the most."""
BUSY_RATE: Final = 400
PEER_BUSY_RATE: Final = 150
SCRIPTED_RATE: Final = 200
"""Calls per second at which each has about half of a core to do."""
SECONDS: Final = 10
LIVE_CALLS: Final = 1000
MEMORY_TARGET: Final = 12_000
PASSWORD: Final = "secret"
SIPPY: Final = "sippy==2.5.0"


def uas(port: int) -> list[str]:
    """The command of a sipp that answers calls."""
    return [
        need("sipp", "sip-tester"), "-sn", "uas", "-i", "127.0.0.1", "-p", str(port), "-nostdin",
    ]  # fmt: skip


def call(target: int, calls: int, rate: int, hold_ms: int = 0, to: str = "sink") -> int:
    """Place calls to this user at 127.0.0.1:TARGET; returns how many failed."""
    command = [
        need("sipp", "sip-tester"), "-sf", str(HERE / "scenarios" / "uac.xml"), "-s", to,
        f"127.0.0.1:{target}", "-i", "127.0.0.1", "-p", str(free_port()), "-m", str(calls),
        "-r", str(rate), "-l", str(max(1000, calls)), "-d", str(hold_ms), "-nostdin",
        "-timeout", "300",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"sipp failed ({done.returncode}): {done.stderr[-1500:]}")
    found = re.findall(r"Failed call +\| +\d+ +\| +(\d+)", done.stdout)
    return int(found[-1]) if found else 0


def measured(pid: int, port: int, rate: int, to: str = "sink") -> float:
    """CPU milliseconds for one call, after a warm-up; the processes of dialplans included."""
    call(port, 100, QUIET_RATE, to=to)
    before = cpu_seconds(pid)
    calls = rate * SECONDS
    failed = call(port, calls, rate, to=to)
    if failed:
        print(f"  note: {failed} of {calls} calls failed")
    return (cpu_seconds(pid) - before) / calls * 1000


def sippy_ms() -> tuple[float, float]:
    """sippy's b2bua_simple, in an environment of its own: quiet and busy."""
    folder = Path(tempfile.gettempdir()) / "tandem-bench-sippy"
    program = folder / "bin" / "b2bua_simple"
    if not program.exists():
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", SIPPY]
        if subprocess.run(pip, capture_output=True, check=False).returncode:
            raise Missing(f"{SIPPY} can't be installed")
    port, sink = free_port(), free_port()
    command = [
        str(program), "-f", "-l", "127.0.0.1", "-p", str(port), "-n", f"127.0.0.1:{sink}",
    ]  # fmt: skip
    with process(uas(sink), core=1), process(command, core=0, cwd=tempfile.gettempdir()) as peer:
        wait_for(lambda: f":{port:04X}" in Path("/proc/net/udp").read_text(), "sippy")
        return measured(peer.pid, port, QUIET_RATE), measured(peer.pid, port, PEER_BUSY_RATE)


def register_sink(switch: Switch, port: int) -> None:
    """Register `sink` from 127.0.0.1:PORT, where sipp will answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(("127.0.0.1", port))
        phone.settimeout(5)
        phone.connect(("127.0.0.1", switch.sip_port))
        answer = _register(phone, switch.domain, port, 1, "")
        realm, nonce = (_quoted(answer, name) for name in ("realm", "nonce"))
        uri = f"sip:{switch.domain}"
        ha1 = _md5(f"sink:{realm}:{PASSWORD}")
        response = _md5(f"{ha1}:{nonce}:00000001:c0ffee:auth:{_md5(f'REGISTER:{uri}')}")
        credentials = (
            f'Authorization: Digest username="sink", realm="{realm}", nonce="{nonce}", uri="{uri}"'
            f', response="{response}", algorithm=MD5, cnonce="c0ffee", qop=auth, nc=00000001\r\n'
        )
        answer = _register(phone, switch.domain, port, 2, credentials)
        if not answer.startswith("SIP/2.0 200"):
            raise RuntimeError(f"sink was not registered: {answer[:200]}")


def add_front(switch: Switch) -> None:
    """Add `front`, whose calls run a dialplan that rings `sink`."""
    customer = switch.call("GET", "/api/v1/customers?count=1")["items"][0]["id"]
    switch.call("PATCH", f"/api/v1/customers/{customer}", {"max_executions": 100})
    source = 'if sys.is_in:\n    sys.log(req.from_user)\n    sys.dial("sink@local", 20)\n'
    body = {"name": "front", "language": "python", "source": source}
    switch.call("POST", "/api/v1/dialplans", body)
    switch.add_account("front", PASSWORD, in_dialplan="front")


def _register(phone: socket.socket, domain: str, port: int, cseq: int, extra: str) -> str:
    phone.send(
        (
            f"REGISTER sip:{domain} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKsink{cseq}-{time.time_ns()};rport\r\n"
            f"From: <sip:sink@{domain}>;tag=s\r\nTo: <sip:sink@{domain}>\r\n"
            f"Call-ID: sink-{port}\r\nCSeq: {cseq} REGISTER\r\nMax-Forwards: 70\r\n"
            f"Contact: <sip:sink@127.0.0.1:{port}>\r\nExpires: 3600\r\n{extra}"
            "Content-Length: 0\r\n\r\n"
        ).encode()
    )
    return phone.recv(65536).decode()


def _quoted(text: str, name: str) -> str:
    found = re.search(rf'{name}="([^"]*)"', text)
    assert found, text
    return found[1]


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def memory_per_call(switch: Switch) -> float:
    """Resident bytes for each call that is up, once its transactions are gone (over 32 s)."""
    before = resident_bytes(switch.pid)
    holding = ["taskset", "-c", "1", sys.executable, "-c",
        f"from bench.calls import call; call({switch.sip_port}, {LIVE_CALLS}, 100, 70_000)",
    ]  # fmt: skip
    with process(holding, cwd=HERE.parent):
        wait_for(lambda: _live(switch) == LIVE_CALLS, "live calls", 60)
        time.sleep(40)
        return (resident_bytes(switch.pid) - before) / LIVE_CALLS


def _live(switch: Switch) -> int:
    return int(switch.call("GET", "/api/v1/calls?count=1")["total"])


def run() -> list[tuple[str, str, str, str, str]]:
    """The rows: work, Tandem, peer, ratio, target."""
    sink = free_port()
    with tandem_local(core=0) as switch:
        switch.add_account("sink", PASSWORD)
        register_sink(switch, sink)
        with process(uas(sink), core=1):
            quiet = measured(switch.pid, switch.sip_port, QUIET_RATE)
            busy = measured(switch.pid, switch.sip_port, BUSY_RATE)
            # before the scripted calls: what they leave free in the heap would hide the growth
            memory = memory_per_call(switch)
            add_front(switch)
            scripted = [
                measured(switch.pid, switch.sip_port, rate, "front")
                for rate in (QUIET_RATE, SCRIPTED_RATE)
            ]
    try:
        theirs = sippy_ms()
        peers = [f"sippy {ms:.2f} ms" for ms in theirs]
        ratios = [f"1/{peer / ours:.1f}" for peer, ours in zip(theirs, (quiet, busy), strict=True)]
    except Missing as missing:
        theirs = (0.0, 0.0)
        peers, ratios = [str(missing)] * 2, ["-"] * 2
    rates = (f"{QUIET_RATE}/s", f"{BUSY_RATE}/s; peer {PEER_BUSY_RATE}/s")
    rows = [
        (f"CPU of a call through the B2BUA ({rate})", f"{ours:.2f} ms", peer, ratio, "≤ 1/8")
        for rate, ours, peer, ratio in zip(rates, (quiet, busy), peers, ratios, strict=True)
    ]
    rows += [
        (
            f"the same with a Python dialplan that dials ({rate}/s)",
            f"{ours:.2f} ms",
            peers[number],
            "-" if "sippy " not in peers[number] else f"1/{theirs[number] / ours:.1f}",
            "≤ 1/3",
        )
        for number, (rate, ours) in enumerate(
            zip((QUIET_RATE, SCRIPTED_RATE), scripted, strict=True)
        )
    ]
    return [
        *rows,
        ("memory per live call", f"{memory:,.0f} B", "-", "-", f"< {MEMORY_TARGET:,} B"),
    ]
