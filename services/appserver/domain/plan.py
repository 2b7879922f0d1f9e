"""What is to be done with an INVITE: the values that routing hands to the B2BUA."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from tandem.rpc.directory import Account

BAD_WAY: Final = frozenset({430, 503})
"""Answers that speak of the way and not of who is called: it is tried last for a while."""

NEXT_HOP_ON: Final = BAD_WAY | {408}
"""After these, as after no answer at all, the next hop to the same target may do better (RFC 3263
§4.3). Never after 486 or 603."""


@dataclass(frozen=True, slots=True)
class NextHop:
    """One way by which a request can leave: through a proxy, over a flow or to an address."""

    proxy: str
    """The link address of the proxy that sends it."""
    route: tuple[str, ...]
    """Route values to put on top: `<sip:TOKEN@proxy;lr>` or `<sip:proxy;lr;dst=udp:host:port>`."""
    reliable: bool
    """Whether the outer transport is (TCP, TLS, WS): then no retransmissions."""
    pinned: bool
    """Whether in-dialog requests must use the same flow (a phone that may sit behind a NAT)."""
    text: str
    """`udp:203.0.113.7:5060`, for events and records."""

    @property
    def movable(self) -> bool:
        """Whether another proxy can send there, too: not over a connection that one holds."""
        return not self.pinned or self.text.startswith("udp:")

    def through(self, proxy: str) -> NextHop:
        """The same way by another proxy. The flow of a UDP phone is an address; a route that says
        where to send names the proxy that is to do it."""
        if self.pinned:
            return replace(self, proxy=proxy)
        first = self.route[0].replace(f"<sip:{self.proxy};", f"<sip:{proxy};", 1)
        return replace(self, proxy=proxy, route=(first, *self.route[1:]))


@dataclass(frozen=True, slots=True)
class Target:
    """One leg to ring."""

    uri: str
    """Its Request-URI."""
    hops: tuple[NextHop, ...]
    """Where to send it, best first; the next is tried on 503, time-out or transport failure."""
    account: str = ""
    """The AOR of the account that is rung, "" for a target outside."""


@dataclass(frozen=True, slots=True)
class CallPlan:
    """Ring all targets at once; the first 2xx wins."""

    direction: str
    """`out` or `in`, as the first of `owners` sees it."""
    owners: tuple[str, ...]
    caller: Account | None
    """The authenticated account that calls, None for a call from outside."""
    callee: Account | None
    """The account that is called, None for a destination outside."""
    targets: tuple[Target, ...]
    max_seconds: int = 0
    """Longest duration after the answer in seconds; 0: no limit."""
    joins: str = ""
    """The id of the waiting call that this is the callback for: it rings nobody."""
