"""SIP traces: what passed, for those who watch, and why a call failed, for afterwards.

A ring for each SIP Call-ID keeps the last messages of a call that is being set up, as they are.
They become events only if the call fails, or while somebody watches its customer (Topic.INTEREST);
when the call is answered they are forgotten, and a few later ones kept.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final

from services.appserver.domain.redaction import redacted
from services.appserver.handlers.watch import Look
from services.appserver.handlers.watched import Watched
from tandem.bus.call_events import (
    CallAnswered,
    CallEnded,
    CallForwarded,
    CallRecord,
    CallStarted,
    SipTrace,
)
from tandem.bus.event import Event
from tandem.bus.ports import Publisher, Topic
from tandem.runtime.metrics import Metrics

MAX_RINGS: Final = 20_000
"""Rings kept, of two legs or so a call; above it the oldest gives way."""
MAX_STRANGE: Final = 2_000
"""Rings kept of INVITEs that have not become a call of anybody: challenged ones, and scanners'."""
MAX_BYTES: Final = 64 * 1024 * 1024
"""Of all messages kept, 3 kB for each ring; above it the oldest rings give way."""
RING: Final = 16
"""Messages of one leg: INVITE, challenge, INVITE, ringing, answer, and some more."""
RING_UP: Final = 4
"""Messages of one leg of an answered call: what is said inside of it, and how it ended."""
FAILED_PER_SECOND: Final = 2.0
FAILED_BURST: Final = 20.0
"""Failed calls of one customer whose messages are published: a phone that redials all day must
not fill the log."""
MAX_BUCKETS: Final = 10_000
MAX_TALKS: Final = 10_000
"""Call-IDs of no call of which it is known whose they are: registrations that are under way at
providers, and watched calls that ended a little ago; above it the oldest gives way."""
QUIET: Final = frozenset({486, 487, 600, 603})
"""Failures that need no explanation: busy, cancelled, declined."""

