"""Who waits for what a voice application hands back, and who is given it.

    POST /api/v1/signals/KEY ─► provisioning ─► put(keep=False) at every live appserver
                                     └─ nobody waited anywhere ─► put(keep=True) at every one

The call that will wait may be at any appserver, and only that one knows of it; so a signal that
comes early is kept by each. Copies that nobody takes end after KEEP_SECONDS.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from services.appserver.domain.signals import (
    MAX_WAITS,
    MAX_WAITS_OF_CUSTOMER,
    Mailboxes,
    TooManyWaits,
)
from tandem.runtime.metrics import Metrics
from tandem.sip.deadlines import Deadlines

MAX_SECONDS: Final = 3600.0
"""Longest wait for a signal: as long as a caller may listen to an application."""

_Waiting = asyncio.Future[str | None]


@dataclass(slots=True)
class Counts:
    """What happened, for metrics."""

    delivered: int = 0
    """Signals that somebody waited for."""
    kept: int = 0
    """Signals that came before their wait."""
    taken: int = 0
    """Kept signals that were waited for afterwards."""
    timed_out: int = 0
    """Waits that ended without a signal."""


class Signals:
    """Implements `ports.Signals`. `arm()` is called when a deadline was added."""

    def __init__(
        self, deadlines: Deadlines, clock: Callable[[], float], arm: Callable[[], None]
    ) -> None:
        self.counters = Counts()
        self._deadlines = deadlines
        self._clock = clock
        self._arm = arm
        self._kept = Mailboxes()
        self._waiting: dict[tuple[str, str], list[_Waiting]] = {}
        self._of: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many wait."""
        return self._of.total()

    def register(self, metrics: Metrics) -> None:
        """Show what happened, and who waits."""
        metrics.counters("tandem_signals", self.counters, "What voice applications handed back")
        metrics.gauge("tandem_signal_waits", lambda: len(self), "Who waits for signals")

    async def wait(self, customer: str, key: str, seconds: float) -> str | None:
        """The next signal, or an early one: see the port."""
        body = self._kept.take(customer, key, self._clock())
        if body is not None:
            self.counters.taken += 1
            return body
        if len(self) >= MAX_WAITS or self._of[customer] >= MAX_WAITS_OF_CUSTOMER:
            raise TooManyWaits("too many dialplans wait for signals")
        return await self._wait(customer, key, min(max(seconds, 0.0), MAX_SECONDS))

    async def _wait(self, customer: str, key: str, seconds: float) -> str | None:
        waiting: _Waiting = asyncio.get_running_loop().create_future()
        row = self._waiting.setdefault((customer, key), [])
        row.append(waiting)
        self._of[customer] += 1
        limit = self._deadlines.at(self._clock() + seconds, lambda now: self._late(waiting))
        self._arm()
        try:
            return await waiting
        finally:
            limit.cancel()
            row.remove(waiting)
            if not row:
                self._waiting.pop((customer, key), None)
            self._of[customer] -= 1
            if not self._of[customer]:
                del self._of[customer]

    def _late(self, waiting: _Waiting) -> None:
        if not waiting.done():
            self.counters.timed_out += 1
            waiting.set_result(None)

    def put(self, customer: str, key: str, body: str, *, keep: bool) -> tuple[int, bool]:
        """Give it to all who wait, or keep it: see the port."""
        # one that is done has its signal, or its time was over, and has not been run since
        waiting = [w for w in self._waiting.get((customer, key), ()) if not w.done()]
        for one in waiting:
            one.set_result(body)
        if waiting:
            self.counters.delivered += 1
        elif keep:
            self._kept.keep(customer, key, body, self._clock())
            self.counters.kept += 1
        return len(waiting), keep and not waiting
