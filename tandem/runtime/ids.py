"""Random ids for tags, branches, Call-IDs and calls: many per system call."""

from __future__ import annotations

import os
import weakref
from typing import Final

POOL_BYTES: Final = 4096
"""Random bytes fetched at a time: 512 ids of 64 bits."""


class RandomIds:
    """Makes hex ids. RFC 3261 §19.3 asks for at least 32 random bits in a tag; the default is 64.

    A process that forks gets a new pool in the child, so that no two processes share ids.
    """

    def __init__(self) -> None:
        self._pool = ""
        self._at = 0
        _renew_after_fork(self)

    def hex(self, size: int = 16) -> str:
        """`size` hex digits, four random bits in each; at most 2 × POOL_BYTES."""
        end = self._at + size
        if end > len(self._pool):
            self._refill(size)
            end = size
        text = self._pool[self._at : end]
        self._at = end
        return text

    def forget(self) -> None:
        """Throw the rest of the pool away."""
        self._pool = ""
        self._at = 0

    def _refill(self, size: int) -> None:
        if size > 2 * POOL_BYTES:
            raise ValueError(f"an id of {size} digits is longer than the pool")
        self._pool = os.urandom(POOL_BYTES).hex()
        self._at = 0


def _renew_after_fork(ids: RandomIds) -> None:
    reference = weakref.ref(ids)

    def renew() -> None:
        alive = reference()
        if alive is not None:
            alive.forget()

    os.register_at_fork(after_in_child=renew)
