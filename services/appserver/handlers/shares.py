"""What all customers share, a little of which each may have at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(slots=True)
class _Row:
    room: asyncio.Semaphore
    wanted: int = 0


class Shares:
    """`each` at once for one customer: who comes later waits until one of his own is given back,
    however many others there are."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._rows: dict[str, _Row] = {}

    def __len__(self) -> int:
        """Customers that have some, or wait."""
        return len(self._rows)

    async def take(self, customer: str) -> None:
        """Return when it is this one's turn."""
        row = self._rows.setdefault(customer, _Row(asyncio.Semaphore(self._each)))
        row.wanted += 1
        try:
            await row.room.acquire()
        except BaseException:
            self._leave(customer)
            raise

    def give_back(self, customer: str) -> None:
        """What was taken is needed no more."""
        self._rows[customer].room.release()
        self._leave(customer)

    def _leave(self, customer: str) -> None:
        row = self._rows[customer]
        row.wanted -= 1
        if not row.wanted:
            del self._rows[customer]
