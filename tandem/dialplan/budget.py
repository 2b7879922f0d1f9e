"""What one run has used of its limits. Runners of all languages count with it."""

from __future__ import annotations

from collections.abc import Callable

from tandem.dialplan.script import Limits


class Exceeded(Exception):
    """A limit is reached; `limit` names it as `ScriptFault` does."""

    def __init__(self, text: str, limit: str) -> None:
        super().__init__(text)
        self.limit = limit


class Budget:
    """Counts from its making. `now` is the run's own clock: a dry run's is not the machine's."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self.limits = limits
        self._now = now
        self._began = now()
        self._free = self._executed = 0.0
        self.calls = self._carried = 0

    def call(self) -> None:
        """One more use of `sys`."""
        self.calls += 1
        if self.calls > self.limits.calls:
            raise Exceeded(f"more than {self.limits.calls} uses of sys", "calls")
        self.look()

    def executed(self, seconds: float) -> None:
        """The script itself has run for so long."""
        self._executed += seconds
        if self._executed > self.limits.total_cpu_seconds:
            most = self.limits.total_cpu_seconds
            raise Exceeded(f"it computed for more than {most:g} seconds in all", "time")

    def carried(self, chars: int) -> None:
        """The script has handed over so much."""
        self._carried += chars
        if self._carried > self.limits.carried_chars:
            most = self.limits.carried_chars
            raise Exceeded(f"it handed more than {most} characters to sys", "memory")

    def free(self, seconds: float) -> None:
        """So much of the time was spent on what does not count: ringing, waiting for a call."""
        self._free += max(0.0, seconds)

    def look(self) -> None:
        """Is there time left?"""
        if self.left() <= 0:
            raise Exceeded(f"it took more than {self.limits.wall_seconds:g} seconds", "time")
        if self._now() - self._began > self.limits.longest_seconds:
            raise Exceeded(f"it lasted more than {self.limits.longest_seconds:g} seconds", "time")

    def sleep(self, seconds: float) -> None:
        """The script wants to sleep: refused at once when its time would be over before."""
        if not seconds < self.left():
            raise Exceeded(
                f"it would sleep beyond its {self.limits.wall_seconds:g} seconds", "time"
            )

    def left(self) -> float:
        """Seconds until its time is over."""
        return self.limits.wall_seconds - (self._now() - self._began - self._free)
