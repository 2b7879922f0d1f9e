"""A peer: one remote address on one of our sockets, or one connection.

It keeps every byte string that goes into each message of this peer, made once.
"""

from __future__ import annotations

from collections.abc import Callable

from services.proxy.domain.limiter import Bucket
from services.proxy.domain.unanswered import Key, Unanswered
from tandem.siptransport.flowtoken import FlowName

Sender = Callable[[bytes, bytes], object]


def _nowhere(data: bytes, address: bytes) -> None:
    """Where a peer that no adapter gave a sender sends to."""


class Peer:
    """What forwarding needs to know of a peer."""

    __slots__ = (
        "address",
        "bucket",
        "extras",
        "name",
        "public",
        "received",
        "ref",
        "registered",
        "rport",
        "sender",
        "sent_by",
        "via_in",
        "via_out",
        "waiting",
    )

    def __init__(self, name: FlowName, public: str, ref: bytes, bucket: Bucket) -> None:
        self.name = name
        self.public = public
        """`host:port` by which this peer reaches us."""
        self.ref = ref
        """What the branch names it by; see `edge.py`."""
        self.bucket = bucket
        self.sender: Sender = _nowhere
        """Sends bytes to `address`; for a connection the address says nothing."""
        self.address = b""
        self.registered = False
        """Whether a REGISTER came this way: then its end is told to the appservers."""
        host = f"[{name.host}]" if ":" in name.host else name.host
        self.sent_by = f"{host}:{name.port}".encode()
        self.received = f";received={name.host}".encode()
        """What is put into its Via."""
        self.rport = f";rport={name.port}".encode() + self.received
        """What is put in the place of `;rport` in its Via (RFC 3581 §4)."""
        self.via_in = b""
        """Our Via towards an appserver up to the loop hash in the branch."""
        self.via_out = b""
        """Our Via towards this peer up to the reference in the branch."""
        self.extras: dict[tuple[bytes, str], bytes] = {}
        """Record-Route or Path lines by method and appserver, made when first needed."""
        self.waiting: dict[Key, Unanswered] | None = None
        """Requests that no appserver has answered yet; None on UDP, where clients care."""
