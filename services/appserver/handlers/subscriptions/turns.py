"""Work for many subscribers, some of it in each turn of the loop, so that calls go on meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from services.appserver.handlers.subscriptions.delivery import Subscriber
from services.appserver.handlers.tools import Tools

PER_TURN: Final = 100
"""NOTIFYs sent in one turn: some milliseconds."""
TURN_SECONDS: Final = 0.01
"""From a change to the turn that tells it, and between two turns: the message that brought the
change is done with by then, and what else it brings."""


class Turns:
    """Does `work(subscriber, now)` for each one added, once, in the order in which they came; not
    for those who are over by then."""

    def __init__(self, tools: Tools, work: Callable[[Subscriber, float], None]) -> None:
        self._tools = tools
        self._work = work
        self._waiting: dict[Subscriber, None] = {}
        self._set = False

    def add(self, subscribers: Iterable[Subscriber]) -> None:
        """Have these wait for their turn."""
        self._waiting |= dict.fromkeys(subscribers)
        self._arm()

    def clear(self) -> None:
        """Nobody waits any more."""
        self._waiting.clear()

    def _arm(self) -> None:
        if self._waiting and not self._set:
            self._set = True
            self._tools.deadlines.at(self._tools.clock() + TURN_SECONDS, self._turn)

    def _turn(self, now: float) -> None:
        self._set = False
        for _ in range(min(PER_TURN, len(self._waiting))):
            subscriber = next(iter(self._waiting))
            del self._waiting[subscriber]
            if not subscriber.over:
                self._work(subscriber, now)
        self._arm()
