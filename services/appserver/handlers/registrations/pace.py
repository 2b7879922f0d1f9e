"""One after the other: a bound on how many begin in a second."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from tandem.sip.deadlines import Deadlines

PER_SECOND: Final = 50
"""REGISTERs that a node begins in a second (one with credentials that follows a challenge belongs
to the first). What takes calls at hundreds a second hardly notices, and a node that takes 10,000
providers over has asked all of them within 200 s."""

Turn = Callable[[float], bool]
"""Called with `now`; whether it made use of its turn."""


class Pace:
    """Gives turns in order."""

    def __init__(self, deadlines: Deadlines, per_second: float = PER_SECOND) -> None:
        self._deadlines = deadlines
        self._gap = 1.0 / per_second
        self._free_at = float("-inf")
        self._waiting: deque[Turn] = deque()
        self._armed = False

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def enter(self, turn: Turn, now: float) -> None:
        """Have `turn` called, at once or when it is its time."""
        if not self._waiting and now >= self._free_at:
            self._take(turn, now)
            return
        self._waiting.append(turn)
        self._arm(now)

    def _arm(self, now: float) -> None:
        if self._waiting and not self._armed:
            self._armed = True
            self._deadlines.at(max(now, self._free_at), self._next)

    def _next(self, now: float) -> None:
        self._armed = False
        while self._waiting and not self._take(self._waiting.popleft(), now):
            pass
        self._arm(now)

    def _take(self, turn: Turn, now: float) -> bool:
        # before the turn, for it may enter another one
        before, self._free_at = self._free_at, now + self._gap
        used = turn(now)
        if not used:
            self._free_at = before
        return used
