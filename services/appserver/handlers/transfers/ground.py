"""A run of a dialplan that has no call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.appserver.domain.plan import Fork
from services.appserver.handlers.dialplans.dialer import Rung
from services.appserver.handlers.dialplans.flight import REFUSED, Flight
from services.appserver.ports import Steering
from tandem.dialplan.world import DialplanError


class Ground(Flight):
    """It has nobody to join to whom it dials: it calls by `sys.callback`, whose calls are their
    own. `call_id` is no call's, but by it the run's events are found."""

    def __init__(
        self,
        steering: Steering,
        clock: Callable[[], float],
        arm: Callable[[], None],
        run_id: str,
    ) -> None:
        super().__init__(steering, clock, arm)
        self.call_id = run_id

    async def ring(self, fork: Fork) -> Rung:
        """Refused."""
        raise DialplanError("nobody called, so that nobody can be dialled: use sys.callback")

    def progress(self, status: int, reason: str, lines: Sequence[str]) -> None:
        """Nobody hears it."""
        self._still()

    def refuse(self, status: int, reason: str, lines: Sequence[str] = ()) -> None:
        """The run is over."""
        if not self.over:
            self.over, self.status = REFUSED, status
