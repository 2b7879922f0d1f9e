"""Cut SIP messages out of a byte stream: RFC 3261 §18.3, RFC 5626 §3.5.1 and §4.4.1.

    between messages ──head complete──► body ──Content-Length bytes──► between messages
         │  ▲                             │
         └──┘ CRLF, CRLFCRLF              └──► StreamFault: no boundary can be found any more

Every byte is looked at once, however small the pieces are that it comes in: the search for the
end of the head goes on where it stopped, and the body is only counted.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tandem.sip.build import response_to
from tandem.sip.errors import BadMessage, RemoteFault, TooLarge
from tandem.sip.limits import MAX_MESSAGE
from tandem.sip.message import MalformedRequest, Request, parse_message

MAX_HEAD: Final = 32_768
"""Bytes of start line and headers together. Real ones stay under 8 kB; half of MAX_MESSAGE."""

PING: Final = b"\r\n\r\n"
"""What a client sends to keep a flow alive (RFC 5626 §3.5.1)."""

PONG: Final = b"\r\n"
"""What a server answers it with."""


class KeepAlive(Enum):
    """What stands between messages."""

    PING = "ping"
    """To be answered with PONG."""
    PONG = "pong"
    """The answer to a ping of ours."""


@dataclass(frozen=True, slots=True)
class StreamFault:
    """The stream is unusable from here on; the connection is to be closed."""

    fault: RemoteFault
    head: bytes = b""
    """The complete head of the message that was refused, if there is one."""

    def answer(self) -> bytes | None:
        """The stateless response to the refused message, None where none is possible."""
        return _answer(self.head, self.fault) if self.head else None


StreamEvent = bytes | KeepAlive | StreamFault

_HEAD_END: Final = b"\r\n\r\n"

# Content-Length = ( "Content-Length" / "l" ) HCOLON 1*DIGIT   (the value may be folded)
_LENGTH_RE: Final = re.compile(
    rb"\r\n(?:content-length|l)[ \t]*:((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE
)


class StreamParser:
    """The receiving side of one connection. Feed it what comes; it never raises."""

    __slots__ = ("_buffer", "_crlfs", "_failed", "_head", "_need", "_pings", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0  # bytes of the buffer that hold no end of head
        self._head = 0  # bytes of a complete head
        self._need = 0  # bytes of the whole message, 0 until its head is complete
        self._crlfs = 0  # lone CRLFs since the last message or keep-alive
        self._pings = 0  # pings of ours that have no answer yet
        self._failed = False

    @property
    def partial(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._buffer) and self._buffer != b"\r"

    def ping_sent(self) -> None:
        """Tell that we sent a ping, so that a lone CRLF is taken as its answer."""
        self._pings = 1

    def feed(self, data: bytes) -> list[StreamEvent]:
        """Take the next bytes; return what they complete, in order. A StreamFault is the last
        event ever: what follows it is thrown away."""
        events: list[StreamEvent] = []
        if self._failed:
            return events
        self._buffer += data
        try:
            while self._next(events):
                pass
        except RemoteFault as fault:
            events.append(StreamFault(fault, bytes(self._buffer[: self._head])))
            self._failed = True
            self._buffer.clear()
        return events

    def _next(self, events: list[StreamEvent]) -> bool:
        """Take one thing off the buffer; False when more bytes are needed for it."""
        if not self._need:
            self._skip_crlfs(events)
            if not self._find_head():
                return False
        return self._cut(events)

    def _skip_crlfs(self, events: list[StreamEvent]) -> None:
        # "Implementations processing SIP messages over stream-oriented transports MUST ignore
        #  any CRLF appearing before the start-line" (RFC 3261 §7.5)
        buffer = self._buffer
        if self._scanned or not buffer.startswith(b"\r\n"):
            return
        end = 2
        while buffer.startswith(b"\r\n", end):
            end += 2
        del buffer[:end]
        self._count_crlfs(end // 2, events)

    def _count_crlfs(self, count: int, events: list[StreamEvent]) -> None:
        if count == 1 and self._pings:
            self._pings = 0
            events.append(KeepAlive.PONG)
            return
        pings, self._crlfs = divmod(self._crlfs + count, 2)
        if pings:  # one answer is enough for any number of pings that came together
            events.append(KeepAlive.PING)

    def _find_head(self) -> bool:
        buffer = self._buffer
        end = buffer.find(_HEAD_END, max(0, self._scanned - 3))
        size = len(buffer) if end < 0 else end + 4
        if size > MAX_HEAD:
            raise TooLarge("Header part too large")
        if end < 0:
            self._scanned = size if size > 1 or buffer != b"\r" else 0
            return False
        self._head = size
        self._need = size + self._content_length(end)
        if self._need > MAX_MESSAGE:
            raise TooLarge("Message too large")
        return True

    def _content_length(self, end: int) -> int:
        found = _LENGTH_RE.findall(self._buffer, 0, end)
        if not found:
            # "If a stream-based protocol (such as TCP) is used as transport, then the header
            #  field MUST be used." (RFC 3261 §20.14)
            raise BadMessage("Missing Content-Length")
        digits = found[0].strip()
        if len(found) > 1:
            raise BadMessage("Repeated Content-Length")
        if not digits.isdigit() or len(digits) > 12:
            raise BadMessage("Malformed Content-Length")
        return int(digits)

    def _cut(self, events: list[StreamEvent]) -> bool:
        buffer, need = self._buffer, self._need
        if len(buffer) < need:
            return False
        with memoryview(buffer) as view:
            events.append(bytes(view[:need]))
        del buffer[:need]
        self._scanned = self._head = self._need = self._crlfs = 0
        return bool(buffer)


def _answer(head: bytes, fault: RemoteFault) -> bytes | None:
    try:
        message = parse_message(head)
    except MalformedRequest as malformed:
        message = malformed.request
    except RemoteFault:
        return None
    if not isinstance(message, Request) or message.method == "ACK":
        return None
    return _response(message, head, fault)


def _response(request: Request, head: bytes, fault: RemoteFault) -> bytes | None:
    try:
        # Without these there is nobody to answer (RFC 3261 §8.2.6.2)
        if not all(key in request.index for key in ("via", "from", "to", "call-id", "cseq")):
            return None
        tag = hashlib.blake2b(head, digest_size=8).hexdigest()
        return response_to(request, fault.status, fault.reason, tag=tag).to_bytes()
    except RemoteFault:
        return None
