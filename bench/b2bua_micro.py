"""CPU and memory of calls through the transaction layer and the B2BUA alone: no sockets, no proxy.

    python -m bench.b2bua_micro [--calls N] [--profile]

The messages of a call are made before the clock runs, with the names that the switch will choose,
so that what is timed is the switch: parse, check, transactions, B2BUA, and the bytes that leave.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import itertools
import pstats
import time
import tracemalloc
from typing import Any

from services.appserver.config import AppServerConfig
from services.appserver.domain.plan import CallPlan, NextHop, Target
from services.appserver.handlers.calls import CallLimits, Calls
from services.appserver.ports import CallHost
from tandem.bus.ports import Topic
from tandem.runtime.lifecycle import settle
from tandem.sip.deadlines import Deadlines
from tandem.sip.message import Request, Response, parse_message
from tandem.sip.transaction import ClientTransaction, Hop, ServerTransaction, TransactionLayer

PROXY = "10.0.0.1:5070"
SDP = (
    "v=0\r\no=user1 53655765 2353687637 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    "m=audio 6000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n"
)
ROUTES_A = "Record-Route: <sip:{token}@10.0.0.1:5070;lr>\r\nRecord-Route: <sip:198.51.100.1;lr>\r\n"
ROUTES_B = "Record-Route: <sip:198.51.100.1;lr>\r\nRecord-Route: <sip:{token}@10.0.0.1:5070;lr>\r\n"
TOKEN = "udp-192.0.2.1-5060-0123456789abcdef0123456789"


class Switch:
    """A layer with calls on it, and what it sends."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.now = 0.0
        self.deadlines = Deadlines()
        numbers = itertools.count(1)
        self.layer = TransactionLayer(
            lambda data, peer: self.sent.append(data),
            self,
            self.deadlines,
            sent_by="10.0.0.9:5090",
            new_token=lambda: f"{next(numbers):016x}",
        )
        host = CallHost(
            layer=self.layer,
            deadlines=self.deadlines,
            publisher=self,
            config=AppServerConfig(),
            link_address="10.0.0.9:5090",
            link_reliable=True,
            wall=time.time,
            new_token=lambda: f"{next(numbers):016x}",
        )
        self.calls = Calls(host, CallLimits(max_calls=10**6, probe_seconds=10**6))
        hop = NextHop(PROXY, (f"<sip:{TOKEN}@{PROXY};lr>",), False, True, "udp:192.0.2.2:5060")
        target = Target("sip:bob@192.0.2.2:5060", (hop,), "bob@example.org")
        self.plan = CallPlan("in", ("owner",), None, None, (target,))
        self.hop = Hop(PROXY, False)

    def publish(self, topic: Topic, payload: Any) -> None:
        """The bus takes it."""

    def receive(self, data: bytes) -> None:
        """As the core does."""
        message = parse_message(data)
        message.check()
        self.layer.receive(message, self.hop, self.now)

    def take(self) -> list[bytes]:
        """What was sent since."""
        sent, self.sent = self.sent, []
        return sent

    def on_request(self, tx: ServerTransaction, now: float) -> None:
        if tx.request.to.tag:
            self.calls.in_dialog(tx, now)
        else:
            self.calls.start(tx, self.plan, now)

    def on_ack(self, ack: Request, hop: Hop, now: float) -> None:
        self.calls.on_ack(ack, hop, now)

    def on_cancel(self, tx: ServerTransaction, cancel: Request, now: float) -> None:
        self.calls.on_cancel(tx, cancel, now)

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        self.calls.on_response(tx, response, now)

    def on_client_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        self.calls.on_client_failure(tx, status, now)

    def on_stray_response(self, response: Response, hop: Hop, now: float) -> None:
        self.calls.on_stray_response(response, hop, now)

    def on_server_timeout(self, tx: ServerTransaction, now: float) -> None:
        self.calls.on_server_timeout(tx, now)


def invite(n: int) -> bytes:
    """The caller's INVITE as it comes over the link."""
    return (
        "INVITE sip:bob@example.org SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {PROXY};branch=z9hG4bKp{n}\r\n"
        f"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa{n};rport=5060;received=192.0.2.1\r\n"
        f"{ROUTES_A.format(token=TOKEN)}"
        f'From: "Alice" <sip:alice@example.org>;tag=a{n}\r\n'
        "To: <sip:bob@example.org>\r\n"
        f"Call-ID: call-{n}-0123456789abcdef@192.0.2.1\r\nCSeq: 1 INVITE\r\n"
        "Contact: <sip:alice@192.0.2.1:5060>\r\nMax-Forwards: 70\r\n"
        "User-Agent: Phone/1.0\r\nAllow: INVITE, ACK, CANCEL, OPTIONS, BYE, UPDATE, INFO\r\n"
        "Supported: replaces, timer\r\nSubject: Bench\r\n"
        f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n\r\n{SDP}"
    ).encode()


