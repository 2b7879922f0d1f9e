"""The location table: every binding of the cluster, in memory.

Each node decides about the REGISTERs that it takes, and hears of the others' by `BindingStored`
and `BindingRemoved`. Which of two versions of a binding holds, `versions` says, so that all
replicas agree whatever order they heard in; what lost, and what was removed, is remembered for a
while, so that a `BindingStored` that was overtaken stays dead.

Clocks of nodes differ. A version that a node makes is dated after all that it knows of the
binding (`dated`), so what happened later counts as later even if the clock is behind. When a
binding ends is a time of the clock of the node that took it: a replica whose clock is 5 s ahead
lets it go 5 s early, long after the phone should have renewed it.

While nothing is heard of others, their bindings stay for calls after their end (`hearing`).

Expiry: an AOR lies in the slot of the second in which its earliest binding ends. A refresh does
not move it: when its slot comes due and its bindings live on, it goes into a later one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from services.appserver.domain.hearing import Hearing
from services.appserver.domain.recent import Recent
from services.appserver.domain.versions import Version, find, key, merge, winner
from tandem.bus.location import Binding, BindingRemoved, BindingStored

REMEMBER_SECONDS: Final = 600.0
"""As long as the broker keeps messages for a node that is away (`Keep.NODE`)."""
MAX_REMEMBERED: Final = 100_000
"""Bindings of which other versions are remembered, in each generation, about 400 bytes each."""
HELD_SECONDS: Final = 10
"""Between two looks at a binding that has expired and is held."""
TICK: Final = 0.001
"""Seconds by which a version is dated after the one that it follows."""


class Aor:
    """The bindings of one address-of-record."""

    __slots__ = ("bindings", "due")

    def __init__(self) -> None:
        self.bindings: tuple[Binding, ...] = ()
        self.due: int | None = None
        """The slot that it lies in."""


class LocationTable:
    """All bindings. Times are Unix seconds."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.hearing = Hearing(node)
        self._aors: dict[str, Aor] = {}
        self._slots: dict[int, list[Aor]] = {}
        self._flows: dict[str, tuple[str, ...]] = {}
        self._owned: dict[str, set[str]] = {}
        """The AORs of each customer."""
        self._others: Recent[tuple[str, str], tuple[Version, ...]] = Recent(
            REMEMBER_SECONDS, MAX_REMEMBERED
        )
        self.count = 0
        """How many bindings there are."""
        self.own = 0
        """How many of them this node took."""
        self.on_change: Callable[[str], None] = _nobody
        """Called with an AOR when its bindings are others; not when one is renewed."""

    def bindings(self, aor: str) -> tuple[Binding, ...]:
        """Those of one AOR; some may have expired in this second."""
        found = self._aors.get(aor)
        return found.bindings if found is not None else ()

    def live(self, aor: str, wall: float) -> list[Binding]:
        """Those that have not expired."""
        return [b for b in self.bindings(aor) if b.expires_at > wall]

    def callable(self, aor: str, wall: float) -> list[Binding]:
        """Those that calls go to: also of other nodes that may have been renewed unheard."""
        if self.hearing.whole:
            return self.live(aor, wall)
        holds = self.hearing.holds
        return [b for b in self.bindings(aor) if b.expires_at > wall or holds(b, wall)]

    def all(self) -> Iterable[Binding]:
        """Every binding, in no order; not to be changed meanwhile."""
        for record in self._aors.values():
            yield from record.bindings

    def aors(self) -> list[str]:
        """The AORs that have bindings."""
        return list(self._aors)

    def of_owner(self, owner: str) -> list[str]:
        """The AORs of a customer that have bindings, sorted."""
        return sorted(self._owned.get(owner, ()))

    # -- changes of this node ------------------------------------------------------------------

    def put(self, binding: Binding) -> Binding | None:
        """Store; returns the version that gave way. What this node decides is `dated` first."""
        record = self._aors.get(binding.aor)
        if record is None:
            record = self._aors[binding.aor] = Aor()
        old = find(record.bindings, binding)
        self.own += (binding.node == self.node) - (old is not None and old.node == self.node)
        if old is None or old.owner != binding.owner:
            self._owned.setdefault(binding.owner, set()).add(binding.aor)
        if old is None:
            record.bindings = (*record.bindings, binding)
            self.count += 1
        else:
            self._replace(record, old, binding)
            if old.owner != binding.owner:
                self._disown(old)
        self._index_flow(old, binding)
        self._schedule(record, int(binding.expires_at) + 1)
        self.on_change(binding.aor)
        return old

    def renew(self, old: Binding, new: Binding) -> None:
        """Put `new` in the place of `old`, which is in the table and differs in time only."""
        record = self._aors[old.aor]
        self._replace(record, old, new)
        if record.due is None or new.expires_at < record.due:
            self._schedule(record, int(new.expires_at) + 1)

    def remove(self, binding: Binding, wall: float) -> bool:
        """Remove what is the same binding as this, unless what is there is newer; False if
        nothing is removed."""
        return self._take_version(Version.removed(binding), binding, wall)[1] is not None

    def dated(self, binding: Binding, wall: float) -> Binding | None:
        """The version that this node is about to store or end, dated after all that is known of
        the binding; None if a higher CSeq of its Call-ID is known."""
        versions = self._versions(binding, wall)
        if not versions:
            return binding
        if any(v.call_id == binding.call_id and v.cseq >= binding.cseq for v in versions):
            return None
        latest = max(v.registered_at for v in versions)
        if latest < binding.registered_at:
            return binding
        return replace(binding, registered_at=latest + TICK)

    def of_flow(self, token: str) -> list[Binding]:
        """The bindings that came over this connection."""
        return [
            binding
            for aor in self._flows.get(token, ())
            for binding in self.bindings(aor)
            if flow_token(binding) == token and not binding.received.startswith("udp:")
        ]

    def expire(self, wall: float) -> list[Binding]:
        """Remove and return what has expired."""
        gone: list[Binding] = []
        for slot in sorted(slot for slot in self._slots if slot <= wall):
            for record in self._slots.pop(slot):
                if record.due == slot:
                    self._expire_aor(record, wall, gone)
        return gone

    def _expire_aor(self, record: Aor, wall: float, gone: list[Binding]) -> None:
        record.due = None
        for binding in record.bindings:
            if binding.expires_at <= wall and not self.hearing.holds(binding, wall):
                self._take(record, binding)
                self._remember(binding, Version.removed(binding), wall)
                gone.append(binding)
        if record.bindings:
            slot = int(min(b.expires_at for b in record.bindings)) + 1
            self._schedule(record, slot if slot > wall else int(wall) + HELD_SECONDS)

    # -- changes of others ---------------------------------------------------------------------

    def learn(self, stored: BindingStored, wall: float) -> tuple[bool, Binding | None]:
        """Take another node's word: whether it was news, and the version that gave way. One that
        has expired is no news, but it ends what is older."""
        binding = stored.binding
        if binding.expires_at <= wall:
            self.remove(binding, wall)
            return False, None
        return self._take_version(Version.stored(binding), binding, wall)

    def forget(self, removed: BindingRemoved, wall: float) -> Binding | None:
        """Take another node's word that a binding ended; returns what that removed here."""
        return self._take_version(Version.removed(removed.binding), removed.binding, wall)[1]

    def _take_version(
        self, news: Version, binding: Binding, wall: float
    ) -> tuple[bool, Binding | None]:
        """Let `news` count: whether it holds now or removed something, and what gave way."""
        record = self._aors.get(binding.aor)
        old = find(record.bindings, binding) if record is not None else None
        name = (binding.aor, key(binding))
        others = self._others.get(name, wall) or ()
        if old is None and not others and news.binding is not None:
            self.put(news.binding)
            return True, None
        versions = merge(self._with(old, others), news)
        best = winner(versions)
        holds = best.binding
        if holds is not None and holds.expires_at <= wall:
            holds = None
        if (rest := tuple(v for v in versions if v.binding is not holds or v.gone)) or others:
            self._others.put(name, rest, wall)
        if holds is old:
            return False, None
        if holds is not None:
            self.put(holds)
        elif record is not None and old is not None:
            self._take(record, old)
        return True, old

    def supersede(self, old: Binding, wall: float) -> None:
        """Remember a version that a REGISTER with another Call-ID took the place of."""
        self._remember(old, Version.stored(old), wall, always=True)

    def _remember(
        self, binding: Binding, version: Version, wall: float, *, always: bool = False
    ) -> None:
        name = (binding.aor, key(binding))
        others = self._others.get(name, wall)
        if always or others:
            self._others.put(name, merge(others or (), version), wall)

    def _versions(self, binding: Binding, wall: float) -> tuple[Version, ...]:
        old = find(self.bindings(binding.aor), binding)
        return self._with(old, self._others.get((binding.aor, key(binding)), wall) or ())

    def _with(self, old: Binding | None, others: tuple[Version, ...]) -> tuple[Version, ...]:
        return others if old is None else merge(others, Version.stored(old))

    # -- inside --------------------------------------------------------------------------------

    def _replace(self, record: Aor, old: Binding, new: Binding) -> None:
        if len(record.bindings) == 1:
            record.bindings = (new,)
        else:
            record.bindings = tuple(new if b is old else b for b in record.bindings)

    def _take(self, record: Aor, binding: Binding) -> None:
        record.bindings = tuple(b for b in record.bindings if b is not binding)
        self.count -= 1
        self.own -= binding.node == self.node
        self._index_flow(binding, None)
        if not record.bindings:
            del self._aors[binding.aor]
            record.due = None
        self._disown(binding)
        self.on_change(binding.aor)

    def _disown(self, gone: Binding) -> None:
        """A binding is gone: maybe the last of its customer's on this AOR."""
        if any(binding.owner == gone.owner for binding in self.bindings(gone.aor)):
            return
        owned = self._owned[gone.owner]
        owned.discard(gone.aor)
        if not owned:
            del self._owned[gone.owner]

    def _schedule(self, record: Aor, slot: int) -> None:
        if record.due is None or slot < record.due:
            record.due = slot
            self._slots.setdefault(slot, []).append(record)

    def _index_flow(self, old: Binding | None, new: Binding | None) -> None:
        """Only connections end by themselves; a UDP flow needs no index."""
        if old is not None and new is not None and old.path == new.path:
            return
        if old is not None and not old.received.startswith("udp:"):
            self._unindex(flow_token(old), old.aor)
        if new is not None and not new.received.startswith("udp:"):
            token = flow_token(new)
            others = self._flows.get(token, ())
            if new.aor not in others:
                self._flows[token] = (*others, new.aor)

    def _unindex(self, token: str, aor: str) -> None:
        if any(flow_token(binding) == token for binding in self.bindings(aor)):
            return
        rest = tuple(a for a in self._flows.pop(token, ()) if a != aor)
        if rest:
            self._flows[token] = rest


def _nobody(aor: str) -> None:
    """Nobody wants to know."""


def flow_token(binding: Binding) -> str:
    """The token of the flow: the user part of the first Path value, "" for none."""
    return token_of(binding.path[0]) if binding.path else ""


def token_of(route: str) -> str:
    """The user part of a `<sip:TOKEN@proxy;lr>`, "" for a route without one."""
    head, at, _ = route.partition("@")
    return head.partition(":")[2] if at else ""


def proxy_of(route: str) -> str:
    """The `host:port` of a Route or Path value in angle brackets."""
    inside = route.partition("<")[2] or route
    hostport = inside.partition(">")[0].partition(";")[0]
    return hostport.rpartition("@")[2] if "@" in hostport else hostport.partition(":")[2]
