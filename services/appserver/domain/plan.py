"""What is to be done with an INVITE: the values that routing hands to the B2BUA."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from services.appserver.domain.loops import Looped
from tandem.rpc.directory import Account

SELF: Final = "self"
"""The peer by which we send to ourselves: no link address is one without a port."""

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


class Transfer(StrEnum):
    """What becomes of a REFER inside a call (ORIGINAL §2, `tr`)."""

    REFUSE = "n"
    """603."""
    PASS = "p"
    """It goes to the other end, which may do it."""
    SERVE = "c"
    """The switch does it for either end; for a caller, if it is an account of ours."""
    ANYBODY = "a"
    """As SERVE, and for a caller from outside, too."""
    CALLER = "o"
    """The switch does it for the caller alone, if it is an account of ours."""
    CALLEE = "d"
    """The switch does it for the callee alone."""
    BOTH = "b"
    """As SERVE: the original's older letter."""

    @property
    def ours(self) -> bool:
        """Whether the switch does what at least one end asks for."""
        return self is not Transfer.REFUSE and self is not Transfer.PASS

    @property
    def without_callee(self) -> Transfer:
        """The same for the caller; who was called may not."""
        if not self.ours:
            return self
        return Transfer.REFUSE if self is Transfer.CALLEE else Transfer.CALLER


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a challenge from outside (401, 407) is answered with."""

    username: str
    password: str = field(repr=False)
    realm: str = ""
    """The only realm that gets them; empty: any."""


@dataclass(frozen=True, slots=True)
class LegOptions:
    """How one leg of a dialplan's dial differs from a plain one."""

    name: str = ""
    """The leg as it was written, for what the dialplan hears of it."""
    delay: float = 0.0
    """Seconds after the start of its attempt; nothing else ringing, it starts at once."""
    ring_seconds: float = 0.0
    """Longest ring of this leg; 0: as long as the attempt."""
    max_seconds: int = 0
    """Longest duration of the answered call; 0: no limit of its own."""
    follow_redirects: bool = False
    """Whether the contacts of a 3xx are rung as new legs."""
    mangle: bool | None = None
    """Whether a private address in SDP is replaced by the one that the message came from; None: as
    the switch does otherwise."""
    from_value: str = ""
    """The From header's value without tag; empty: the caller's."""
    headers: tuple[str, ...] = ()
    """More header lines, checked."""
    body: bytes | None = None
    """In place of the caller's offer."""
    content_type: str = ""
    credentials: Credentials | None = field(default=None, repr=False)
    transfer: Transfer = Transfer.PASS
    provider: str = ""
    """The name of the provider that it goes to."""


PLAIN: Final = LegOptions()


@dataclass(frozen=True, slots=True)
class Target:
    """One leg to ring."""

    uri: str
    """Its Request-URI."""
    hops: tuple[NextHop, ...]
    """Where to send it, best first; the next is tried on 503, time-out or transport failure."""
    account: str = ""
    """The AOR of the account that is rung, "" for a target outside."""
    options: LegOptions = PLAIN


@dataclass(frozen=True, slots=True)
class Fork:
    """Legs that a dialplan rings for one call; the first 2xx wins."""

    targets: tuple[Target, ...]
    ring_seconds: float = 0.0
    """Longest ring of all; 0: the switch's limit."""
    max_seconds: int = 0
    """Longest duration of the answered call; 0: no limit of its own."""


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
    looped: Looped | None = None
    """What is known of a call that we sent to ourselves, for `callee` and its incoming dialplan;
    None for one that a proxy brought."""
