"""Dialplans, providers and what customers may, at hand: a cache before `Programs`, for those who
can wait.

Like the accounts': what got old serves on while it is asked for anew, what changed is asked for
before it is used again, and what we have serves when nobody answers. Values and leases are not
cached: they pass through.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from tandem.dialplan.script import Dialplan
from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.programs import Customer, Programs, Provider

logger = logging.getLogger(__name__)

FETCH_SECONDS: Final = 3.0
"""Longest wait for provisioning: a caller listens to nothing meanwhile."""
RETRY_SECONDS: Final = 2.0
"""After a failed fetch the next one waits this long, so that an outage costs little."""
MAX_WAITING: Final = 2_000
"""Calls that wait for a fetch; for more nobody answers."""
MAX_WEIGHT: Final = 32_000_000
"""Characters at hand, of dialplans, of providers and of customers each; the longest unused
gives way."""
OVERHEAD: Final = 1_000
"""What an entry weighs, besides the characters of a dialplan."""
OF_PROVIDER: Final = 2_000
"""What a provider weighs."""
MAX_NAME: Final = 128
"""Characters of a name that provisioning is asked for; nothing has a longer one."""

Spawn = Callable[[Coroutine[Any, Any, None]], object]
Key = tuple[str, str]
"""The owner, and the name in lower case; "" for all of the owner's."""
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Ages:
    """How long an answer is believed, in seconds."""

    fresh: float
    """After this it is asked for again, while it serves."""
    usable: float
    """After this it is asked for before it serves; if nobody answers, it does."""
    missing: float
    """How long it is remembered that there is none."""


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    weight: int
    fresh_until: float
    usable_until: float


class _Shelf(Generic[V]):
    """Answers to questions of one kind. What is falsy is missing."""

    def __init__(
        self,
        ask: Callable[[Key], Awaitable[V]],
        weigh: Callable[[V], int],
        spawn: Spawn,
        clock: Callable[[], float],
        ages: Ages,
    ) -> None:
        self._ask = ask
        self._weigh = weigh
        self._spawn = spawn
        self._clock = clock
        self._ages = ages
        self._entries: OrderedDict[Key, _Entry[V]] = OrderedDict()
        self._weight = 0
        self._failed: dict[Key, float] = {}
        self._fetching: dict[Key, asyncio.Future[None]] = {}
        self._doubtful: set[Key] = set()
        self._waiting = 0

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: Key) -> V:
        """The answer. Raises DirectoryUnavailable when there is none and nobody can say."""
        entry, now = self._entries.get(key), self._clock()
        if entry is None or now >= entry.usable_until:
            if entry is None and self._failed.get(key, 0.0) > now:
                raise _unavailable()
            await self._wait(key)
            entry = self._entries.get(key)
            if entry is None:
                raise _unavailable()
        elif now >= entry.fresh_until:
            self._fetch(key)
        self._entries.move_to_end(key)
        return entry.value

    def invalidate(self, touches: Callable[[Key], bool]) -> None:
        """What these name must be asked for before it is used again."""
        for key, entry in self._entries.items():
            if touches(key):
                entry.fresh_until = entry.usable_until = float("-inf")
        for key in [key for key in self._failed if touches(key)]:
            del self._failed[key]
        self._doubtful.update(filter(touches, self._fetching))

    def doubt(self) -> None:
        """News may have been missed: what is there serves until it was asked for anew, and that
        something is missing is not believed."""
        for entry in self._entries.values():
            entry.fresh_until = float("-inf")
            if not entry.value:
                entry.usable_until = float("-inf")
        self._failed.clear()
        self._doubtful.update(self._fetching)

    async def _wait(self, key: Key) -> None:
        if self._waiting >= MAX_WAITING:
            raise DirectoryUnavailable("too many calls wait for provisioning")
        self._waiting += 1
        try:
            await asyncio.shield(self._fetch(key))
        finally:
            self._waiting -= 1

    def _fetch(self, key: Key) -> asyncio.Future[None]:
        """One fetch at a time for all who want the same; it goes on when they give up."""
        found = self._fetching.get(key)
        if found is None:
            found = self._fetching[key] = asyncio.get_running_loop().create_future()
            self._spawn(self._fetched(key, found))
        return found

    async def _fetched(self, key: Key, done: asyncio.Future[None]) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                value = await self._ask(key)
                while key in self._doubtful:  # it changed while we asked
                    self._doubtful.discard(key)
                    value = await self._ask(key)
            self._store(key, value)
        except (DirectoryUnavailable, TimeoutError):
            self._keep(key)
        except Exception:
            logger.exception("a look-up of a dialplan or of providers failed")
            self._keep(key)
        finally:
            self._doubtful.discard(key)
            del self._fetching[key]
            done.set_result(None)

    def _store(self, key: Key, value: V) -> None:
        now, ages = self._clock(), self._ages
        fresh, usable = (ages.fresh, ages.usable) if value else (ages.missing, ages.missing)
        self._drop(key)
        entry = _Entry(value, OVERHEAD + self._weigh(value), now + fresh, now + usable)
        self._entries[key] = entry
        self._weight += entry.weight
        self._failed.pop(key, None)
        while self._weight > MAX_WEIGHT and len(self._entries) > 1:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._weight -= entry.weight

    def _keep(self, key: Key) -> None:
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


