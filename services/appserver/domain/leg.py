"""One leg of a call: a dialog, and how its far end is reached. It is a small value of strings and
numbers, so that it can be stored, sent and taken up by another appserver (DESIGN §8)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from services.appserver.domain.headers import has_offer, retagged
from services.appserver.domain.mangle import public
from services.appserver.domain.plan import Transfer
from tandem.sip.address import Address
from tandem.sip.dialog import Dialog
from tandem.sip.digest_client import DigestClient
from tandem.sip.errors import BadMessage
from tandem.sip.message import Message, Request
from tandem.sip.transaction import Hop, hop

OUR_ROUTES: Final = 2
"""Record-Routes that our proxy puts on every dialog: its internal side (the flow's token is the
user part) and its public side."""

MAX_SDP: Final = 4_096
"""Bytes of a session description that is kept; phones send 300 to 600, browsers up to this. Of a
longer one nothing is known, and who is to be joined to that end gets no offer."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a request leaves for a leg's far end."""

    hop: Hop
    prefix: tuple[str, ...] = ()
    """Route values above those of the dialog's route set."""
    skip: int = 0
    """How many values of the route set it takes the place of."""


@lru_cache(maxsize=1024)
def _pinned_way(proxy: str, reliable: bool) -> Way:
    return Way(hop(proxy, reliable))


@dataclass(slots=True)
class Leg:
    """One dialog of a call."""

    dialog: Dialog
    number: int
    """0 for the caller; from 1 in the order in which legs were placed."""
    proxy: str
    """Link address of the proxy that leads to it."""
    reliable: bool
    """Whether the transport beyond that proxy is."""
    pinned: bool
    """Whether requests must use the flow on which the dialog was made (phones behind NATs)."""
    account: str
    """The AOR of the account at its end, "" for an end outside."""
    text: str
    """`udp:203.0.113.7:5060`, for people."""
    transfer: Transfer = Transfer.PASS
    """What becomes of a REFER in this call, as the one who was called is concerned."""
    provider: str = ""
    """The name of the provider at its end, whose credentials it may ask for again."""
    sdp_host: str = ""
    """What private addresses in its end's session descriptions are replaced by; empty: they pass
    as they are."""
    sdp: bytes = field(default=b"", repr=False)
    """What its end last said of its media. Empty: not known."""
    digest: DigestClient | None = field(default=None, repr=False, compare=False)
    """Answers its challenges. It knows a password, and so does not travel with the value."""

    @property
    def key(self) -> tuple[str, str]:
        """What the registry finds it by: our tag and theirs."""
        return (self.dialog.local_tag, self.dialog.remote_tag)

    def pinned_way(self) -> Way:
        """The way of a pinned leg: the whole route set through the proxy that we know."""
        return _pinned_way(self.proxy, self.reliable)

    @property
    def movable(self) -> bool:
        """Whether another proxy can send over its flow: the flow of a UDP phone is an address."""
        return self.text.startswith("udp:")

    def way_by(self, proxy: str) -> Way:
        """The way of a pinned leg through another proxy."""
        return _pinned_way(proxy, self.reliable)

    def next_uri(self) -> str:
        """Where a request of an unpinned leg goes once our own proxy is left out: the next Route
        or the remote target (RFC 3261 §12.2.1.1)."""
        routes = self.dialog.route_set[OUR_ROUTES:]
        return routes[0] if routes else f"<{self.dialog.remote_target}>"

    def request(
        self, method: str, way: Way, *, seq: int | None = None, max_forwards: int = 70
    ) -> Request:
        """A request inside the dialog, by this way; no Via, Contact or body yet."""
        request = self.dialog.request(method, seq=seq, skip=way.skip)
        if max_forwards != 70:
            request.set("Max-Forwards", str(max_forwards))
        if way.prefix:
            request.lines[:0] = [f"Route: {route}" for route in way.prefix]
        if self.digest is not None:
            request.lines += self.digest.lines(method, request.uri)
        request.unsized = True
        return request

    def said(self, body: bytes) -> bytes:
        """What its end says, as the other end is to hear it."""
        return public(body, self.sdp_host) if body and self.sdp_host else body

    @property
    def far_end(self) -> str:
        """Who its end is, as an address without tag: what it calls itself, or was called by."""
        try:
            Address.parse(self.dialog.remote)
            return retagged(self.dialog.remote, "")
        except BadMessage:
            return f"<{self.dialog.remote_target}>"

    def note(self, message: Message) -> None:
        """Keep what its end says of its media in this message, if it does."""
        if has_offer(message):
            self.sdp = message.body if len(message.body) <= MAX_SDP else b""

    def to_dict(self) -> dict[str, Any]:
        """JSON types only."""
        return {
            "dialog": self.dialog.to_dict(),
            "number": self.number,
            "proxy": self.proxy,
            "reliable": self.reliable,
            "pinned": self.pinned,
            "account": self.account,
            "text": self.text,
            "transfer": self.transfer.value,
            "provider": self.provider,
            "sdp_host": self.sdp_host,
            "sdp": self.sdp.decode("latin-1"),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Leg:
        """The inverse of `to_dict`; what an older version did not know has its default."""
        values = data | {"dialog": Dialog.from_dict(data["dialog"])}
        values["transfer"] = Transfer(data.get("transfer", Transfer.PASS))
        values["sdp"] = data.get("sdp", "").encode("latin-1")
        return cls(**values)
