"""What the handlers need of the adapters."""

from __future__ import annotations

from typing import Protocol

from services.proxy.domain.peer import Peer
from services.proxy.domain.verdict import Address, Destination


class Peers(Protocol):
    """Finds peers, and makes them."""

    refs: dict[bytes, Peer]
    """Those that are known by the reference in our branch: looked at for each response."""

    def reach(self, destination: Destination) -> Peer | None:
        """The peer of a flow, or at an address (a connection is begun where there is none).
        None: that flow is gone, or we have no socket for such an address."""

    def find(self, ref: bytes) -> Peer | None:
        """The peer of a reference that is not in `refs`: made anew for UDP."""

    def keepalive(self, peer: Peer) -> None:
        """Send what keeps a NAT's binding open and means nothing."""

    def expect(self, peer: Peer, request: bytes, appserver: str) -> None:
        """Remember a request on a connection until something comes back on it: when it closes
        before, the appserver is told (`on_failed`)."""


class Probes(Protocol):
    """Who asks the appservers how they are."""

    def answered(self, appserver: str, status: int) -> None:
        """An answer to a probe came."""


__all__ = ["Address", "Destination", "Peers", "Probes"]
