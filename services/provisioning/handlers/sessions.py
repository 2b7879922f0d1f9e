"""Tokens and API keys to principals: implements `tandem.rpc.sessions.Sessions`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from services.provisioning.domain.scope import EVERYTHING
from services.provisioning.domain.secrets import at_rest
from services.provisioning.ports import Clock, Store
from tandem.bus.directory import DirectoryChanged
from tandem.bus.ports import Envelope
from tandem.rpc.sessions import Principal

MAX_CACHED: Final = 10_000
"""Verified tokens that are remembered, about 300 bytes each."""


class StoredSessions:
    """Asks the database, and believes what it said for some seconds."""

    def __init__(self, store: Store, clock: Clock, *, cache_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._cache_seconds = cache_seconds
        self._known: OrderedDict[str, tuple[Principal, float]] = OrderedDict()
        self._forgotten = 0

    async def verify(self, token: str) -> Principal | None:
        """The holder, or None. Raises DirectoryUnavailable."""
        key, now = at_rest(token), self._clock()
        known = self._known.get(key)
        if known is not None and now < known[1]:
            return known[0]
        before = self._forgotten
        async with self._store.read(EVERYTHING) as work:
            holder = await work.tokens.holder(key, now)
        # What was forgotten while we asked must not come back from an answer of before.
        if holder is not None and before == self._forgotten:
            self._remember(key, holder, now + self._cache_seconds)
        return holder

    def forget(self, username: str) -> None:
        """Ask again for this customer's tokens: one ended, or its holder changed."""
        self._forgotten += 1
        for key in [key for key, (holder, _) in self._known.items() if holder.username == username]:
            del self._known[key]

    async def take(self, batch: Sequence[Envelope]) -> None:
        """Subscriber of Topic.DIRECTORY: another instance may have changed a customer. What it
        does not tell, a logout there, holds when the cache has expired."""
        for envelope in batch:
            changed = envelope.payload
            if isinstance(changed, DirectoryChanged) and changed.kind == "customer":
                self.forget(changed.key)

    def _remember(self, key: str, holder: Principal, until: float) -> None:
        self._known[key] = (holder, until)
        self._known.move_to_end(key)
        if len(self._known) > MAX_CACHED:
            self._known.popitem(last=False)
