"""NOTIFYs on their way to one subscriber after the other (RFC 6665 §4.2.2).

One at a time in each subscription, and at most one a second: what changes meanwhile is told by the
next, which has the last state. A subscriber that is gone, by its answer or for want of one, has no
subscription any more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Final

from services.appserver.domain.leg import Leg, Way
from services.appserver.domain.location import token_of
from services.appserver.domain.subscriptions.subscription import Package, active, terminated
from services.appserver.handlers.subscriptions.contents import Contents, State
from services.appserver.handlers.tools import Tools
from tandem.sip.deadlines import Deadline
from tandem.sip.errors import RemoteFault
from tandem.sip.message import Response
from tandem.sip.transaction import TransactionLayer

NOTIFY_SECONDS: Final = 1.0
"""Between two NOTIFYs of one subscription; the first, at the start, does not count."""
RETRY_SECONDS: Final = 5.0
"""After a NOTIFY that failed and may do better later."""
MAX_FAILURES: Final = 3
"""Failures in a row that end a subscription, if none of them did at once."""
GONE: Final = frozenset({
    404, 405, 408, 410, 416, 430, 480, 481, 482, 483, 484, 485, 489, 501, 604,
})  # fmt: skip
"""Answers after which there is no subscription (RFC 5057 §5.1); 430: its connection is closed."""


@dataclass(slots=True, eq=False)
class Subscriber:
    """One subscription that lives. Times are of the steady clock."""

    leg: Leg
    package: Package
    event: str
    account: str
    """The account that is watched."""
    entity: str
    """Its URI as the subscriber wrote it: some phones compare."""
    owner: str
    expires_at: float
    told: State | None = None
    version: int = 0
    """Documents sent so far."""
    urgent: bool = False
    """Whether a NOTIFY is owed that tells nothing new: after a refresh."""
    busy: bool = False
    """Whether a NOTIFY has no answer yet."""
    over: bool = False
    failures: int = 0
    next_at: float = -inf
    """When the next may be sent."""
    due: Deadline | None = None
    """Set when one is to be sent then."""
    expiry: Deadline | None = field(default=None, repr=False)

    @property
    def watcher(self) -> str:
        """The account that subscribes."""
        return self.leg.account

    @property
    def flow(self) -> str:
        """The token of the flow to it."""
        routes = self.leg.dialog.route_set
        return token_of(routes[0]) if routes else ""

    def rest(self) -> None:
        """Nothing is due any more."""
        self.over = True
        for deadline in (self.due, self.expiry):
            if deadline is not None:
                deadline.cancel()
        self.due = self.expiry = None


@dataclass(slots=True)
class Counters:
    """What happened, for metrics."""

    added: int = 0
    refreshed: int = 0
    fetched: int = 0
    """SUBSCRIBEs that asked for the present state alone."""
    ended: int = 0
    refused: int = 0
    """SUBSCRIBEs over a limit."""
    notified: int = 0
    failed: int = 0
    """NOTIFYs with another answer than 2xx, or none."""


class Delivery:
    """`lost(subscriber, reason, now)` is called for one who can't be told any more."""

    def __init__(
        self,
        tools: Tools,
        layer: TransactionLayer,
        contact: str,
        contents: Contents,
        counters: Counters,
        lost: Callable[[Subscriber, str, float], None],
    ) -> None:
        self._tools = tools
        self._layer = layer
        self._contact = contact
        self._contents = contents
        self._counters = counters
        self._lost = lost

    def poke(self, subscriber: Subscriber, now: float) -> None:
        """Tell what has changed, if anything has; now, or when it may be told."""
        if subscriber.over or subscriber.busy or subscriber.due is not None:
            return
        state = self._contents.state(subscriber.package, subscriber.account)
        if state == subscriber.told and not subscriber.urgent:
            return
        if now < subscriber.next_at:
            self._wait(subscriber)
        else:
            self._send(subscriber, state, active(subscriber.expires_at - now), now)

    def _wait(self, subscriber: Subscriber) -> None:
        def wake(now: float) -> None:
            subscriber.due = None
            self.poke(subscriber, now)

        subscriber.due = self._tools.deadlines.at(subscriber.next_at, wake)

    def last(self, subscriber: Subscriber, reason: str, now: float) -> None:
        """The NOTIFY that ends it: nobody minds its answer."""
        state = self._contents.state(subscriber.package, subscriber.account)
        self._send(subscriber, state, terminated(reason), now)

    def _send(self, subscriber: Subscriber, state: State, line: str, now: float) -> None:
        way = self._way(subscriber.leg, now)
        if way is None:
            self._lost(subscriber, "flow closed", now)
            return
        told, version = subscriber.told, subscriber.version
        body = self._contents.body(subscriber.entity, state, told, version)
        request = subscriber.leg.request("NOTIFY", way)
        kind = f"Content-Type: {subscriber.package.content_type}"
        request.lines += (self._contact, f"Event: {subscriber.event}", line, kind)
        request.body = body
        subscriber.next_at = now + NOTIFY_SECONDS if version else -inf
        subscriber.version = version + 1
        subscriber.told, subscriber.urgent, subscriber.busy = state, False, True
        self._counters.notified += 1
        self._layer.request(request, way.hop, now, Notification(self, subscriber, told))

    def _way(self, leg: Leg, now: float) -> Way | None:
        """By its proxy, or by another if that is away and the flow outlives it."""
        proxies = self._tools.proxies
        if not proxies.away(leg.proxy, now):
            return leg.pinned_way()
        return leg.way_by(proxies.through(leg.proxy, now, leg.text)) if leg.movable else None

    # -- answers -------------------------------------------------------------------------------

    def answered(self, subscriber: Subscriber, response: Response, now: float) -> None:
        """A NOTIFY was taken."""
        if subscriber.over:
            return
        with suppress(RemoteFault):
            subscriber.leg.dialog.refresh_target(response)
        subscriber.busy, subscriber.failures = False, 0
        self.poke(subscriber, now)

    def failed(self, subscriber: Subscriber, status: int, now: float, told: State | None) -> None:
        """It failed, by its answer or for want of one (408). `told`: what it was told before."""
        self._counters.failed += 1
        if subscriber.over:
            return
        subscriber.failures += 1
        if status in GONE or subscriber.failures >= MAX_FAILURES:
            why = "no answer to NOTIFY" if status == 408 else f"NOTIFY answered {status}"
            self._lost(subscriber, why, now)
            return
        subscriber.busy, subscriber.urgent = False, True
        subscriber.told = told  # so that what has ended since is in the next document, too
        subscriber.next_at = now + RETRY_SECONDS
        self.poke(subscriber, now)


class Notification:
    """The context of a NOTIFY's client transaction."""

    __slots__ = ("_delivery", "_subscriber", "_told")

    def __init__(self, delivery: Delivery, subscriber: Subscriber, told: State | None) -> None:
        self._delivery = delivery
        self._subscriber = subscriber
        self._told = told
        """What the subscriber was told before."""

    def on_response(self, response: Response, now: float) -> None:
        """It was answered."""
        if response.status >= 300:
            self.on_failure(response.status, now)
        elif response.status >= 200:
            self._delivery.answered(self._subscriber, response, now)

    def on_failure(self, status: int, now: float) -> None:
        """It was refused, or not answered: 408, or 503 where it did not leave."""
        self._delivery.failed(self._subscriber, status, now, self._told)
