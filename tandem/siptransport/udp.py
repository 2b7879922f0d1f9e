"""UDP sockets that work in batches.

asyncio's own datagram transport takes one datagram per turn of the loop; under load that costs
more than all of a proxy's work. Here a wake-up reads a batch, hands it over whole, and what is
sent meanwhile leaves together at its end; what is left on the socket is for the loop's next turn,
so that a flood on one leaves the loop to the others too. On Linux the batch goes through
`mmsg.py` (recvmmsg and sendmmsg, measured a third faster); elsewhere through plain calls that do
the same. What leaves alone goes by a plain call, for half of what a batch of one costs.

An address is packed: the `sockaddr` as the kernel writes it, for a datagram's source costs
nothing that way and is a dictionary key at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Protocol

from tandem.siptransport import mmsg

BATCH: Final = mmsg.BATCH
"""Datagrams per batch: past 64 a system call saves nothing more."""

MAX_DATAGRAM: Final = mmsg.MAX_DATAGRAM
"""Bytes: no UDP datagram is larger."""

MAX_KNOWN: Final = 4096
"""Addresses that are remembered unpacked."""

RECEIVE_BUFFER: Final = 8 << 20
"""Bytes that the kernel is asked to keep for us: a burst of 8,000 messages of 1 kB."""

Receiver = Callable[[list[bytes], list[bytes]], None]
"""Takes the datagrams of a batch and, in the same order, their packed sources."""

_V4: Final = struct.Struct("=H2s4s8x")
_V6: Final = struct.Struct("=H2s4x16s4x")


def pack_address(host: str, port: int) -> bytes:
    """The packed form of a numeric host (brackets allowed) and port; raises ValueError."""
    if not 0 < port < 65536:
        raise ValueError(f"port out of range: {port}")
    number = port.to_bytes(2, "big")
    try:
        if ":" in host:
            raw = socket.inet_pton(socket.AF_INET6, host.strip("[]"))
            return _V6.pack(socket.AF_INET6, number, raw)
        return _V4.pack(socket.AF_INET, number, socket.inet_pton(socket.AF_INET, host))
    except OSError:
        raise ValueError(f"no numeric address: {host!r}") from None


@lru_cache(maxsize=MAX_KNOWN)
def unpack_address(packed: bytes) -> tuple[str, int]:
    """Host (IPv6 without brackets) and port of a packed address."""
    if len(packed) == _V4.size:
        _, port, raw = _V4.unpack(packed)
        return socket.inet_ntop(socket.AF_INET, raw), int.from_bytes(port, "big")
    _, port, raw = _V6.unpack(packed)
    return socket.inet_ntop(socket.AF_INET6, raw), int.from_bytes(port, "big")


class _Calls(Protocol):
    """The system calls of one socket."""

    def receive(self) -> tuple[list[bytes], list[bytes]]:
        """What is there now, at most BATCH datagrams."""

    def send(self, datagrams: Sequence[bytes], targets: Sequence[bytes]) -> int:
        """Send at most BATCH datagrams now; returns how many the kernel did not take."""


class PlainCalls:
    """recvfrom and sendto, one datagram each: where there is no recvmmsg."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def receive(self) -> tuple[list[bytes], list[bytes]]:
        """What is there now, at most BATCH datagrams."""
        datagrams: list[bytes] = []
        sources: list[bytes] = []
        with contextlib.suppress(OSError):
            for _ in range(BATCH):
                data, address = self._sock.recvfrom(MAX_DATAGRAM)
                datagrams.append(data)
                sources.append(pack_address(address[0].partition("%")[0], address[1]))
        return datagrams, sources

    def send(self, datagrams: Sequence[bytes], targets: Sequence[bytes]) -> int:
        """Send at most BATCH datagrams now; returns how many the kernel did not take."""
        lost = 0
        for data, target in zip(datagrams, targets, strict=True):
            try:
                self._sock.sendto(data, unpack_address(target))
            except OSError:
                lost += 1
        return lost


class UdpSocket:
    """One bound socket. `receiver` may be set until `start`."""

    def __init__(self, sock: socket.socket, *, batched: bool = True) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False
        self._held = False
        self._datagrams: list[bytes] = []
        self._targets: list[bytes] = []
        self.family = sock.family
        self.receiver: Receiver = lambda datagrams, sources: None
        self.lost = 0
        """Datagrams that the kernel did not take for sending."""
        host, port = sock.getsockname()[:2]
        self.host: str = host
        self.port: int = port
        plain = PlainCalls(sock)
        self._calls: _Calls = mmsg.BatchCalls(sock) if batched and mmsg.AVAILABLE else plain
        # A plain address of IPv6 would be without its scope.
        self._single: _Calls = plain if sock.family == socket.AF_INET else self._calls

    @classmethod
    def open(
        cls, host: str, port: int, *, reuse_port: bool = False, batched: bool = True
    ) -> UdpSocket:
        """Bind to a numeric host and port (0: any free one); raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _grow_buffers(sock)
            sock.bind((host.strip("[]"), port))
        except BaseException:
            sock.close()
            raise
        return cls(sock, batched=batched)

    def start(self) -> None:
        """Begin to receive, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock.fileno(), self._readable)

    def send(self, data: bytes, target: bytes) -> None:
        """Queue for a packed address of this socket's family; leaves when this turn ends."""
        datagrams = self._datagrams
        datagrams.append(data)
        self._targets.append(target)
        if len(datagrams) == 1:
            if not self._held and not self._scheduled:
                self._schedule()
        elif len(datagrams) >= BATCH:
            self._send_queued()

    def _schedule(self) -> None:
        self._scheduled = True
        assert self._loop is not None
        self._loop.call_soon(self._on_turn)

    def _on_turn(self) -> None:
        self._scheduled = False
        self.flush()

    def hold(self) -> None:
        """What is sent from now on waits for `flush`, whoever calls that must be certain to."""
        self._held = True

    def flush(self) -> None:
        """Send what is queued now."""
        self._held = False
        if self._datagrams:
            self._send_queued()

    def _send_queued(self) -> None:
        datagrams, self._datagrams = self._datagrams, []
        targets, self._targets = self._targets, []
        calls = self._calls if len(datagrams) > 1 else self._single
        self.lost += calls.send(datagrams, targets)

    def _readable(self) -> None:
        """What the receiver sends through this socket leaves together at the end."""
        datagrams, sources = self._calls.receive()
        if not datagrams:
            return
        self._held = True
        try:
            self.receiver(datagrams, sources)
        finally:
            self.flush()

    def close(self) -> None:
        """Send what is queued and close; a second call does nothing."""
        if self._sock.fileno() < 0:
            return
        self.flush()
        if self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())
        self._sock.close()


def _grow_buffers(sock: socket.socket) -> None:
    """As large as wanted where we may (CAP_NET_ADMIN), else as large as the system allows."""
    for forced, ordinary in ((33, socket.SO_RCVBUF), (32, socket.SO_SNDBUF)):
        # 33 is SO_RCVBUFFORCE and 32 SO_SNDBUFFORCE, which the socket module doesn't name
        if sys.platform == "linux":
            try:
                sock.setsockopt(socket.SOL_SOCKET, forced, RECEIVE_BUFFER)
                continue
            except PermissionError:
                pass
        try:
            sock.setsockopt(socket.SOL_SOCKET, ordinary, RECEIVE_BUFFER)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise


def route_source(remote: str) -> str:
    """The local address that packets to a numeric `remote` leave from; raises OSError."""
    family = socket.AF_INET6 if ":" in remote else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((remote, 9))
        local: str = sock.getsockname()[0]
    return local
