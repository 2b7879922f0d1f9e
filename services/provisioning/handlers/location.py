"""The durable copy of the bindings.

Two things are weighed. A binding that was added or removed must not be lost, not even by a crash;
refreshes, most of the news, must be cheap: what a crash would lose of one is that a phone's time
went on, and the phone says so again before the time that is stored has passed.

So refreshes are always written behind, many at a time, the newest of each binding. Where a broker
keeps what `take` has not returned from (`kept`), all else is written before it returns: with the
database away it raises, and the broker keeps the batch for hours if need be. Where nobody keeps it
(one process, a bus in memory) all is written behind, since waiting would save nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from itertools import islice
from typing import Final

from services.provisioning.domain.scope import EVERYTHING, Scope
from services.provisioning.domain.versions import newer
from services.provisioning.ports import Clock, Page, Store
from tandem.bus.location import Binding, BindingRemoved, BindingStored
from tandem.bus.ports import Envelope, Later
from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.sessions import Principal

MAX_PENDING: Final = 200_000
"""Bindings that wait for the database, about 1 kB each; beyond, a broker keeps the rest, or without
one the oldest word is dropped and counted: the phone's next REGISTER repeats it."""
BATCH: Final = 1000
"""Bindings in one transaction: short enough to let others write in between."""

_log = logging.getLogger(__name__)

_Key = tuple[str, str, str, int]
_News = BindingStored | BindingRemoved


class LocationCopy:
    """Subscriber of Topic.LOCATION. `kept`: whether the bus gives a batch again for which `take`
    raised, also after a crash in the middle (Keep.SHARED on a broker)."""

    def __init__(self, store: Store, clock: Clock, *, kept: bool = False) -> None:
        self._store = store
        self._clock = clock
        self._kept = kept
        self._pending: OrderedDict[_Key, _News] = OrderedDict()
        self._renewals: OrderedDict[_Key, _News] = OrderedDict()
        self._turn = asyncio.Lock()
        self._failing = False
        self.dropped = 0
        """Words on bindings that gave way to newer ones before they could be written."""

    def __len__(self) -> int:
        """How many bindings wait to be written."""
        return len(self._pending) + len(self._renewals)

    async def take(self, batch: Sequence[Envelope]) -> None:
        """Note the newest word on each binding; if `kept`, write all but refreshes. Raises Later
        when it can't, or when too many refreshes wait already."""
        if self._kept and len(self) >= MAX_PENDING and not await self.flush_or_log():
            raise Later("too many bindings wait for the database")
        for envelope in batch:
            if isinstance(envelope.payload, BindingStored | BindingRemoved):
                self._note(envelope.payload)
        # Also what an earlier batch left: with the database away none may be taken, not even one of
        # refreshes, or the bus would hold the others for bad ones and set them aside.
        if self._kept and self._pending and not await self.flush_or_log(renewals=False):
            raise Later("bindings wait for the database")

    async def flush(self, *, renewals: bool = True) -> None:
        """Write what waits, or all but refreshes. Raises DirectoryUnavailable, and then it goes
        on waiting."""
        async with self._turn:
            if renewals:
                self._pending.update(self._renewals)
                self._renewals.clear()
            while self._pending:
                await self._flush_some()

    async def _flush_some(self) -> None:
        news = [self._pending.pop(key) for key in list(islice(self._pending, BATCH))]
        try:
            await self._write(news)
        except BaseException:
            for one in news:
                self._note_again(one)
            raise

    async def purge(self) -> None:
        """Delete expired bindings, tokens and keys. Raises DirectoryUnavailable."""
        now = self._clock()
        async with self._store.write(EVERYTHING) as work:
            await work.bindings.purge(now)
            await work.tokens.purge(now)

    async def page(
        self, caller: Principal, offset: int, count: int, aor: str = ""
    ) -> Page[Binding]:
        """A piece of the caller's live bindings, or of those of one AOR; as they are stored, when
        the database takes no writes for a while."""
        await self.flush_or_log()
        async with self._store.read(Scope.of(caller)) as work:
            return await work.bindings.page(offset, count, self._clock(), aor)

    async def pieces(self) -> AsyncIterator[Sequence[Binding]]:
        """All live bindings, BATCH at a time, each read in a short transaction of its own: what
        changes meanwhile may be missing, and comes over the location topic. Raises
        DirectoryUnavailable."""
        await self.flush_or_log()
        now, last = self._clock(), ""
        while True:
            async with self._store.read(EVERYTHING) as work:
                piece, last = await work.bindings.after(last, BATCH, now)
            yield piece
            if not last:
                return

    async def live(self) -> list[Binding]:
        """All live bindings. Raises DirectoryUnavailable."""
        await self.flush_or_log()
        async with self._store.read(EVERYTHING) as work:
            return list(await work.bindings.live(self._clock()))

    def _note(self, news: _News) -> None:
        key = _key(news.binding)
        waiting = self._pending.get(key) or self._renewals.get(key)
        if waiting and not _replaces(news, waiting):
            return
        box = self._pending
        if _is_refresh(news) and key not in box:
            box = self._renewals
        else:
            self._renewals.pop(key, None)
        box[key] = news
        if len(box) > MAX_PENDING and not self._kept:
            box.popitem(last=False)
            self.dropped += 1

    def _note_again(self, news: _News) -> None:
        """Put back what could not be written, unless there is newer news by now."""
        key = _key(news.binding)
        if key not in self._pending and key not in self._renewals:
            self._pending[key] = news

    async def _write(self, news: Sequence[_News]) -> None:
        removed = [n.binding for n in news if isinstance(n, BindingRemoved)]
        async with self._store.write(EVERYTHING) as work:
            await work.bindings.remove(removed, self._clock())
            await work.bindings.store(n.binding for n in news if isinstance(n, BindingStored))

    async def flush_or_log(self, *, renewals: bool = True) -> bool:
        """`flush` for those to whom a database that is away is no fault: whether it could. The
        beginning and the end of its absence are logged, not each try."""
        try:
            await self.flush(renewals=renewals)
        except DirectoryUnavailable as fault:
            if not self._failing:
                self._failing = True
                _log.warning("bindings wait to be written: %s", fault)
            return False
        if self._failing:
            self._failing = False
            _log.warning("bindings are written again")
        return True


def _is_refresh(news: _News) -> bool:
    return isinstance(news, BindingStored) and news.renewed


def _replaces(news: _News, waiting: _News) -> bool:
    if isinstance(waiting, BindingRemoved):
        return newer(news.binding, waiting.binding)
    return not newer(waiting.binding, news.binding)


def _key(binding: Binding) -> _Key:
    if binding.instance:
        return binding.aor, "instance", binding.instance, binding.reg_id
    return binding.aor, "contact", binding.contact, 0
