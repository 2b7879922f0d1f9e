"""How many dialplans run, of whom.

A run counts among its customer's until its call is answered: a script that then stays beside the
call, for a voice application's word as a rule, must not keep his other calls from theirs. Those
are counted by themselves. A script whose language holds a process while it waits counts as before.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from tandem.dialplan.script import Dialplan, Language
from tandem.dialplan.world import DialplanError

MAX_STAYING: Final = 50
"""Scripts of one customer that stay beside answered calls."""
LIGHT: Final = frozenset({Language.PYTHON, Language.LINES})
"""Languages whose scripts need no process while they wait."""


class Runs:
    """Those of one appserver, `most` at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.running: Counter[str] = Counter()
        """By customer, without those that stay."""
        self.staying: Counter[str] = Counter()

    def __len__(self) -> int:
        return self.running.total() + self.staying.total()

    def admits(self, dialplan: Dialplan) -> bool:
        """Whether one more run of it may begin."""
        return len(self) < self._most and self.running[dialplan.owner] < dialplan.max_executions

    def enter(self, dialplan: Dialplan) -> Place:
        """One more run begins."""
        return Place(self, dialplan)


class Place:
    """One run among the others."""

    def __init__(self, runs: Runs, dialplan: Dialplan) -> None:
        self._runs = runs
        self._owner = dialplan.owner
        self._light = dialplan.language in LIGHT
        self._counter = runs.running
        self._counter[self._owner] += 1

    def check(self) -> None:
        """Raises DialplanError if no more scripts of the customer may stay."""
        if self._runs.staying[self._owner] >= MAX_STAYING:
            raise DialplanError(f"{MAX_STAYING} dialplans of yours stay with their calls already")

    def stay(self) -> None:
        """Its call is answered, and it goes on beside it."""
        if self._light:
            self.leave()
            self._counter = self._runs.staying
            self._counter[self._owner] += 1

    def leave(self) -> None:
        """It is over."""
        self._counter[self._owner] -= 1
        if not self._counter[self._owner]:
            del self._counter[self._owner]
