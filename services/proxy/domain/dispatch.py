"""Which appserver gets a call: DESIGN §2 and §5.

A stateless proxy sends a retransmitted INVITE, its CANCEL and the ACK of its failure where the hash
of the Call-ID sends them: to the appserver that got the INVITE, as long as the set of appservers is
the same, and no next-call hint decided. For when it is not, each INVITE leaves 8 bytes in a log:
a checksum of its branch, and its bucket. Only when the set changes is the log read, and those
INVITEs whose bucket moved go into a table with where they went; so do those that a hint decided.
"""

from __future__ import annotations

import time
import zlib
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
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
GENERATION_SIZE: Final = 131_072
"""INVITEs of a generation: 700 a second for all of its time, 1 MB; past that it ends early."""
RECENT: Final = 4096
"""INVITEs that are looked through for a retransmission that a new hint would take for a new call:
those of several seconds, and it comes half a second after the first."""
KEPT: Final = 8_192
"""INVITEs of a generation that are kept whole, some 1 kB each, to be answered if their appserver
dies (`handlers/orphans.py`)."""
_SHIFT: Final = BUCKETS.bit_length() - 1

Sent: TypeAlias = tuple[int, str, bytes, Peer]
"""The checksum of an INVITE's branch, where it went, the INVITE as it came, and from whom."""


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
        self._log = array("Q")
        self._old_log = array("Q")
        self._sent: deque[Sent] = deque(maxlen=KEPT)
        self._old_sent: deque[Sent] = deque()
        self._moved: dict[int, str] = {}
        """INVITEs by the checksum of their branch that went elsewhere than their hash says now."""
        self._old_moved: dict[int, str] = {}
        self._since = 0.0
        self._looking = False
        """Whether any INVITE may be one of these, or there is a hint."""
        appservers.listeners.append(self._changed)
        self.hints.on_added = self._look

    def __len__(self) -> int:
        return len(self._log) + len(self._old_log)

    def recent(self) -> Iterator[Sent]:
        """The INVITEs of the last minutes, oldest first; those that came again are in it again."""
        return chain(self._old_sent, self._sent)

    def call(
        self, method: bytes, branch: bytes, call_id: bytes, uri: bytes, data: bytes, peer: Peer
    ) -> str | None:
        """The appserver for an INVITE, ACK or CANCEL that names none; None while there is none.
        `branch` is what follows the magic cookie."""
        if self._looking:
            found = self._known(method, branch, call_id, uri, data)
            if found is not None:
                if method == self._kept_method:
                    self._sent.append((zlib.crc32(branch), found, data, peer))
                return found
        table = self._table
        if not table:
            return None
        bucket = zlib.crc32(call_id) % BUCKETS
        if method == self._kept_method:
            key = zlib.crc32(branch)
            appserver = table[bucket]
            self._log.append(key << _SHIFT | bucket)
            self._sent.append((key, appserver, data, peer))
            return appserver
        return table[bucket]

    def tick(self, now: float) -> None:
        """Called every half second or so, with a monotonic clock."""
        self.hints.expire(self._wall())
        size = max(len(self._log), len(self._moved))
        if now - self._since >= GENERATION_SECONDS or size >= GENERATION_SIZE:
            self._since = now
            self._old_log, self._log = self._log, array("Q")
            self._old_sent, self._sent = self._sent, deque(maxlen=KEPT)
            self._old_moved, self._moved = self._moved, {}
            self._look()

    def _look(self) -> None:
        self._looking = bool(self._moved or self._old_moved or self.hints.users)

    def _changed(self) -> None:
        """The set of appservers is another."""
        old, self._table = self._table, self._appservers.table
        if not old or old is self._table:
            return
        new = self._table or [""] * BUCKETS
        moves = [before != after for before, after in zip(old, new, strict=True)]
        for log in (self._old_log, self._log):
            for entry in log:
                bucket = entry % BUCKETS
                if moves[bucket]:
                    self._moved.setdefault(entry >> _SHIFT, old[bucket])
        self._look()

    def _known(
        self, method: bytes, branch: bytes, call_id: bytes, uri: bytes, data: bytes
    ) -> str | None:
        """Where this branch went before, or the appserver that waits for this call."""
        alive = self._appservers.alive
        key = zlib.crc32(branch)
        found = self._moved.get(key) or self._old_moved.get(key)
        if found is not None:
            if found in alive:
                return found
            self._moved.pop(key, None)  # it goes by its hash now, and is in the log for that
            self._old_moved.pop(key, None)
        if method != b"INVITE" or not self.hints.users:
            return None
        waiting = self.hints.waiting(uri)
        head = scan(data) if waiting else None
        # one that went by its hash before the hint came still does
        entry = key << _SHIFT | zlib.crc32(call_id) % BUCKETS
        if head is None or has_to_tag(head) or entry in self._log[-RECENT:]:
            return None
        found = self.hints.match(waiting, caller(head), alive, self._wall())
        if found is not None:
            self._moved[key] = found
        return found
