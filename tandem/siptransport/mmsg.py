"""recvmmsg(2) and sendmmsg(2) by ctypes: up to 64 datagrams per system call, on Linux.

All headers of a batch are laid out once. Per call only lengths and names change; they are
written and read as arrays, never field by field, since a ctypes field costs as much as a
datagram's share of the call.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import socket
import sys
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final

BATCH: Final = 64
"""Datagrams per system call."""

MAX_DATAGRAM: Final = 65_536
"""Bytes of room for each: no UDP datagram is larger."""

_STRIDE: Final = MAX_DATAGRAM + 1024 + 64
"""Bytes between two of them: were it a power of two, all would compete for the same few lines
of the processor's caches."""


class _MsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_uint64), ("name_length", ctypes.c_uint32), ("pad1", ctypes.c_uint32),
        ("vector", ctypes.c_uint64), ("vector_length", ctypes.c_uint64),
        ("control", ctypes.c_uint64), ("control_length", ctypes.c_uint64),
        ("flags", ctypes.c_uint32), ("pad2", ctypes.c_uint32),
        ("length", ctypes.c_uint32), ("pad3", ctypes.c_uint32),
    )  # fmt: skip


_HEADER_WORDS: Final = ctypes.sizeof(_MsgHdr) // 4
_LENGTH_WORD: Final = 14


def _system_call(name: str) -> Callable[..., int] | None:
    # the layout above is that of LP64 Linux
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    call: Any = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if call is None:
        return None
    call.restype = ctypes.c_int
    arguments = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
    call.argtypes = [*arguments, ctypes.c_void_p] if name == "recvmmsg" else arguments
    return call  # type: ignore[no-any-return]  # ctypes gives its functions no type


_recvmmsg: Final = _system_call("recvmmsg")
_sendmmsg: Final = _system_call("sendmmsg")

AVAILABLE: Final = _recvmmsg is not None and _sendmmsg is not None
"""Whether this system has both calls in the layout known here."""


class _Headers:
    """The mmsghdr array of one direction, with its vectors and names."""

    def __init__(self, name_size: int) -> None:
        self.names = mmap.mmap(-1, BATCH * name_size)
        self._name_anchor = ctypes.c_char.from_buffer(self.names)
        names_at = ctypes.addressof(self._name_anchor)
        self._vectors = (ctypes.c_uint64 * (2 * BATCH))()
        vectors_at = ctypes.addressof(self._vectors)
        words = memoryview(self._vectors).cast("B").cast("Q")
        self.bases, self.sizes = words[0::2], words[1::2]
        self._headers = (_MsgHdr * BATCH)()
        for n, header in enumerate(self._headers):
            header.name = names_at + n * name_size
            header.name_length = name_size
            header.vector = vectors_at + 16 * n
            header.vector_length = 1
        self.address = ctypes.addressof(self._headers)
        self.lengths = memoryview(self._headers).cast("B").cast("I")[_LENGTH_WORD::_HEADER_WORDS]


class BatchCalls:
    """The batched calls of one socket; see `udp.PlainCalls` for the same in plain."""

    def __init__(self, sock: socket.socket) -> None:
        assert _recvmmsg is not None
        assert _sendmmsg is not None
        self._recv, self._send = _recvmmsg, _sendmmsg
        self._fd = sock.fileno()
        size = self._name_size = 16 if sock.family == socket.AF_INET else 28
        self._in, self._out = _Headers(size), _Headers(size)
        self._room = mmap.mmap(-1, BATCH * _STRIDE)
        self._room_anchor = ctypes.c_char.from_buffer(self._room)
        at = ctypes.addressof(self._room_anchor)
        self._in.bases[:] = array("Q", range(at, at + BATCH * _STRIDE, _STRIDE))
        self._in.sizes[:] = array("Q", [MAX_DATAGRAM] * BATCH)
        self._starts = tuple(range(0, BATCH * _STRIDE, _STRIDE))
        self._name_starts = tuple(range(0, BATCH * size, size))

    def receive(self) -> tuple[list[bytes], list[bytes]]:
        """What is there now, at most BATCH datagrams."""
        count = self._recv(self._fd, self._in.address, BATCH, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return [], []
        room, names, size = self._room, self._in.names, self._name_size
        lengths = self._in.lengths[:count].tolist()
        return (
            [room[at : at + n] for at, n in zip(self._starts, lengths, strict=False)],
            [names[at : at + size] for at in self._name_starts[:count]],
        )

    def send(self, datagrams: Sequence[bytes], targets: Sequence[bytes]) -> int:
        """Send at most BATCH datagrams now; returns how many the kernel did not take."""
        lost = done = 0
        total = len(datagrams)
        while done < total:
            sent = self._send_some(datagrams[done:], targets[done:])
            if sent > 0:
                done += sent
            elif ctypes.get_errno() == errno.EAGAIN:
                return lost + total - done
            elif ctypes.get_errno() != errno.EINTR:
                lost += 1  # this one cannot be sent: an address out of reach, a size too large
                done += 1
        return lost

    def _send_some(self, datagrams: Sequence[bytes], targets: Sequence[bytes]) -> int:
        out, count = self._out, len(datagrams)
        data = b"".join(datagrams)
        base = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value
        assert base is not None
        sizes = [len(datagram) for datagram in datagrams]
        out.sizes[:count] = array("Q", sizes)
        out.bases[:count] = array("Q", accumulate(sizes[:-1], initial=base))
        out.names[: count * self._name_size] = b"".join(targets)
        return self._send(self._fd, out.address, count, socket.MSG_DONTWAIT)
