"""What all customers share, a little of which each may have at once."""

from __future__ import annotations

from collections import Counter


class Shares:
    """`most` at once in all, `each` of one customer."""

    def __init__(self, most: int, each: int) -> None:
        self._most = most
        self._each = each
        self._taken: Counter[str] = Counter()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def take(self, customer: str) -> bool:
        """Whether this customer may have one more; then it is his until it is given back."""
        if self._count >= self._most or self._taken.get(customer, 0) >= self._each:
            return False
        self._taken[customer] += 1
        self._count += 1
        return True

    def give_back(self, customer: str) -> None:
        """He needs it no more."""
        self._count -= 1
        self._taken[customer] -= 1
        if not self._taken[customer]:
            del self._taken[customer]
