"""All deadlines in one heap, behind one timer of whoever runs the loop.

The core never looks at a clock: it is told `now` (seconds, any steady origin) and asks to be
woken. The shell arms one timer at `next()` and calls `run(now)` when it fires.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import ceil
from typing import Final

Wake = Callable[[float], None]
"""Called with `now` once the deadline has passed."""

COMPACT_ABOVE: Final = 1024
"""Cancelled entries stay in the heap until due; past this many, and half, it is made anew."""


class Deadline:
    """One appointment. `cancel()` may be called at any time, also after it came due."""

    __slots__ = ("_heap", "call", "when")

    def __init__(self, heap: Deadlines, when: float, call: Wake) -> None:
        self._heap = heap
        self.when = when
        self.call: Wake | None = call

    def cancel(self) -> None:
        """Forget it."""
        if self.call is not None:
            self.call = None
            self._heap._one_cancelled()


class Deadlines:
    """The heap."""

    __slots__ = ("_cancelled", "_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Deadline]] = []
        self._count = count()
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def at(self, when: float, call: Wake) -> Deadline:
        """Have `call(now)` made once `now >= when`; equal times in the order they were asked."""
        deadline = Deadline(self, when, call)
        heappush(self._heap, (when, next(self._count), deadline))
        return deadline

    def about(self, when: float, late: float, call: Wake) -> Deadline:
        """The same up to `late` seconds later, together with others: for what comes with every call
        and whose time is an estimate. To wake the loop costs more than most of that."""
        # a sum of times may be a hair above the multiple that it means
        return self.at(max(when, ceil(when / late - 1e-6) * late), call)

    def next(self) -> float | None:
        """When `run` is due next, None for never."""
        heap = self._heap
        while heap and heap[0][2].call is None:
            heappop(heap)
            self._cancelled -= 1
        return heap[0][0] if heap else None

    def run(self, now: float) -> None:
        """Make every call that is due. What a call adds for `now` or earlier is run too."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            deadline = heappop(heap)[2]
            call = deadline.call
            if call is None:
                self._cancelled -= 1
            else:
                deadline.call = None
                call(now)

    def _one_cancelled(self) -> None:
        self._cancelled += 1
        if self._cancelled > COMPACT_ABOVE and self._cancelled * 2 > len(self._heap):
            # in place: run() may be holding the list
            self._heap[:] = [entry for entry in self._heap if entry[2].call is not None]
            heapify(self._heap)
            self._cancelled = 0
