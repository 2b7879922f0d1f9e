"""Who guesses passwords: failures are counted, slow down and then ban, and can be explained.

Counted are pairs of source address and account, and addresses as a whole. A pair that is banned
counts no more for its address: one forgotten phone with an old password does not lock its whole
office out, while an address that tries many accounts is banned as such.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.appserver.domain.recent import Recent

MAX_SUSPECTS: Final = 50_000
"""Pairs, and addresses, in each generation; about 200 bytes each."""
MAX_DELAY: Final = 8.0
"""Seconds: longer, and the client would give its request up (RFC 3261: 32 s) and send more."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """What is known of a pair or an address."""

    failures: int
    banned_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """What a wrong password leads to."""

    count: int
    """Of this pair, this one included."""
    forbidden: bool
    """Answer 403 in place of another challenge."""
    delay: float
    """Seconds to wait before the answer."""
    banned_for: float
    """Seconds, 0 for no ban by this failure."""


class Guard:
    """`now` is any steady clock in seconds."""

    def __init__(
        self, *, forbid_after: int, ban_after: int, ban_address_after: int, ban_seconds: float
    ) -> None:
        self._forbid_after = forbid_after
        self._ban_after = ban_after
        self._ban_address_after = ban_address_after
        self._ban_seconds = ban_seconds
        self._suspects: Recent[str, Suspect] = Recent(ban_seconds, MAX_SUSPECTS)

    @property
    def busy(self) -> bool:
        """Whether anybody is suspected at all."""
        return len(self._suspects) > 0

    def banned_for(self, address: str, account: str, now: float) -> float:
        """Seconds that this pair or address is still banned, 0.0 for not at all."""
        if not self.busy:
            return 0.0
        return max(self._left(address, now), self._left(_pair(address, account), now))

    def failed(self, address: str, account: str, now: float) -> Failure:
        """Count a wrong password."""
        pair = self._count(_pair(address, account), self._ban_after, now)
        whole = self._count(address, self._ban_address_after, now)
        over = pair.failures - self._forbid_after
        return Failure(
            count=pair.failures,
            forbidden=over > 0,
            delay=min(2.0 ** (over - 1), MAX_DELAY) if over > 0 else 0.0,
            banned_for=max(pair.banned_until, whole.banned_until, now) - now,
        )

    def succeeded(self, address: str, account: str) -> None:
        """The right password clears the pair."""
        if self.busy:
            self._suspects.drop(_pair(address, account))

    def lift(self, address: str, account: str = "") -> None:
        """Forget the failures of an address, or of one account from it."""
        self._suspects.drop(_pair(address, account) if account else address)

    def _left(self, name: str, now: float) -> float:
        suspect = self._suspects.get(name, now)
        return max(0.0, suspect.banned_until - now) if suspect is not None else 0.0

    def _count(self, name: str, limit: int, now: float) -> Suspect:
        known = self._suspects.get(name, now)
        failures = known.failures + 1 if known is not None else 1
        until = now + self._ban_seconds if failures >= limit else 0.0
        suspect = Suspect(failures, until)
        self._suspects.put(name, suspect, now)
        return suspect


def _pair(address: str, account: str) -> str:
    return f"{address} {account}"
