"""Nonces that need no memory to be recognised, and the counts that do: RFC 7616 §5.4, §5.12.

A nonce is its time of issue, a random part and a MAC over both. Every node that has the secret
knows every other's nonces, so a client may be challenged by one and answer to another. What a
nonce does not carry is how often it was used: each node counts what it saw itself.

    issued (8 hex) | random (12 hex) | MAC (24 hex)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum
from hashlib import blake2s, sha256
from hmac import compare_digest
from typing import Final

_STAMP: Final = 8
_SIGNED: Final = _STAMP + 12
_LENGTH: Final = _SIGNED + 24

COUNT_WINDOW: Final = 16
"""Counts below the highest that may still come: UDP lets a client's requests overtake each
other, and no client has more of them under way."""

MAX_COUNTED: Final = 65_536
"""Nonces in each of the two generations of a NonceCounter, about 10 MB each: at ten registrations a
second of new clients, nearly two hours of them."""


class NonceState(Enum):
    """What is known of a nonce."""

    VALID = "valid"
    STALE = "stale"
    """Ours, but too old: challenge again with `stale`, nobody is suspicious."""
    FOREIGN = "foreign"
    """Not ours: challenge as if there were no credentials."""


class NonceSource:
    """Issues nonces and knows them again. `secret` is common to all nodes; `lifetime` is in
    seconds. Times are seconds of a clock that the nodes share (since 1970)."""

    def __init__(
        self, secret: bytes, lifetime: float, *, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._key: Final = sha256(b"nonce:" + secret).digest()
        self._lifetime: Final = lifetime
        self._random: Final = random

    def issue(self, now: float) -> str:
        """A new nonce; no two are alike."""
        signed = f"{int(now) & 0xFFFFFFFF:08x}{self._random(6).hex()}"
        return signed + self._mac(signed)

    def check(self, nonce: str, now: float) -> NonceState:
        """Whether the nonce is ours and fresh."""
        if len(nonce) != _LENGTH or not nonce.isascii():
            return NonceState.FOREIGN
        signed = nonce[:_SIGNED]
        if not compare_digest(nonce[_SIGNED:], self._mac(signed)):
            return NonceState.FOREIGN
        return NonceState.VALID if self.is_fresh(nonce, now) else NonceState.STALE

    def is_fresh(self, nonce: str, now: float) -> bool:
        """Whether this nonce, which is ours, is not too old."""
        # The clock of the node that issued it may be ahead of ours: that is no offence.
        return abs(now - int(nonce[:_STAMP], 16)) <= self._lifetime

    def _mac(self, signed: str) -> str:
        return blake2s(signed.encode(), key=self._key, digest_size=12).hexdigest()


class NonceCounter:
    """Sees to it that each count of a nonce is used once. A refusal is to be treated as stale.

    Ask only after the credentials were verified, lest strangers fill the memory. At most two
    generations of nonces are kept; a nonce as old as those that were forgotten is refused, so
    that forgetting costs a client one more challenge and never lets a replay pass.
    """

    def __init__(self, limit: int = MAX_COUNTED) -> None:
        self._limit: Final = limit
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._forgotten = ""

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __contains__(self, nonce: str) -> bool:
        """Whether a count of this nonce was accepted, and is remembered."""
        return nonce in self._young or nonce in self._old

    def accept(self, nonce: str, count: int) -> bool:
        """Whether this count of this nonce (a VALID one) is new; from now on it is not."""
        used = self._young.get(nonce)
        if used is None:
            used = self._old.pop(nonce, None)
            if used is None:
                if nonce[:_STAMP] <= self._forgotten:
                    return False
                used = 0
        updated = _use(used, count)
        self._keep(nonce, used if updated is None else updated)
        return updated is not None

    def _keep(self, nonce: str, used: int) -> None:
        young = self._young
        young[nonce] = used
        if len(young) > self._limit:
            if self._old:
                self._forgotten = max(self._forgotten, max(self._old)[:_STAMP])
            self._old = young
            self._young = {}


def _use(used: int, count: int) -> int | None:
    """`used` is the highest count, shifted, and a bit for each of the COUNT_WINDOW below it.

    Counts begin with 1, so that 0, which nobody may use, stands for a nonce not yet used.
    """
    highest = used >> COUNT_WINDOW
    seen = used & _MASK
    ahead = count - highest
    if ahead > COUNT_WINDOW:
        return count << COUNT_WINDOW
    if ahead > 0:
        return count << COUNT_WINDOW | (seen << ahead | 1 << (ahead - 1)) & _MASK
    bit = 1 << -ahead >> 1
    if not bit or bit > _MASK or seen & bit:
        return None
    return used | bit


_MASK: Final = (1 << COUNT_WINDOW) - 1
