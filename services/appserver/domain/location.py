"""The location table: every binding of the cluster, in memory.

The bindings that this node took are the truth; those of others are a replica kept by
`BindingStored` and `BindingRemoved`. Of two versions of one binding the newer wins, by
`registered_at` and then by the node's name, so that all replicas agree whatever order they heard
in. A removal leaves a tombstone for a while: a `BindingStored` that it overtook stays dead.

Expiry: an AOR lies in the slot of the second in which its earliest binding ends. A refresh does
not move it: when its slot comes due and its bindings live on, it goes into a later one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from services.appserver.domain.recent import Recent
from tandem.bus.location import Binding, BindingRemoved, BindingStored
from tandem.sip.errors import RemoteFault
from tandem.sip.uri import Uri

TOMBSTONE_SECONDS: Final = 60.0
"""Longer than a message of the bus stays under way while its broker is up."""
MAX_TOMBSTONES: Final = 100_000
"""In each generation, about 300 bytes each."""


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
        self._aors: dict[str, Aor] = {}
        self._slots: dict[int, list[Aor]] = {}
        self._flows: dict[str, tuple[str, ...]] = {}
        self._tombstones: Recent[tuple[str, str], float] = Recent(TOMBSTONE_SECONDS, MAX_TOMBSTONES)
        self.count = 0
        """How many bindings there are."""

    def bindings(self, aor: str) -> tuple[Binding, ...]:
        """Those of one AOR; some may have expired in this second."""
        found = self._aors.get(aor)
        return found.bindings if found is not None else ()

    def live(self, aor: str, wall: float) -> list[Binding]:
        """Those that have not expired."""
        return [b for b in self.bindings(aor) if b.expires_at > wall]

    def all(self) -> Iterable[Binding]:
        """Every binding, in no order; not to be changed meanwhile."""
        for record in self._aors.values():
            yield from record.bindings

    # -- changes of this node ------------------------------------------------------------------

    def put(self, binding: Binding) -> Binding | None:
        """Store; returns the version that gave way."""
        record = self._aors.get(binding.aor)
        if record is None:
            record = self._aors[binding.aor] = Aor()
        old = find(record.bindings, binding)
        if old is None:
            record.bindings = (*record.bindings, binding)
            self.count += 1
        elif len(record.bindings) == 1:
            record.bindings = (binding,)
        else:
            record.bindings = tuple(binding if b is old else b for b in record.bindings)
        self._index_flow(old, binding)
        self._schedule(record, int(binding.expires_at) + 1)
        return old

    def renew(self, old: Binding, new: Binding) -> None:
        """Put `new` in the place of `old`, which is in the table and differs in time only."""
        record = self._aors[old.aor]
        if len(record.bindings) == 1:
            record.bindings = (new,)
        else:
            record.bindings = tuple(new if b is old else b for b in record.bindings)
        if record.due is None or new.expires_at < record.due:
            self._schedule(record, int(new.expires_at) + 1)

    def remove(self, binding: Binding, wall: float, *, at: float | None = None) -> bool:
        """Remove what is the same binding as this; False if there is none. `at` is the time of
        the removal where it is newer than the binding."""
        stamp = binding.registered_at if at is None else at
        self._tombstones.put((binding.aor, key(binding)), stamp, wall)
        record = self._aors.get(binding.aor)
        old = find(record.bindings, binding) if record is not None else None
        if record is None or old is None:
            return False
        self._take(record, old)
        return True

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
            if binding.expires_at <= wall:
                self._take(record, binding)
                gone.append(binding)
        if record.bindings:
            self._schedule(record, int(min(b.expires_at for b in record.bindings)) + 1)

    # -- changes of others ---------------------------------------------------------------------

    def learn(self, stored: BindingStored, wall: float) -> tuple[bool, Binding | None]:
        """Take another node's word: whether it was news, and the version that gave way."""
        binding = stored.binding
        if binding.expires_at <= wall:
            return False, None
        buried = self._tombstones.get((binding.aor, key(binding)), wall)
        if buried is not None and binding.registered_at <= buried:
            return False, None
        old = find(self.bindings(binding.aor), binding)
        if old is not None and _age(old) >= _age(binding):
            return False, None
        return True, self.put(binding)

    def forget(self, removed: BindingRemoved, wall: float) -> Binding | None:
        """Take another node's word that a binding ended; returns what that removed here."""
        binding = removed.binding
        old = find(self.bindings(binding.aor), binding)
        if old is not None and old.registered_at > binding.registered_at:
            return None
        self.remove(binding, wall)
        return old

    # -- inside --------------------------------------------------------------------------------

    def _take(self, record: Aor, binding: Binding) -> None:
        record.bindings = tuple(b for b in record.bindings if b is not binding)
        self.count -= 1
        self._index_flow(binding, None)
        if not record.bindings:
            del self._aors[binding.aor]
            record.due = None

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


def key(binding: Binding) -> str:
    """What tells the bindings of one AOR apart: the flow of RFC 5626 §6, else the Contact."""
    if binding.reg_id and binding.instance:
        return f"{binding.instance};{binding.reg_id}"
    return binding.contact


def find(bindings: Iterable[Binding], wanted: Binding) -> Binding | None:
    """The same binding among these: RFC 3261 §10.3 step 7, RFC 5626 §6."""
    name = key(wanted)
    for binding in bindings:
        if key(binding) == name:
            return binding
    if wanted.reg_id and wanted.instance:
        return None
    return next((b for b in bindings if not b.reg_id and _equivalent(b, wanted)), None)


def _equivalent(one: Binding, two: Binding) -> bool:
    try:
        return Uri.parse(one.contact).equivalent(Uri.parse(two.contact))
    except RemoteFault:
        return False


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


def _age(binding: Binding) -> tuple[float, str]:
    return binding.registered_at, binding.node
