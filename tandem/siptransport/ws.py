"""SIP over WebSocket, server side: RFC 7118 on the sans-IO RFC 6455 of the websockets library.

One WebSocket message is one SIP message; text and binary are both taken, and what we send is of
the kind that the peer sent last.
"""

from __future__ import annotations

import logging
from typing import Final

from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from tandem.sip.limits import MAX_MESSAGE
from tandem.sip.stream import PING, PONG
from tandem.siptransport.codec import Cause, End, Received

SUBPROTOCOL: Final = Subprotocol("sip")
"""Client and server both name it in the handshake (RFC 7118 §4.1); ServerProtocol refuses a
client that does not with 400."""

# What peers do is counted by us; the library would log a line or two for each connection
_SILENT: Final = logging.Logger("silent", logging.CRITICAL)

_GOING_AWAY: Final = 1001  # RFC 6455 §7.4.1

_DATA: Final = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})


class WsCodec:
    """The server side of one WebSocket connection."""

    __slots__ = ("_binary", "_message", "_protocol", "ready")

    def __init__(self) -> None:
        self.ready = False
        self._protocol = ServerProtocol(
            subprotocols=[SUBPROTOCOL], max_size=MAX_MESSAGE, logger=_SILENT
        )
        self._message: bytearray | None = None  # the fragments of a message that goes on
        self._binary = False

    @property
    def partial(self) -> bool:
        """See Codec."""
        return self._message is not None or bool(self._protocol.reader.buffer)

    def start(self) -> bytes:
        """Nothing: the client begins."""
        return b""

    def receive(self, data: bytes) -> Received:
        """See Codec."""
        received = Received()
        protocol = self._protocol
        protocol.receive_data(data)
        events = protocol.events_received()
        if not self.ready and (len(events) > 1 or (events and protocol.close_expected())):
            received.end = End("WebSocket frames before the handshake", Cause.HANDSHAKE_FAILED)
            return received
        for event in events:
            if isinstance(event, Frame):
                self._on_frame(event, received)
            elif isinstance(event, Request):
                protocol.send_response(protocol.accept(event))
        received.reply = b"".join(protocol.data_to_send())
        if protocol.close_expected():
            received.end = self._end()
        self.ready = protocol.state is State.OPEN
        return received

    def _on_frame(self, frame: Frame, received: Received) -> None:
        if frame.opcode in _DATA:
            self._on_data(frame, received)
        elif frame.opcode is not Opcode.CLOSE:
            received.keepalives += 1  # a ping; the library answers it. Or the pong to ours

    def _on_data(self, frame: Frame, received: Received) -> None:
        if frame.opcode is not Opcode.CONT:
            self._binary = frame.opcode is Opcode.BINARY
        if self._message is None:
            if frame.fin:
                self._on_message(bytes(frame.data), received)
                return
            self._message = bytearray()
        self._message += frame.data  # the library limits the sum of the fragments
        if frame.fin:
            whole, self._message = bytes(self._message), None
            self._on_message(whole, received)

    def _on_message(self, message: bytes, received: Received) -> None:
        if message.strip(b"\r\n"):
            received.messages.append(message)
            return
        # Some browsers' stacks send RFC 5626's keep-alive as a message, and wait for its answer
        received.keepalives += 1
        if message == PING:
            self._send(PONG)

    def _end(self) -> End:
        protocol = self._protocol
        if protocol.handshake_exc is not None:
            return End(f"WebSocket refused: {protocol.handshake_exc}", Cause.HANDSHAKE_FAILED)
        error = protocol.parser_exc
        if isinstance(error, PayloadTooBig):
            return End("WebSocket message too large", Cause.TOO_LARGE)
        if error is not None:
            return End(f"WebSocket protocol error: {error}", Cause.BAD_FRAMING)
        return End("closed by peer")

    def _send(self, message: bytes) -> None:
        # A text frame must be UTF-8 (RFC 6455 §5.6): a browser fails the connection otherwise
        if self._binary or not _is_utf8(message):
            self._protocol.send_binary(message)
        else:
            self._protocol.send_text(message)

    def encode(self, message: bytes) -> bytes:
        """One message in one frame."""
        self._send(message)
        return b"".join(self._protocol.data_to_send())

    def keepalive(self) -> bytes:
        """A ping: RFC 7118 §6."""
        self._protocol.send_ping(b"")
        return b"".join(self._protocol.data_to_send())

    def farewell(self) -> bytes:
        """A close frame."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(_GOING_AWAY)
        return b"".join(self._protocol.data_to_send())


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
