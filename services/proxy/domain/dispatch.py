"""Which appserver gets a call: DESIGN §2 and §5.

A stateless proxy sends a retransmitted INVITE, its CANCEL and the ACK of its failure where the hash
of the Call-ID sends them: to the appserver that got the INVITE, as long as the set of appservers is
the same, and no next-call hint decided. For when it is not, the INVITEs of the last minutes are
remembered. Only when the set changes do they go into a table with where they went; so do those
that a hint decided.
"""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Final, TypeAlias

from services.proxy.domain.appservers import BUCKETS, Appservers
from services.proxy.domain.caller import caller, has_to_tag
from services.proxy.domain.hints import HintTable
from services.proxy.domain.peer import Peer
from services.proxy.domain.scan import scan

CALL_METHODS: Final = frozenset({b"INVITE", b"ACK", b"CANCEL"})
"""What shares a branch, and so must reach the same appserver (RFC 3261 §9.1, §17.1.1.3)."""
GENERATION_SECONDS: Final = 180.0
"""An INVITE is remembered at least that long: no phone rings longer (§16.6 step 11), and what
is retransmitted is so for 32 s."""
GENERATION_SIZE: Final = 16_384
"""INVITEs of a generation, some 1 kB each: 90 a second for all of its time. A proxy that gets more
remembers them for less long."""
RECENT: Final = 1024
"""INVITEs that are looked through for a retransmission that a new hint would take for a new call:
those of some seconds, and it comes half a second after the first."""
WHOLE: Final = 4096
"""Bytes of an INVITE up to which it is kept whole; of a longer one the header is, if that is not
longer itself: all of them take no more than 130 MB, whatever is sent."""

Sent: TypeAlias = tuple[bytes, str, bytes, Peer]
"""The branch of an INVITE, where it went, as much of it as an answer needs (nothing of a huge
one), and from whom."""


class Dispatch:
    """Chooses. Without `remember` (a single appserver in one process) nothing is kept."""

    def __init__(
        self,
        appservers: Appservers,
        hints: HintTable | None = None,
        *,
        remember: bool = True,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.hints = HintTable() if hints is None else hints
        self._appservers = appservers
        self._table = appservers.table
        self._wall = wall
        self._kept_method = b"INVITE" if remember else b""
        self._sent: deque[Sent] = deque(maxlen=GENERATION_SIZE)
        self._old_sent: deque[Sent] = deque()
        self._moved: dict[bytes, str] = {}
        """INVITEs by their branch that may have gone elsewhere than their hash says now."""
        self._old_moved: dict[bytes, str] = {}
        self._since = 0.0
        self._looking = False
        """Whether any INVITE may be one of these, or there is a hint."""
        appservers.listeners.append(self._changed)
        self.hints.on_added = self._look

    def __len__(self) -> int:
        return len(self._sent) + len(self._old_sent)

    def recent(self) -> Iterator[Sent]:
        """The INVITEs of the last minutes, oldest first; those that came again are in it again."""
        return chain(self._old_sent, self._sent)

    def call(
        self,
        method: bytes,
        branch: bytes,
        call_id: bytes,
        uri: bytes,
        data: bytes,
        peer: Peer,
        replaced: bytes = b"",
    ) -> str | None:
        """The appserver for an INVITE, ACK or CANCEL that names none; None while there is none.
        `branch` is what follows the magic cookie; `replaced` the Call-ID in Replaces."""
        appserver = self._known(method, branch, uri, data) if self._looking else None
        if appserver is None:
            if not self._table:
                return None
            appserver = self._table[zlib.crc32(replaced or call_id) % BUCKETS]
            if replaced:  # its ACK and CANCEL don't say so
                self._moved[branch] = appserver
                self._look()
        if method == self._kept_method:
            kept = data if len(data) <= WHOLE else _header(data)
            self._sent.append((branch, appserver, kept, peer))
        return appserver

    def tick(self, now: float) -> None:
        """Called every half second or so, with a monotonic clock."""
        self.hints.expire(self._wall())
        if now - self._since >= GENERATION_SECONDS or len(self._moved) >= GENERATION_SIZE:
            self._since = now
            self._old_sent, self._sent = self._sent, deque(maxlen=GENERATION_SIZE)
            self._old_moved, self._moved = self._moved, {}
            self._look()

    def _look(self) -> None:
        self._looking = bool(self._moved or self._old_moved or self.hints.users)

    def _changed(self) -> None:
        """The set of appservers is another."""
        if self._table is self._appservers.table:
            return
        self._table = self._appservers.table
        for branch, appserver, _, _ in self.recent():
            self._moved[branch] = appserver  # the last one holds: it came again
        self._look()

    def _known(self, method: bytes, branch: bytes, uri: bytes, data: bytes) -> str | None:
        """Where this branch went before, or the appserver that waits for this call."""
        alive = self._appservers.alive
        found = self._moved.get(branch) or self._old_moved.get(branch)
        if found is not None:
            if found in alive:
                return found
            self._moved.pop(branch, None)  # it goes by its hash now, and is remembered so
            self._old_moved.pop(branch, None)
        if method != b"INVITE" or not self.hints.users:
            return None
        waiting = self.hints.waiting(uri)
        head = scan(data) if waiting else None
        # one that went by its hash before the hint came still does
        if head is None or has_to_tag(head) or self._came_before(branch):
            return None
        found = self.hints.match(waiting, caller(head), alive, self._wall())
        if found is not None:
            self._moved[branch] = found
        return found

    def _came_before(self, branch: bytes) -> bool:
        return any(sent[0] == branch for sent in islice(reversed(self._sent), RECENT))


def _header(data: bytes) -> bytes:
    end = data.find(b"\r\n\r\n", 0, WHOLE)
    return data[: end + 4] if end >= 0 else b""
