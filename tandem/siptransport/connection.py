"""One connection of a stream transport, incoming or outgoing: the Flow that its user sees.

CONNECT ──► HANDSHAKE ──► FIRST ──► IDLE ◄──► PARTIAL       each phase has one deadline;
(outgoing)  (TLS, WS)   (incoming)   │           │          Streams looks at all of them
                                     └──► LINGER ┘──► lost  in one sweep
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol, cast

from tandem.siptransport.codec import Cause, Codec, End, Received
from tandem.siptransport.flow import Address, FlowUser, StreamCounters, StreamLimits

NOWHERE: Final[Address] = ("", 0)


class Phase(Enum):
    """What a connection waits for; the value is the StreamLimits field of its time-out."""

    CONNECT = "connect"
    HANDSHAKE = "handshake"
    FIRST = "first_message"
    PARTIAL = "partial_message"
    IDLE = "idle"
    LINGER = "linger"


_TIMED_OUT: Final = {
    Phase.CONNECT: End("connect timed out", Cause.CONNECT_FAILED),
    Phase.HANDSHAKE: End("handshake timed out", Cause.HANDSHAKE_FAILED),
    Phase.FIRST: End("no message came", Cause.IDLE),
    Phase.PARTIAL: End("the rest of a message did not come", Cause.BAD_FRAMING),
    Phase.IDLE: End("idle for too long", Cause.IDLE),
}


class Owner(Protocol):
    """What a connection needs of Streams."""

    user: FlowUser
    limits: StreamLimits
    counters: StreamCounters
    clock: Callable[[], float]

    def admit(self, connection: Connection) -> bool:
        """Whether an incoming connection fits into the limits; then it is registered."""

    def closing(self, connection: Connection) -> None:
        """The connection is closing: nobody is to be given it any more."""

    def lost(self, connection: Connection, reason: str) -> None:
        """The connection's socket is gone."""


