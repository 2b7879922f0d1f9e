"""The next-call hints that are live (DESIGN §5), by the user that the call is addressed to."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from tandem.bus.hints import MAX_DOTS, MAX_USERS, Hint, pattern_matches, rank

MAX_HINTS: Final = 20_000
"""About 2 kB each with a handful of users; past that a new one is refused, and not acknowledged."""


class Waiting:
    """A hint in the table. Of several that fit, the least `rank` is the call's."""

    __slots__ = ("domains", "hint", "rank")

    def __init__(self, hint: Hint) -> None:
        self.hint = hint
        self.domains = frozenset(domain.lower().encode() for domain in hint.domains)
        self.rank = rank(hint)


class HintTable:
    """Takes hints and finds them. Its public numbers are for metrics."""

    def __init__(self) -> None:
        self.users: dict[bytes, list[Waiting]] = {}
        """By user part, each list by rank. Empty: there is no hint, and nothing need be asked."""
        self.on_added: Callable[[], None] = lambda: None
        self.matched = 0
        self.expired = 0
        self.withdrawn = 0
        self.refused = 0
        self._by_id: dict[str, Waiting] = {}
        self._ends: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, hint_id: str) -> bool:
        return hint_id in self._by_id

    def appservers(self) -> set[str]:
        """Who has published them."""
        return {waiting.hint.appserver for waiting in self._by_id.values()}

    def add(self, hint: Hint, now: float) -> bool:
        """Keep it from now on; `now` is Unix time. Returns whether it is in the table: no for one
        that has expired, or that there is no room for."""
        if hint.id in self._by_id:
            return True
        if hint.expires_at <= now or len(self._by_id) >= MAX_HINTS:
            self.refused += 1
            return False
        waiting = self._by_id[hint.id] = Waiting(hint)
        for user in _keys(hint):
            row = [*self.users.get(user, ()), waiting]
            self.users[user] = sorted(row, key=lambda each: each.rank)
        heapq.heappush(self._ends, (hint.expires_at, hint.id))
        self.on_added()
        return True

    def withdraw(self, hint_id: str) -> None:
        """It holds no longer; one that is unknown may have expired."""
        if self._remove(hint_id):
            self.withdrawn += 1

    def expire(self, now: float) -> None:
        """Drop those whose time is over."""
        ends = self._ends
        while ends and (ends[0][0] <= now or ends[0][1] not in self._by_id):
            _, hint_id = heapq.heappop(ends)
            if self._remove(hint_id):
                self.expired += 1

    def waiting(self, uri: bytes) -> Sequence[Waiting]:
        """The hints for the user and host of a Request-URI, the caller not asked yet."""
        start, at = uri.find(b":") + 1, uri.find(b"@")
        if at < start:
            return ()
        user = uri[start:at].partition(b";")[0].partition(b":")[0]
        if b"%" in user:
            user = unquote_to_bytes(user)
        rows = _rows(self.users, user.lower())
        if not rows:
            return ()
        host = _host(uri[at + 1 :])
        return [each for each in rows if not each.domains or host in each.domains]

    def match(
        self, waiting: Sequence[Waiting], caller: str, alive: Container[str], now: float
    ) -> str | None:
        """The appserver of the first that this caller fits, None for no such one. A hint of an
        appserver that is gone, or whose time is over, counts for nothing."""
        for each in waiting:
            hint = each.hint
            if (
                hint.expires_at > now
                and hint.appserver in alive
                and pattern_matches(hint.pattern, caller)
            ):
                self.matched += 1
                return hint.appserver
        return None

    def _remove(self, hint_id: str) -> bool:
        gone = self._by_id.pop(hint_id, None)
        if gone is None:
            return False
        for user in _keys(gone.hint):
            row = [each for each in self.users[user] if each is not gone]
            if row:
                self.users[user] = row
            else:
                del self.users[user]
        if len(self._ends) > 2 * len(self._by_id) + 64:  # mostly of hints that were withdrawn
            self._ends = [end for end in self._ends if end[1] in self._by_id]
            heapq.heapify(self._ends)
        return True


def _keys(hint: Hint) -> frozenset[bytes]:
    return frozenset(user.lower().encode() for user in hint.users[:MAX_USERS] if user)


def _rows(users: dict[bytes, list[Waiting]], user: bytes) -> list[Waiting]:
    """The hints for this user, in the order of their rank; `anything.username` is username's."""
    found = users.get(user, [])
    rest = user
    for _ in range(MAX_DOTS):
        _, dot, rest = rest.partition(b".")
        if not dot:
            return found
        more = users.get(rest)
        if more:
            both = {id(each): each for each in (*found, *more)}
            found = sorted(both.values(), key=lambda each: each.rank)
    return found


def _host(rest: bytes) -> bytes:
    """The host of what follows the @ in a URI, lower case."""
    rest = rest.partition(b";")[0].partition(b"?")[0].lower()
    if rest.startswith(b"["):
        return rest.partition(b"]")[0] + b"]"
    return rest.partition(b":")[0]