_INVITE: Final = b"INVITE "
_OPTIONS: Final = b" OPTIONS\r\n"
_WENT_WELL: Final = (b"SIP/2.0 2", b"ACK ", b"SIP/2.0 1")
"""What explains no failure of an answered call; nor do the probes of whether an end is there."""
_CALL_ID_RE: Final = re.compile(rb"\r\n(?:call-id|i)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)

Message = tuple[float, str, str, bytes]
"""(Unix time, `in` or `out`, the proxy at the other end of the link, the bytes)."""
Send = Callable[[bytes, str], None]
OwnersOf = Callable[[bytes], tuple[str, ...]]
"""The customers whom a message outside of calls concerns."""


class Ring:
    """The last messages of one leg."""

    __slots__ = ("call_id", "messages", "owners", "remote", "size", "up")

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.up = False
        """Whether the call was answered."""
        self.size = 0
        """Bytes of its messages."""
        self.owners: tuple[str, ...] = ()
        self.call_id = ""
        self.remote = ""


class Traces:
    """The rings. `watched` are the customers of whom all messages are published."""

    def __init__(
        self,
        publisher: Publisher,
        wall: Callable[[], float],
        owners_of: OwnersOf,
        watched: Watched,
    ) -> None:
        self.looks: dict[Any, Look] = {
            CallStarted: self._started,
            CallForwarded: self._forwarded,
            CallAnswered: self._answered,
            CallEnded: self._explain,
            CallRecord: self._ended,
        }
        """See `watch.Looks`."""
        self._publisher = publisher
        self._wall = wall
        self._owners_of = owners_of
        self._watched = watched
        self._rings: OrderedDict[str, Ring] = OrderedDict()
        self._bytes = 0
        self._strange: deque[str] = deque()
        self._legs: dict[str, list[str]] = {}
        self._talks: OrderedDict[str, Ring] = OrderedDict()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rings)

    def register(self, metrics: Metrics) -> None:
        """Show how much is kept, and for whom."""
        metrics.gauge("tandem_traces", lambda: len(self), "Legs whose messages are kept")
        metrics.gauge(
            "tandem_watched_customers",
            lambda: len(self._watched),
            "Customers of whom full SIP traces are wanted",
        )

    # -- messages ------------------------------------------------------------------------------

    def heard(self, call_id: str, data: bytes, peer: str) -> None:
        """A message came in."""
        ring = self._rings.get(call_id)
        if ring is not None:
            self._keep(ring, "in", data, peer)
        elif data.startswith(_INVITE):
            self._keep(self._make_strange(call_id), "in", data, peer)
        elif self._watched.any:
            self._outside("in", data, peer)

    def heard_outside(self, data: bytes, peer: str) -> None:
        """A message came in that belongs to no call."""
        if self._watched.any:
            self._outside("in", data, peer)

    def sent(self, call_id: str, data: bytes, peer: str) -> None:
        """A message of this Call-ID has left ("": look for it)."""
        ring = self._rings.get(call_id or call_id_of(data))
        if ring is not None:
            self._keep(ring, "out", data, peer)
        elif data.startswith(_INVITE):
            self._keep(self._make_strange(call_id or call_id_of(data)), "out", data, peer)
        elif self._watched.any:
            self._outside("out", data, peer)

    def sending(self, send: Send) -> Send:
        """`send`, with an eye on what leaves."""

        def traced(data: bytes, peer: str) -> None:
            send(data, peer)
            self.sent("", data, peer)

        return traced

    def sending_outside(self, send: Send) -> Send:
        """The same for what belongs to no call."""
        watched = self._watched

        def traced(data: bytes, peer: str) -> None:
            send(data, peer)
            if watched.any:
                self._outside("out", data, peer)

        return traced

    def begin(self, call_id: str, owner: str, remote: str) -> None:
        """What has this Call-ID is said for this customer, to `udp:203.0.113.7:5060`, although no
        account of his is named in it."""
        ring = Ring()
        ring.owners, ring.remote = (owner,), remote
        self._talk(call_id, ring)

    def end(self, call_id: str) -> None:
        """No more of that."""
        self._talks.pop(call_id, None)

    def _talk(self, call_id: str, ring: Ring) -> None:
        self._talks[call_id] = ring
        if len(self._talks) > MAX_TALKS:
            self._talks.popitem(last=False)

    def invite(self, sip_call_id: str) -> tuple[float, bytes] | None:
        """When the INVITE that came last on a leg did (Unix time), and its bytes; None if it is
        not kept."""
        ring = self._rings.get(sip_call_id)
        for at, direction, _, data in reversed(ring.messages if ring else ()):
            if direction == "in" and data.startswith(b"INVITE "):
                return at, data
        return None

    def _make(self, call_id: str) -> Ring:
        ring = self._rings[call_id] = Ring()
        if len(self._rings) > MAX_RINGS:
            self._remove(next(iter(self._rings)))
        return ring

    def _make_strange(self, call_id: str) -> Ring:
        """A ring that is nobody's yet."""
        self._strange.append(call_id)
        if len(self._strange) > MAX_STRANGE:
            oldest = self._strange.popleft()
            if oldest in self._rings and not self._rings[oldest].call_id:
                self._remove(oldest)
        return self._make(call_id)

    def _remove(self, call_id: str) -> Ring | None:
        ring = self._rings.pop(call_id, None)
        if ring is not None:
            self._bytes -= ring.size
        return ring

    def _keep(self, ring: Ring, direction: str, data: bytes, peer: str) -> None:
        message = (self._wall(), direction, peer, data)
        if self._watched.any and self._watched.one_of(ring.owners):
            self._publish(ring, message)
        messages, size = ring.messages, len(data)
        if not ring.up:
            if len(messages) >= RING:
                size -= len(messages.pop(1)[3])  # the INVITE stays until the answer
        elif data.startswith(_WENT_WELL) or _OPTIONS in data:
            return
        elif len(messages) >= RING_UP:
            size -= len(messages.pop(0)[3])
        messages.append(message)
        ring.size += size
        self._bytes += size
        if self._bytes > MAX_BYTES:
            self._make_room()

    def _make_room(self) -> None:
        while self._bytes > MAX_BYTES:
            self._remove(next(iter(self._rings)))

    # -- events of calls -----------------------------------------------------------------------

    def _started(self, event: CallStarted) -> None:
        self._belongs(event, event.sip_call_id, event.source)

    def _forwarded(self, event: CallForwarded) -> None:
        if event.sip_call_id not in self._rings:  # the INVITE is about to leave
            self._make(event.sip_call_id)
        self._belongs(event, event.sip_call_id, event.next_hop)

    def _belongs(self, event: Event, sip_call_id: str, remote: str) -> None:
        ring = self._rings.get(sip_call_id)
        if ring is None or event.call_id is None:
            return
        known = ring.call_id == event.call_id
        ring.call_id, ring.owners, ring.remote = event.call_id, event.owners, remote
        legs = self._legs.setdefault(event.call_id, [])
        if sip_call_id not in legs:
            legs.append(sip_call_id)
        # who watches everybody has seen them already
        if not known and self._watched.by_name(event.owners):
            for message in ring.messages:
                self._publish(ring, message)

    def _answered(self, event: CallAnswered) -> None:
        for name in self._legs.get(event.call_id or "", ()):
            ring = self._rings.get(name)
            if ring is not None:
                self._bytes -= ring.size
                ring.messages, ring.up, ring.size = [], True, 0

    def _explain(self, event: CallEnded) -> None:
        if event.status < 300 or event.status in QUIET:
            return
        if not event.owners or self._watched.one_of(event.owners):
            return  # nobody's, or published already
        if not self._may_tell(event.owners[0]):
            return
        rings = [
            self._rings[n] for n in self._legs.get(event.call_id or "", ()) if n in self._rings
        ]
        told = [(message, ring) for ring in rings for message in ring.messages]
        for message, ring in sorted(told, key=lambda item: item[0][0]):
            self._publish(ring, message)

    def _ended(self, event: CallRecord) -> None:
        for name in (*self._legs.pop(event.call_id or "", ()), event.sip_call_id):
            ring = self._remove(name)
            if ring is not None and self._watched.one_of(ring.owners):
                ring.messages = []
                self._talk(name, ring)  # the BYEs are still to come

    def _may_tell(self, owner: str) -> bool:
        now = self._wall()
        left, since = self._buckets.pop(owner, (FAILED_BURST, now))
        left = min(FAILED_BURST, left + max(0.0, now - since) * FAILED_PER_SECOND)
        self._buckets[owner] = (max(0.0, left - 1), now)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return left >= 1

    def _outside(self, direction: str, data: bytes, peer: str) -> None:
        ring = self._talks.get(call_id_of(data))
        if ring is None:
            ring = Ring()
            ring.owners = self._owners_of(data)
        if self._watched.one_of(ring.owners):
            self._publish(ring, (self._wall(), direction, peer, data))

    # -- telling -------------------------------------------------------------------------------

    def _publish(self, ring: Ring, message: Message) -> None:
        at, direction, peer, data = message
        event = SipTrace(
            owners=ring.owners,
            call_id=ring.call_id or None,
            direction=direction,
            remote=ring.remote or peer,
            sip_call_id=call_id_of(data),
            at=at,
            message=redacted(data),
        )
        self._publisher.publish(Topic.EVENTS, event)


def call_id_of(data: bytes) -> str:
    """The Call-ID of a message, "" for none."""
    start = data.find(b"\r\nCall-ID: ")
    if start >= 0:
        return data[start + 11 : data.find(b"\r\n", start + 11)].decode("utf-8", "replace")
    found = _CALL_ID_RE.search(data)
    return found.group(1).strip().decode("utf-8", "replace") if found else ""