class Connection(asyncio.Protocol):
    """A Flow on an asyncio transport. For an incoming one `remote` is known once it is made."""

    def __init__(
        self,
        owner: Owner,
        flow_id: int,
        transport: str,
        make_codec: Callable[[], Codec],
        remote: Address = NOWHERE,
        server_name: str = "",
    ) -> None:
        self.id = flow_id
        self.transport = transport
        self.local: Address = NOWHERE
        self.remote = remote
        self.incoming = remote == NOWHERE
        self.server_name = server_name
        self.closed = False
        self.deadline = 0.0
        self._owner = owner
        self._make_codec = make_codec
        self._codec: Codec  # once there is a socket that was admitted
        self._socket: asyncio.Transport | None = None
        self._reason = ""
        self._queue: list[bytes] = []  # until the handshakes are over, bounded by write_buffer
        self._queued = 0
        self._began = owner.clock()
        self._wait(Phase.HANDSHAKE if self.incoming else Phase.CONNECT)

    def __repr__(self) -> str:
        return f"<Flow {self.id} {self.transport} {self.remote[0]}:{self.remote[1]}>"

    # -- the Flow ------------------------------------------------------------------------------

    def send(self, data: bytes) -> bool:
        """See Flow."""
        if self.closed:
            return False
        if self._socket is None or self._queue or not self._codec.ready:
            return self._enqueue(data)
        return self._send(data)

    def keepalive(self) -> None:
        """See Flow."""
        if not self.closed and self._socket is not None and self._codec.ready:
            self._write_framed(self._codec.keepalive)

    def close(self, reason: str = "") -> None:
        """See Flow."""
        if not self.closed:
            self._end(End(reason or "closed by us"))

    # -- asyncio.Protocol ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected. asyncio has set TCP_NODELAY already."""
        self._socket = cast(asyncio.Transport, transport)
        remote = transport.get_extra_info("peername")
        local = transport.get_extra_info("sockname")
        if self.closed or not remote or not local:
            self._abort("gone before it was made")
            return
        self.remote, self.local = (remote[0], remote[1]), (local[0], local[1])
        if self.incoming and not self._owner.admit(self):
            self._abort("refused")
            return
        self._set_up()

    def _set_up(self) -> None:
        timeout = int(self._owner.limits.unacknowledged * 1000)
        sock = self.socket
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout)
        try:
            self._codec = self._make_codec()
            hello = self._codec.start()
        except (OSError, ValueError) as error:  # a name that no certificate can be for
            self._owner.counters.count(Cause.HANDSHAKE_FAILED.value)
            self._abort(error_text(error))
            return
        if not self.incoming:
            self._owner.counters.connected += 1
        self._wait(Phase.HANDSHAKE)
        self._take(Received(reply=hello))

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if not self.closed:
            self._take(self._codec.receive(data))

    def eof_received(self) -> None:
        """The peer sends no more: whoever is half gone gets nothing more from us either, so that
        its bindings end at once. asyncio closes the socket after what was sent."""
        if self._phase is Phase.HANDSHAKE and not self.closed:
            self._owner.counters.count(Cause.HANDSHAKE_FAILED.value)
        self._mark_closed("closed by peer")

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._mark_closed(error_text(exc) if exc else "closed by peer")
        self._owner.lost(self, self._reason)

    # -- for Streams ---------------------------------------------------------------------------

    def on_deadline(self) -> None:
        """The phase took longer than its limit allows."""
        if self._phase is Phase.LINGER:
            self._abort(self._reason)
        else:
            self._end(_TIMED_OUT[self._phase])

    @property
    def socket(self) -> socket.socket:
        """The socket of an established connection, for its options."""
        assert self._socket is not None, "not connected yet"
        found: socket.socket = self._socket.get_extra_info("socket")
        return found

    def give_up(self, reason: str) -> None:
        """An outgoing connection could not be made."""
        if not self.closed:
            self._owner.counters.connect_failed += 1
        self._mark_closed(reason)
        self._owner.lost(self, self._reason)

    # -- inside --------------------------------------------------------------------------------

    def _take(self, received: Received) -> None:
        owner = self._owner
        if received.reply and not self._write(received.reply):
            return
        if self._queue and self._codec.ready:
            self._flush()
        for message in received.messages:
            if self.closed:
                return
            owner.counters.messages_in += 1
            owner.user.on_message(message, self)
        owner.counters.keepalives += received.keepalives
        if received.end is not None and not self.closed:
            self._end(received.end)
        elif not self.closed:
            self._next_phase(bool(received.messages or received.keepalives))

    def _next_phase(self, heard: bool) -> None:
        """Only whole messages and keep-alives put a deadline off, never single bytes."""
        phase = self._phase
        if self._codec.partial:
            if phase is Phase.IDLE or heard:
                self._wait(Phase.PARTIAL)
        elif heard or phase is Phase.PARTIAL:
            self._wait(Phase.IDLE)
        elif phase is Phase.HANDSHAKE and self._codec.ready:
            self._wait(Phase.FIRST if self.incoming else Phase.IDLE)

    def _wait(self, phase: Phase) -> None:
        limits = self._owner.limits
        self._phase = phase
        if phase is Phase.FIRST:
            self.deadline = self._began + limits.first_message
        elif phase is Phase.CONNECT:
            self.deadline = self._began + limits.handshake
        else:
            self.deadline = self._owner.clock() + float(getattr(limits, phase.value))

    def _enqueue(self, data: bytes) -> bool:
        self._queued += len(data)
        if self._queued > self._owner.limits.write_buffer:
            self._drop_slow()
            return False
        self._queue.append(data)
        return True

    def _flush(self) -> None:
        queue, self._queue, self._queued = self._queue, [], 0
        for data in queue:
            if self.closed or not self._send(data):
                return

    def _send(self, data: bytes) -> bool:
        self._owner.counters.messages_out += 1
        return self._write_framed(self._codec.encode, data)

    def _write_framed(self, frame: Callable[..., bytes], *data: bytes) -> bool:
        try:
            framed = frame(*data)
        except OSError as error:
            self._abort(error_text(error))
            return False
        return self._write(framed)

    def _write(self, data: bytes) -> bool:
        transport = self._socket
        assert transport is not None, "nothing is written before the socket is connected"
        if transport.is_closing():
            return False
        transport.write(data)
        if transport.get_write_buffer_size() <= self._owner.limits.write_buffer:
            return True
        self._drop_slow()
        return False

    def _drop_slow(self) -> None:
        self._owner.counters.count(Cause.SLOW.value)
        self._abort("reads too slowly")

    def _end(self, end: End) -> None:
        """Close after what was sent. Our side ends first and the peer's bytes are read on for a
        while, because a reset could overtake the answer that tells the peer what was wrong."""
        if end.cause is not None:
            self._owner.counters.count(end.cause.value)
        self._mark_closed(end.reason)
        transport = self._socket
        if transport is not None and not transport.is_closing():
            transport.write(self._codec.farewell())
            transport.write_eof()
        self._wait(Phase.LINGER)

    def _abort(self, reason: str) -> None:
        self._mark_closed(reason)
        if self._socket is not None:
            self._socket.abort()

    def _mark_closed(self, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self._reason = reason
            self._queue.clear()
            self._owner.closing(self)


def error_text(error: BaseException) -> str:
    """What went wrong with a socket, in the system's words."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
