"""The switchboard: the registry of calls and dialogs, and what all parts of the B2BUA use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from services.appserver.domain.call import Call
from services.appserver.domain.leg import OUR_ROUTES, Leg, Way
from services.appserver.domain.plan import NextHop
from services.appserver.domain.replaces import Replaces
from services.appserver.handlers.calls.limits import CallLimits
from services.appserver.handlers.calls.live import LiveCall, Party
from services.appserver.ports import CallHost, Done
from tandem.bus.event import Event
from tandem.bus.ports import Topic
from tandem.sip.address import Address
from tandem.sip.message import Request
from tandem.sip.transaction import Hop
from tandem.sip.uri import Uri

if TYPE_CHECKING:
    from services.appserver.handlers.calls.branch import Branch
    from services.appserver.handlers.calls.ending import Bye

Use = Callable[[Way | None, float], None]
"""What is to be done with the way to a leg, at that time."""


class Board:
    """Calls by their id, parties by the tags of their dialog."""

    def __init__(self, host: CallHost, limits: CallLimits) -> None:
        self.layer = host.layer
        self.deadlines = host.deadlines
        self.limits = limits
        self.wall = host.wall
        self.new_token = host.new_token
        self.address = host.link_address
        self.contact = f"Contact: <sip:{host.link_address}>"
        self.calls: dict[str, LiveCall] = {}
        self.owners: Counter[str] = Counter()
        """Calls under way of each customer."""
        self._most: dict[str, int] = {}
        """How many he may have, as was last heard, while he has any; 0: no limit."""
        self._publisher = host.publisher
        self.judge = host.judge
        self.byes: set[Bye] = set()
        """BYEs of ours that have no answer yet."""
        self.ringing: dict[str, set[Branch]] = {}
        """What rings over a connection, by the flow's token."""
        self._next_hops = host.next_hops
        self.places = host.places or host.next_hops or _nowhere
        self.proxies = host.proxies
        self.loops = host.loops
        self.refer = host.refer
        self._parties: dict[tuple[str, str], Party] = {}

    def publish(self, event: Event) -> None:
        """Hand an event to the bus."""
        self._publisher.publish(Topic.EVENTS, event)

    # -- the registry --------------------------------------------------------------------------

    def open(self, call: LiveCall, most: Iterable[tuple[str, int]] = ()) -> None:
        """A call begins; `most` is how many calls these of its owners may have."""
        self.calls[call.value.id] = call
        for owner in call.value.owners:
            self.owners[owner] += 1
        self._most.update((who, limit) for who, limit in most if who in self.owners)

    def close(self, call: LiveCall) -> None:
        """A call is over; its parties may still have a BYE to come."""
        if self.calls.pop(call.value.id, None) is not None:
            for owner in call.value.owners:
                self.owners[owner] -= 1
                if not self.owners[owner]:
                    del self.owners[owner]
                    self._most.pop(owner, None)

    def crowded(self, call: Call) -> bool:
        """Whether an end of this call may not go on in a new one for its owners' limits. The new
        one takes the place of the old, and so may be one too many while both are there."""
        owners, most = self.owners, self._most
        return any(0 < most.get(owner, 0) < owners[owner] for owner in call.owners)

    def enter(self, party: Party) -> None:
        """From now on requests in its dialog find it."""
        self._parties[party.leg.key] = party

    def leave(self, party: Party) -> None:
        """Its dialog is over."""
        self._parties.pop(party.leg.key, None)

    def find(self, request: Request) -> Party | None:
        """The party that sent this request in its dialog (RFC 3261 §12.2.2)."""
        party = self.party(request.to_tag or "", request.from_tag or "")
        if party is not None and party.leg.dialog.call_id == request.call_id:
            return party
        return None

    def party(self, local_tag: str, remote_tag: str) -> Party | None:
        """The party of the dialog with these tags."""
        return self._parties.get((local_tag, remote_tag))

    def translated(self, replaces: str) -> str:
        """A Replaces value that names a dialog of ours with one end, as the other end knows it;
        any other as it came."""
        named = Replaces.parse(replaces)
        party = self.party(named.to_tag, named.from_tag) if named else None
        if named is None or party is None or party.leg.dialog.call_id != named.call_id:
            return replaces
        return str(named.across(party.other.leg.dialog)) if party.other else replaces

    @property
    def dialogs(self) -> int:
        """Dialogs that are known."""
        return len(self._parties)

    # -- ways ----------------------------------------------------------------------------------

    def reach(self, leg: Leg, use: Use, now: float) -> None:
        """Call `use` with the way to the far end of a leg and the time, now or once it is
        resolved; no way: it leads nowhere."""
        if leg.pinned or self._next_hops is None or len(leg.dialog.route_set) < OUR_ROUTES:
            use(self._pinned_way(leg, now), now)
        else:
            uri = Address.parse(leg.next_uri()).uri
            self._next_hops(uri, leg.proxy, now, partial(_use_best, use))

    def _pinned_way(self, leg: Leg, now: float) -> Way | None:
        """By its proxy, or by another if that is away and the flow outlives it."""
        if not self.proxies.away(leg.proxy, now):
            return leg.pinned_way()
        return leg.way_by(self.proxies.through(leg.proxy, now, leg.text)) if leg.movable else None


def _nowhere(uri: Uri, proxy: str, now: float, done: Done) -> None:
    done((), now)


def _use_best(use: Use, hops: tuple[NextHop, ...], now: float) -> None:
    way = Way(Hop(hops[0].proxy, hops[0].reliable), hops[0].route, OUR_ROUTES) if hops else None
    use(way, now)
