"""Hops: the two ends of the link between appservers and proxies, as transactions see them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

KEPT: Final = 1024
"""Hops that are shared: a few for each proxy."""


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a message came from or goes to: a peer of the link, and whether the way there
    (to the far end's transport) is reliable."""

    peer: str
    reliable: bool


@lru_cache(maxsize=KEPT)
def hop(peer: str, reliable: bool) -> Hop:
    """A hop; there are few, and many messages."""
    return Hop(peer, reliable)
