"""Signals that came before anybody waited for them, in bounded mailboxes.

A voice application tells what it has collected over HTTP while the dialplan that sent the caller to
it is still on its way to wait for it; so a signal is kept for a little while.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Final

from tandem.dialplan.world import DialplanError

KEEP_SECONDS: Final = 30.0
"""How long a signal that nobody waits for is kept: much longer than a dialplan needs to begin its
wait, and too short for a key to be used again by another call."""
MAX_KEPT: Final = 1_000
"""Signals kept on one appserver, of 8 kB at most each."""
MAX_KEPT_OF_CUSTOMER: Final = 100
MAX_KEPT_OF_KEY: Final = 8
MAX_WAITS: Final = 10_000
"""Waits on one appserver: more than calls that it has."""
MAX_WAITS_OF_CUSTOMER: Final = 200


class Full(Exception):
    """Too many signals are kept."""


class TooManyWaits(DialplanError):
    """Too many wait for signals: a script that asks for one more hears of it."""


@dataclass(frozen=True, slots=True)
class _Kept:
    body: str
    until: float


class Mailboxes:
    """Pure: `now` comes in, in seconds of any steady clock."""

    def __init__(self) -> None:
        self._boxes: dict[tuple[str, str], deque[_Kept]] = {}
        self._of: Counter[str] = Counter()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def keep(self, customer: str, key: str, body: str, now: float) -> None:
        """Keep one. Raises Full."""
        self._expire(now)
        box = self._boxes.get((customer, key), deque())
        if len(box) >= MAX_KEPT_OF_KEY:
            raise Full(f"{MAX_KEPT_OF_KEY} signals wait under this key already")
        if self._of[customer] >= MAX_KEPT_OF_CUSTOMER:
            raise Full(f"{MAX_KEPT_OF_CUSTOMER} signals of this customer wait already")
        if self._count >= MAX_KEPT:
            raise Full("too many signals wait already")
        self._boxes[customer, key] = box
        box.append(_Kept(body, now + KEEP_SECONDS))
        self._counted(customer, 1)

    def take(self, customer: str, key: str, now: float) -> str | None:
        """The oldest under this key, which is kept no longer."""
        self._expire(now)
        box = self._boxes.get((customer, key))
        if box is None:
            return None
        kept = self._drop_first(customer, key, box)
        return kept.body

    def _expire(self, now: float) -> None:
        # a few thousand at most, and only when somebody asks: no timer of their own
        for (customer, key), box in list(self._boxes.items()):
            while box and box[0].until <= now:
                self._drop_first(customer, key, box)

    def _drop_first(self, customer: str, key: str, box: deque[_Kept]) -> _Kept:
        kept = box.popleft()
        if not box:
            del self._boxes[customer, key]
        self._counted(customer, -1)
        return kept

    def _counted(self, customer: str, more: int) -> None:
        self._count += more
        self._of[customer] += more
        if not self._of[customer]:
            del self._of[customer]
