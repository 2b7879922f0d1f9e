"""The appservers: which are alive, and which of them gets a Call-ID.

Weighted rendezvous hashing: all proxies that know the same appservers with the same weights choose
alike, so a retransmission that comes another way agrees without state, and a change of the set
moves only the calls of what changed. The Call-ID is first reduced to one of BUCKETS numbers, so
that the choice for each can be kept.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

BUCKETS: Final = 4096
"""Enough that the shares of 64 appservers differ by a few percent; built in 5 ms for 8."""
DEFAULT_WEIGHT: Final = 100
"""Of an appserver that said none (`tandem.bus.nodes.NodeAnnounced.weight`)."""

_DRAWS: Final = struct.Struct(">8Q")  # one digest is enough for eight buckets


@lru_cache(maxsize=256)
def _lots(appserver: str) -> tuple[float, ...]:
    """What this appserver draws in each bucket, exponentially distributed: with each lot divided
    by a weight, the least is anybody's with a chance in proportion to the weights."""
    numbers = [
        number
        for block in range(BUCKETS // 8)
        for number in _DRAWS.unpack(
            hashlib.blake2b(b"%d %s" % (block, appserver.encode()), digest_size=64).digest()
        )
    ]
    return tuple(-math.log((number + 1) / 2**64) for number in numbers)


class Appservers:
    """The appservers that are alive, by link address. `listeners` are called after each change."""

    def __init__(self, active: Iterable[str] = ()) -> None:
        self.active: frozenset[str] = frozenset()
        """Those that get new calls and registrations."""
        self.alive: frozenset[str] = frozenset()
        """These, and those that are draining: they keep the dialogs that they have."""
        self.table: list[str] = []
        """Who has each bucket; empty while none is active."""
        self.listeners: list[Callable[[], None]] = []
        self._weights: dict[str, int] = {}
        self.set_active(active)

    def set_active(self, active: Iterable[str]) -> None:
        """Take this set from now on, all of one weight, none draining."""
        self.set(dict.fromkeys(active, DEFAULT_WEIGHT))

    def set(self, weights: Mapping[str, int], draining: Iterable[str] = ()) -> bool:
        """Take this set from now on; a weight of 0 is as good as draining. Returns whether
        anything changed."""
        chosen = {name: weight for name, weight in sorted(weights.items()) if weight > 0}
        alive = frozenset((*weights, *draining))
        if chosen == self._weights and alive == self.alive:
            return False
        if chosen != self._weights:
            self.table = _table(chosen)
        self._weights, self.active, self.alive = chosen, frozenset(chosen), alive
        for listener in self.listeners:
            listener()
        return True

    def pick(self, call_id: bytes) -> str | None:
        """The appserver for this Call-ID, None while none is active."""
        table = self.table
        return table[zlib.crc32(call_id) % BUCKETS] if table else None

    def prefer(self, owner: str, call_id: bytes) -> str | None:
        """The owner of a dialog while it lives, else the one for this Call-ID."""
        return owner if owner in self.alive else self.pick(call_id)


def _table(weights: Mapping[str, int]) -> list[str]:
    names = list(weights)
    if len(names) < 2:
        return names * BUCKETS
    columns = [[lot / weights[name] for lot in _lots(name)] for name in names]
    return [names[row.index(min(row))] for row in zip(*columns, strict=True)]
