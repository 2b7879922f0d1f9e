"""Flows: what the stream transports offer to whoever sends and receives SIP messages (RFC 5626 §3).

FlowUser ◄── on_message, on_flow_closed ── Streams (listeners, connections) ──► Flow.send
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from tandem.sip.limits import MAX_MESSAGE

Address = tuple[str, int]
"""An IP address as text, without brackets, and a port."""

STREAM_TRANSPORTS: Final = frozenset({"tcp", "tls", "ws", "wss"})


class Flow(Protocol):
    """One connection. All methods may be called at any time and never raise for a dead peer."""

    @property
    def id(self) -> int:
        """Unique in the process and never reused."""

    @property
    def transport(self) -> str:
        """'tcp', 'tls', 'ws' or 'wss'."""

    @property
    def local(self) -> Address:
        """Our end; ('', 0) until an outgoing connection is established."""

    @property
    def remote(self) -> Address:
        """The other end."""

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""

    def send(self, data: bytes) -> bool:
        """Send a whole SIP message (one WebSocket message on ws and wss); queued while the
        connection is being set up. False when the flow is closed, or the peer reads so slowly
        that the flow was dropped just now."""

    def keepalive(self) -> None:
        """Send a keep-alive: CRLFCRLF on tcp and tls (RFC 5626 §3.5.1), a ping on ws and wss."""

    def close(self, reason: str = "") -> None:
        """Close after what was sent already; `on_flow_closed` follows with the reason."""


class FlowUser(Protocol):
    """Who gets what the flows deliver. The methods must neither block nor raise."""

    def on_message(self, data: bytes, flow: Flow) -> None:
        """A whole SIP message (start line, headers and body; not parsed yet) came."""

    def on_flow_closed(self, flow: Flow, reason: str) -> None:
        """The flow is gone, or could not be set up. Called once per flow, from the event loop
        and never from inside `send`, `keepalive`, `close` or `connect`."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What the stream transports allow at most. Times in seconds, sizes in bytes."""

    connections: int = 20_000
    """Connections at once in all, incoming and outgoing: bounds sockets and memory."""
    per_address: int = 500
    """Incoming connections at once from one IP address: an office behind one NAT, no flood."""
    write_buffer: int = 4 * MAX_MESSAGE
    """Bytes that a peer may leave unread (above the kernel's buffer) before it is dropped."""
    first_message: float = 20.0
    """From accept to the first whole message or keep-alive, TLS and WebSocket set-up included."""
    idle: float = 1800.0
    """Without a byte from the peer; RFC 5626 clients send a keep-alive every 95 to 120 s."""
    partial_message: float = 30.0
    """From the first byte of a message to its last: ends peers that send a byte now and then."""
    handshake: float = 8.0
    """For TCP's connect, and then again for the TLS and WebSocket handshakes together."""
    unacknowledged: float = 10.0
    """Data of ours without TCP's acknowledgement (TCP_USER_TIMEOUT, on Linux): a peer that has
    vanished is noticed long before the 32 s of a SIP transaction (RFC 3261 §17.1.1.2)."""
    linger: float = 2.0
    """For a closing connection to get its last bytes out before it is cut."""
    sweep: float = 1.0
    """Between two looks at all deadlines: one timer for all connections."""
    accepts: int = 256
    """Connections that the kernel may hold for us before they are accepted (listen backlog)."""


@dataclass(slots=True)
class StreamCounters:
    """What happened, counted since the start."""

    accepted: int = 0
    """Incoming connections that were taken."""
    connected: int = 0
    """Outgoing connections that were established."""
    refused: int = 0
    """Incoming connections over a limit, closed at once; outgoing ones over the total."""
    connect_failed: int = 0
    """Outgoing connections that were refused, timed out or failed in TLS."""
    handshake_failed: int = 0
    """Incoming TLS or WebSocket set-ups that failed or took too long."""
    dropped_slow: int = 0
    """Peers that left too much unread."""
    idle_closed: int = 0
    """Connections closed for silence, before or after the first message."""
    bad_framing: int = 0
    """Connections closed because no message boundary can be found any more."""
    too_large: int = 0
    """Connections closed for a message over the limit."""
    keepalives: int = 0
    """Keep-alives that were received and answered."""
    messages_in: int = 0
    messages_out: int = 0

    def count(self, field: str) -> None:
        """Add one to a field."""
        setattr(self, field, getattr(self, field) + 1)
