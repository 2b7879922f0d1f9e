"""Next-call hints of this node: published to every proxy, acknowledged, said again to proxies
that come later, withdrawn (DESIGN §5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tandem.bus.hints import Hint, HintAcknowledged, HintsWanted, HintWithdrawn
from tandem.bus.ports import Bus, Envelope, Topic
from tandem.sip.deadlines import Deadlines

ACKNOWLEDGE_SECONDS: Final = 0.25
"""Longest wait for the acknowledgements: a caller listens. Measured, they take milliseconds."""


@dataclass(slots=True)
class Counters:
    """What happened, for metrics."""

    published: int = 0
    repeated: int = 0
    """Hints said again to a proxy that asked, or after the broker was away."""
    acknowledged: int = 0
    silent: int = 0
    """Live proxies that did not acknowledge in time."""
    withdrawn: int = 0


@dataclass(frozen=True, slots=True)
class Heard:
    """Who knows of a hint."""

    proxies: tuple[str, ...]
    silent: tuple[str, ...]
    seconds: float


class _Listening:
    """A hint whose acknowledgements are waited for."""

    def __init__(self, expected: Sequence[str], started: float) -> None:
        self.started = started
        self.missing = set(expected)
        self.heard: list[str] = []
        self.seconds = 0.0
        self.complete = asyncio.Event()


class Hints:
    """`proxies()` names the live proxies; none: nobody has to be told, and nothing is waited for.
    `arm()` is called when a deadline was added, `observe(seconds)` with the time from publishing a
    hint to the last acknowledgement, or to the end of the wait for it."""

    def __init__(
        self,
        bus: Bus,
        node: str,
        proxies: Callable[[], Sequence[str]],
        deadlines: Deadlines,
        clock: Callable[[], float],
        arm: Callable[[], None],
        observe: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.counters = Counters()
        self._bus = bus
        self._node = node
        self._proxies = proxies
        self._deadlines = deadlines
        self._clock = clock
        self._arm = arm
        self._observe = observe
        self._live: dict[str, Hint] = {}
        self._listening: dict[str, _Listening] = {}

    def __len__(self) -> int:
        return len(self._live)

    def start(self) -> None:
        """Hear the proxies from now on."""
        self._bus.subscribe(Topic.ANSWERS, self.take, name=f"{self._node}-answers")
        self._bus.on_resumed(self.repeat)

    def live(self) -> list[Hint]:
        """Those that hold, by expiry."""
        return sorted(self._live.values(), key=lambda hint: hint.expires_at)

    async def publish(self, hint: Hint) -> Heard:
        """Tell every proxy, and wait until all live ones have it, for ACKNOWLEDGE_SECONDS."""
        started = self._clock()
        listening = _Listening(self._proxies(), started)
        self._live[hint.id] = hint
        self._listening[hint.id] = listening
        self._bus.publish(Topic.HINTS, hint)
        self.counters.published += 1
        try:
            if listening.missing:
                await self._until_complete(listening)
        finally:
            del self._listening[hint.id]
        # one that was withdrawn meanwhile is nothing to be silent about
        silent = tuple(sorted(listening.missing)) if hint.id in self._live else ()
        self.counters.silent += len(silent)
        seconds = self._clock() - started if silent else listening.seconds
        if silent or listening.heard:
            self._observe(seconds)
        return Heard(tuple(sorted(listening.heard)), silent, seconds)

    async def _until_complete(self, listening: _Listening) -> None:
        end = listening.started + ACKNOWLEDGE_SECONDS
        limit = self._deadlines.at(end, lambda now: listening.complete.set())
        self._arm()
        try:
            await listening.complete.wait()
        finally:
            limit.cancel()

    def withdraw(self, hint: str, reason: str) -> None:
        """It holds no longer."""
        if self._live.pop(hint, None) is not None:
            self.counters.withdrawn += 1
            if hint in self._listening:
                self._listening[hint].complete.set()
            self._bus.publish(Topic.HINTS, HintWithdrawn(hint, reason))

    def repeat(self) -> None:
        """Say all live hints again: who has one already acknowledges it once more."""
        for hint in self.live():
            self.counters.repeated += 1
            self._bus.publish(Topic.HINTS, hint)

    async def take(self, batch: Sequence[Envelope]) -> None:
        """The subscriber of Topic.ANSWERS."""
        for envelope in batch:
            said = envelope.payload
            if isinstance(said, HintAcknowledged):
                self._acknowledged(said)
            elif isinstance(said, HintsWanted):
                self.repeat()

    def _acknowledged(self, said: HintAcknowledged) -> None:
        listening = self._listening.get(said.hint)
        if listening is None or said.proxy in listening.heard:
            return
        self.counters.acknowledged += 1
        listening.heard.append(said.proxy)
        listening.missing.discard(said.proxy)
        listening.seconds = self._clock() - listening.started
        if not listening.missing:
            listening.complete.set()
