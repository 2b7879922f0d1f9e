"""What stands between a socket's bytes and SIP messages, without any I/O.

socket ──receive──► [TlsCodec ──►] StreamCodec | WsCodec ──► Received.messages
socket ◄──────────── encode, keepalive, farewell, Received.reply
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from tandem.sip.errors import TooLarge
from tandem.sip.stream import PING, PONG, KeepAlive, StreamFault, StreamParser


class Cause(Enum):
    """Why we end a connection, by the field of StreamCounters that counts it."""

    BAD_FRAMING = "bad_framing"
    CONNECT_FAILED = "connect_failed"
    HANDSHAKE_FAILED = "handshake_failed"
    IDLE = "idle_closed"
    SLOW = "dropped_slow"
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True)
class End:
    """The connection cannot go on. No cause: the peer closed it in an orderly way."""

    reason: str
    cause: Cause | None = None


@dataclass(slots=True)
class Received:
    """What some bytes from the socket amounted to."""

    messages: list[bytes] = field(default_factory=list)
    reply: bytes = b""
    """Bytes for the socket, before anything else is sent."""
    keepalives: int = 0
    """Pings and pongs."""
    end: End | None = None


class Codec(Protocol):
    """One connection's framing. `encode` and the like return bytes for the socket; they may
    raise OSError (of ssl) when the connection is beyond use."""

    ready: bool
    """Whether messages may be sent: the handshakes are over."""

    @property
    def partial(self) -> bool:
        """Whether a message has begun and is not complete."""

    def start(self) -> bytes:
        """What to send as soon as the socket is connected."""

    def receive(self, data: bytes) -> Received:
        """Take bytes from the socket; never raises."""

    def encode(self, message: bytes) -> bytes:
        """Frame one SIP message; only when `ready`."""

    def keepalive(self) -> bytes:
        """A keep-alive; only when `ready`."""

    def farewell(self) -> bytes:
        """What to send before the socket is closed."""


class StreamCodec:
    """SIP over a plain byte stream: the parser of tandem.sip.stream, answers included."""

    __slots__ = ("_parser", "ready")

    def __init__(self) -> None:
        self.ready = True
        self._parser = StreamParser()

    @property
    def partial(self) -> bool:
        """See Codec."""
        return self._parser.partial

    def start(self) -> bytes:
        """Nothing: whoever has a message begins."""
        return b""

    def receive(self, data: bytes) -> Received:
        """See Codec."""
        received = Received()
        for event in self._parser.feed(data):
            if isinstance(event, bytes):
                received.messages.append(event)
            elif isinstance(event, KeepAlive):
                received.keepalives += 1
                if event is KeepAlive.PING:
                    received.reply += PONG
            else:
                self._refuse(event, received)
        return received

    def _refuse(self, fault: StreamFault, received: Received) -> None:
        cause = Cause.TOO_LARGE if isinstance(fault.fault, TooLarge) else Cause.BAD_FRAMING
        received.reply += fault.answer() or b""
        received.end = End(fault.fault.reason, cause)

    def encode(self, message: bytes) -> bytes:
        """The message itself: its Content-Length frames it."""
        return message

    def keepalive(self) -> bytes:
        """CRLFCRLF: RFC 5626 §3.5.1."""
        self._parser.ping_sent()
        return PING

    def farewell(self) -> bytes:
        """Nothing."""
        return b""