def answer(n: int, data: bytes, status: int, body: str = "") -> bytes:
    """The callee's answer to our INVITE or BYE."""
    request = parse_message(data)
    lines = [line for line in request.lines if line[:3] in ("Via", "Fro", "Cal", "CSe")]
    to = request.first("to") or ""
    lines.append(f"To: {to}" if ";tag=" in to else f"To: {to};tag=b{n}")
    if b"INVITE" in data[:6]:
        lines += ROUTES_B.format(token=TOKEN).strip().split("\r\n")
        lines.append("Contact: <sip:bob@192.0.2.2:5060>")
    if body:
        lines.append("Content-Type: application/sdp")
    lines += ["User-Agent: Phone/2.0", f"Content-Length: {len(body)}"]
    return "\r\n".join([f"SIP/2.0 {status} OK", *lines, "", body]).encode()


def inside(n: int, method: str, seq: int, tag: str) -> bytes:
    """The caller's ACK or BYE."""
    return (
        f"{method} sip:10.0.0.9:5090 SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {PROXY};branch=z9hG4bKp{method}{n}\r\n"
        f"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{method}{n};rport=5060\r\n"
        f'From: "Alice" <sip:alice@example.org>;tag=a{n}\r\n'
        f"To: <sip:bob@example.org>;tag={tag}\r\n"
        f"Call-ID: call-{n}-0123456789abcdef@192.0.2.1\r\nCSeq: {seq} {method}\r\n"
        "Max-Forwards: 70\r\nUser-Agent: Phone/1.0\r\nContent-Length: 0\r\n\r\n"
    ).encode()


class Meter:
    """Adds up the CPU time of what is handed to the switch."""

    def __init__(self, switch: Switch) -> None:
        self.switch = switch
        self.seconds = 0.0
        self.profile: cProfile.Profile | None = None

    def __call__(self, *messages: bytes) -> list[bytes]:
        if self.profile:
            self.profile.enable()
        begun = time.process_time()
        for data in messages:
            self.switch.receive(data)
        self.seconds += time.process_time() - begun
        if self.profile:
            self.profile.disable()
        return self.switch.take()


def set_up(meter: Meter, numbers: range) -> list[str]:
    """Many calls at once, so that the clock is read seldom; returns our To-tags."""
    sent = [invites[1] for invites in (meter(invite(n)) for n in numbers)]
    meter(*(answer(n, data, 180) for n, data in zip(numbers, sent, strict=True)))
    out = meter(*(answer(n, data, 200, SDP) for n, data in zip(numbers, sent, strict=True)))
    answers = [parse_message(data) for data in out if data.startswith(b"SIP/2.0 200")]
    tags = [message.to.tag or "" for message in answers]
    meter(*(inside(n, "ACK", 1, tag) for n, tag in zip(numbers, tags, strict=True)))
    return tags


def hang_up(meter: Meter, numbers: range, tags: list[str]) -> None:
    """The caller's BYE and its way through."""
    out = meter(*(inside(n, "BYE", 2, tag) for n, tag in zip(numbers, tags, strict=True)))
    byes = [data for data in out if data.startswith(b"BYE")]
    assert len(byes) == len(numbers)
    meter(*(answer(n, data, 200) for n, data in zip(numbers, byes, strict=True)))


def cpu(calls: int, profile: bool) -> None:
    """CPU per call, INVITE to the BYE's 200, both legs."""
    switch = Switch()
    meter = Meter(switch)
    meter.profile = cProfile.Profile() if profile else None
    batch = 200
    for first in range(0, calls, batch):
        numbers = range(first, first + batch)
        hang_up(meter, numbers, set_up(meter, numbers))
        switch.now += 200
        begun = time.process_time()
        switch.deadlines.run(switch.now)
        meter.seconds += time.process_time() - begun
        switch.take()
    assert not len(switch.calls)
    print(f"CPU per call: {meter.seconds / calls * 1e6:.0f} µs ({calls} calls)")
    if meter.profile:
        pstats.Stats(meter.profile).sort_stats("tottime").print_stats(40)


def memory(calls: int) -> None:
    """Bytes per established call once its transactions are gone."""
    switch = Switch()
    meter = Meter(switch)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for first in range(0, calls, 200):
        set_up(meter, range(first, first + 200))
    switch.now += 200
    switch.deadlines.run(switch.now)
    switch.take()
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert not len(switch.layer)
    assert len(switch.calls) == calls
    print(f"memory per call: {used / calls:.0f} bytes ({calls} calls up)")


def main() -> None:
    """Both figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    settle()
    cpu(arguments.calls, arguments.profile)
    if not arguments.profile:
        memory(arguments.calls)


if __name__ == "__main__":
    main()