class ProgramCache:
    """Dialplans, providers and customers by owner and name, whatever the name's case. All
    look-ups raise DirectoryUnavailable when nothing is known and provisioning does not answer."""

    def __init__(
        self, programs: Programs, spawn: Spawn, clock: Callable[[], float], ages: Ages
    ) -> None:
        self.programs = programs
        """What passes uncached: leases."""
        self._dialplans = _Shelf(self._ask_dialplan, _weight_of, spawn, clock, ages)
        self._customers = _Shelf(self._ask_customer, _weight_of_none, spawn, clock, ages)
        self._providers = _Shelf(self._ask_providers, _weight_of_all, spawn, clock, ages)

    def __len__(self) -> int:
        """How many dialplans are at hand."""
        return len(self._dialplans)

    async def dialplan(self, owner: str, name: str) -> Dialplan | None:
        """A customer's dialplan in the version that is published."""
        if len(name) > MAX_NAME or not name.isprintable():
            return None
        return await self._dialplans.get((owner, name.lower()))

    async def customer(self, username: str) -> Customer:
        """What a customer may; one that nobody knows has no limits of his own."""
        return await self._customers.get((username, "")) or Customer(username)

    async def providers(self, owner: str) -> Sequence[Provider]:
        """A customer's providers."""
        return await self._providers.get((owner, ""))

    async def provider(self, owner: str, name: str) -> Provider | None:
        """The one that a dial string names after @."""
        wanted = name.lower()
        found = (p for p in await self.providers(owner) if p.name.lower() == wanted)
        return next(found, None)

    async def read_value(self, owner: str, key: str) -> str | None:
        """A value of the customer's store, as it is now."""
        return await _bounded(self.programs.read_value(owner, key))

    async def write_value(self, owner: str, key: str, value: str | None) -> bool:
        """Set or remove one; see `Programs.write_value`. Its own time-outs hold: one that is
        broken off here might have been done."""
        return await self.programs.write_value(owner, key, value)

    async def value_keys(self, owner: str) -> list[str]:
        """The keys in use."""
        return await _bounded(self.programs.value_keys(owner))

    def invalidate(self, kind: str, changed: str) -> None:
        """What `DirectoryChanged` names must be asked for before it is used again."""
        owner, _, name = changed.partition("/")
        if kind == "dialplan":
            one = (owner, name.lower())
            self._dialplans.invalidate(lambda key: key == one)
        elif kind == "provider":
            self._providers.invalidate(lambda key: key[0] == owner)
        elif kind == "customer":
            self._customers.invalidate(lambda key: key[0] == changed)
            self._dialplans.invalidate(lambda key: key[0] == changed)
            self._providers.invalidate(lambda key: key[0] == changed)

    def doubt(self) -> None:
        """News may have been missed."""
        self._customers.doubt()
        self._dialplans.doubt()
        self._providers.doubt()

    async def _ask_dialplan(self, key: Key) -> Dialplan | None:
        return await self.programs.dialplan(*key)

    async def _ask_customer(self, key: Key) -> Customer | None:
        return await self.programs.customer(key[0])

    async def _ask_providers(self, key: Key) -> tuple[Provider, ...]:
        return tuple(await self.programs.providers(key[0]))


async def _bounded(answer: Awaitable[V]) -> V:
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            return await answer
    except TimeoutError:
        raise _unavailable() from None


def _unavailable() -> DirectoryUnavailable:
    return DirectoryUnavailable("provisioning does not answer")


def _weight_of(dialplan: Dialplan | None) -> int:
    return len(dialplan.source) if dialplan else 0


def _weight_of_none(customer: Customer | None) -> int:
    return 0


def _weight_of_all(providers: Sequence[Provider]) -> int:
    return OF_PROVIDER * len(providers)
