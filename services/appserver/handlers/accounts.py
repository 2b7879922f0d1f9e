"""Accounts at hand: a cache before the Directory, so that the path of a message never waits.

`get` answers at once. Where it can't, the caller parks its message with `wait` and is called back
when one fetch has ended, whatever came of it; then `get` has something to say. An entry that got
old serves on while it is asked for anew, and an entry that got very old serves on when nobody
answers: provisioning may be away for an hour.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from tandem.rpc.directory import Account, Directory, DirectoryUnavailable

logger = logging.getLogger(__name__)

FETCH_SECONDS: Final = 3.0
"""Longest wait for the Directory: callers retransmit and give up after 32 s."""
RETRY_SECONDS: Final = 2.0
"""After a failed fetch the next one waits this long, so that an outage costs little."""
MAX_WAITING: Final = 2_000
"""Messages that wait for a fetch, about 3 kB each; more are answered 503."""
MAX_NAME: Final = 128
"""Characters of a user name that the Directory is asked for; no account has a longer one."""

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Miss(Enum):
    """Why there is no answer."""

    UNKNOWN = "not asked yet"
    UNAVAILABLE = "the directory does not answer"


@dataclass(slots=True)
class _Entry:
    account: Account | None
    fresh_until: float
    usable_until: float


class AccountCache:
    """Look-ups by user name (in any case) and canonical domain. Times are of a steady clock."""

    def __init__(
        self,
        directory: Directory,
        spawn: Spawn,
        clock: Callable[[], float],
        *,
        fresh_seconds: float,
        usable_seconds: float,
        missing_seconds: float,
        limit: int,
    ) -> None:
        self._directory = directory
        self._spawn = spawn
        self._clock = clock
        self._fresh = fresh_seconds
        self._usable = usable_seconds
        self._missing = missing_seconds
        self._limit = limit
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._failed: dict[str, float] = {}
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        self._doubtful: set[str] = set()
        self._parked = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, username: str, domain: str, now: float) -> Account | Miss | None:
        """The account, None if there is none, or why nobody can say."""
        if len(username) > MAX_NAME or not username.isprintable():
            return None  # bytes that are no UTF-8, control characters: not for any database
        key = f"{username.lower()}@{domain}"
        entry = self._entries.get(key)
        if entry is None:
            return Miss.UNAVAILABLE if self._failed.get(key, 0.0) > now else Miss.UNKNOWN
        if now >= entry.fresh_until:
            if now >= entry.usable_until:
                return Miss.UNKNOWN
            self._ask(key)
        self._entries.move_to_end(key)
        return entry.account

    def wait(self, username: str, domain: str, then: Callable[[], None]) -> bool:
        """Call `then` when a fetch has ended. False: too many wait already."""
        if self._parked >= MAX_WAITING:
            return False
        self._parked += 1
        key = f"{username.lower()}@{domain}"
        self._ask(key)
        self._waiting[key].append(then)
        return True

    def invalidate(self, kind: str, changed: str) -> None:
        """What `DirectoryChanged` names must be asked for before it is used again."""
        if kind == "sip-account":
            username, _, domain = changed.rpartition("@")
            self._invalidate(f"{username.lower()}@{domain.lower()}")
            return
        for key, entry in self._entries.items():
            if _touches(kind, changed, entry):
                self._invalidate(key)

    def doubt(self) -> None:
        """News may have been missed: all is asked for anew when it is next used. What is known
        serves until the answer is there; that an account does not exist is not believed."""
        for entry in self._entries.values():
            entry.fresh_until = float("-inf")
            if entry.account is None:
                entry.usable_until = float("-inf")
        self._failed.clear()
        self._doubtful.update(self._waiting)

    def _invalidate(self, key: str) -> None:
        entry = self._entries.get(key)
        if entry is not None:
            entry.fresh_until = entry.usable_until = float("-inf")
        self._failed.pop(key, None)
        if key in self._waiting:
            self._doubtful.add(key)

    def _ask(self, key: str) -> None:
        if key not in self._waiting:
            self._waiting[key] = []
            self._spawn(self._fetch(key))

    async def _fetch(self, key: str) -> None:
        username, _, domain = key.rpartition("@")
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                account = await self._directory.account(username, domain)
                while key in self._doubtful:  # it changed while we asked
                    self._doubtful.discard(key)
                    account = await self._directory.account(username, domain)
            self._store(key, account)
        except (DirectoryUnavailable, TimeoutError):
            self._keep(key)
        except Exception:
            logger.exception("look-up of an account failed")
            self._keep(key)
        finally:
            self._doubtful.discard(key)
            self._release(key)

    def _store(self, key: str, account: Account | None) -> None:
        now = self._clock()
        fresh = self._fresh if account is not None else self._missing
        usable = self._usable if account is not None else self._missing
        self._entries[key] = _Entry(account, now + fresh, now + usable)
        self._entries.move_to_end(key)
        self._failed.pop(key, None)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def _keep(self, key: str) -> None:
        """Stale if error: what we have serves on until the next try."""
        again = self._clock() + RETRY_SECONDS
        entry = self._entries.get(key)
        if entry is not None:
            entry.fresh_until = again
            entry.usable_until = max(entry.usable_until, again)
            return
        if len(self._failed) > MAX_WAITING:
            self._failed.clear()
        self._failed[key] = again

    def _release(self, key: str) -> None:
        waiting = self._waiting.pop(key, [])
        self._parked -= len(waiting)
        for then in waiting:
            try:
                then()
            except Exception:
                logger.exception("a message that waited for an account failed")


def _touches(kind: str, changed: str, entry: _Entry) -> bool:
    account = entry.account
    if kind not in ("customer", "domain"):
        return False
    if account is None:
        return True
    if kind == "customer":
        return account.owner == changed
    return kind != "domain" or account.domain.lower() == changed.lower()
