"""The side of a call that calls, until somebody answers: it has one fork after the other rung,
by the plan that routing made or by a pilot.

    ring ─► Attempt ─┬─ 2xx ─► on_answer
       ▲             └─ failed ─► without a pilot: the end, with the best failure
       └── pilot.failed ◄────┘
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.appserver.domain.best_response import best, end_reason, passed_status
from services.appserver.domain.leg import Leg
from services.appserver.domain.loops import Looped
from services.appserver.domain.plan import Fork, Target
from services.appserver.handlers.calls.attempt import Attempt, room
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.limits import DEFAULT_BREADTH, MAX_LEGS, STEERED_SECONDS
from services.appserver.handlers.calls.live import LiveCall, Party
from services.appserver.ports import LegFailure, Pilot
from tandem.rpc.directory import Account
from tandem.sip.message import Response

if TYPE_CHECKING:
    from services.appserver.handlers.calls.branch import Branch
    from tandem.sip.deadlines import Deadline


class Side:
    """What `Setup` and `Dialout` have in common."""

    caller: Party | None = None
    """Who waits, once that is a party of its own: for a callback, or for the other end."""
    from_value: str
    to_value: str
    """Whom the caller called; empty: each leg is called by its own name."""
    lines: list[str]
    """What the INVITEs of all branches have in common."""
    body: bytes
    width = MAX_LEGS
    """How many legs may ring at once."""
    share = DEFAULT_BREADTH
    """Max-Breadth of each leg of the fork that rings."""

    def __init__(self, board: Board, call: LiveCall, pilot: Pilot | None) -> None:
        self._board = board
        self._pilot = pilot
        self._attempt: Attempt | None = None
        self._limit: Deadline | None = None
        self.call = call
        self.max_seconds = 0
        """Longest duration by the fork that rings; 0: no limit of its own."""

    @property
    def full(self) -> bool:
        """Whether no more early dialogs are kept."""
        raise NotImplementedError

    @property
    def joining(self) -> bool:
        """Whether one end is being told of the other, which may offer nothing meanwhile."""
        return False

    @property
    def looped(self) -> Looped:
        """What we tell ourselves of it, when it comes back to us."""
        raise NotImplementedError

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The accounts at its ends."""
        raise NotImplementedError

    # -- ringing -------------------------------------------------------------------------------

    def steer(self, now: float) -> None:
        """From now on the pilot has it, but not for ever."""
        self._limit = self._board.deadlines.at(now + STEERED_SECONDS, self._steered_enough)

    def ring(self, fork: Fork, now: float) -> bool:
        """Ring these legs; False if something rings, or the caller waits for a callback."""
        if self._attempt is not None or self.call.waiter is not None:
            return False
        usable = [target for target in fork.targets if target.hops]
        places = min(room(self.call.value.legs), self.width)
        self.max_seconds = fork.max_seconds
        attempt = self.attempt(usable[:places], fork.ring_seconds, now)
        attempt.legs += (_no_way(target) for target in fork.targets if not target.hops)
        attempt.legs += (_too_many(target) for target in usable[places:])
        return True

    def attempt(self, targets: list[Target], ring_seconds: float, now: float) -> Attempt:
        """Ring these at once, for so long (0: as long as the switch allows)."""
        longest = self._board.limits.ring_seconds
        if not 0 < ring_seconds < longest:
            ring_seconds = longest
        attempt = self._attempt = Attempt(self._board, self)
        attempt.start(targets, ring_seconds, now)
        return attempt

    # -- from the attempt and its branches -----------------------------------------------------

    def pair(self, leg: Leg) -> Party:
        """The party of a new dialog of a branch."""
        raise NotImplementedError

    def on_progress(self, party: Party | None, response: Response, now: float) -> None:
        """A 1xx came."""
        raise NotImplementedError

    def on_answer(self, branch: Branch, party: Party, response: Response, now: float) -> None:
        """The first 2xx. Nothing rings any more."""
        raise NotImplementedError

    def on_failed(self, attempt: Attempt, now: float, *, timed_out: bool) -> None:
        """Nobody answered, and nothing rings any more."""
        self._attempt = None
        if self._pilot is not None:
            self._pilot.failed(tuple(attempt.legs), timed_out, now)
        elif timed_out:
            self.finish(480, now, "no answer")
        elif attempt.failures:
            chosen = best(attempt.failures)
            self.finish(passed_status(chosen.status), now, end_reason(chosen), chosen.response)
        else:
            self.finish(480, now, "not available")

    def proxy_lost(self, proxy: str, now: float) -> None:
        """A proxy is away."""
        if self._attempt is not None:
            self._attempt.proxy_lost(proxy, now)

    # -- ends ----------------------------------------------------------------------------------

    def join(self, party: Party, now: float) -> None:
        """The callback that it waited for is here."""
        raise NotImplementedError

    def cancelled(self, now: float) -> None:
        """Who called gave up."""
        raise NotImplementedError

    def hung_up(self, party: Party, now: float, reason: str = "") -> None:
        """One of its ends said BYE, or is gone for this reason; not one that rings."""
        if party.leg.number == 0:
            self.cancelled(now)

    def _steered_enough(self, now: float) -> None:
        self.finish(480, now, "no answer")

    def progress(self, status: int, reason: str, lines: tuple[str, ...], now: float) -> None:
        """Tell who calls how it goes. Nobody is told where we called first."""

    def refuse(
        self, status: int, reason: str, lines: tuple[str, ...], end_reason: str, now: float
    ) -> None:
        """The pilot ends the call."""
        self._pilot = None
        self.finish(status, now, end_reason, headers=lines, phrase=reason)

    def finish(
        self,
        status: int,
        now: float,
        reason: str,
        response: Response | None = None,
        headers: tuple[str, ...] = (),
        phrase: str = "",
    ) -> None:
        """End the call unanswered."""
        raise NotImplementedError

    def _stop_ringing(self, now: float) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.stop(now)

    def _end(self, now: float) -> None:
        """It is no side any more: somebody answered, or the call is over."""
        if self._attempt is not None:
            self._stop_ringing(now)
        if self._limit is not None:
            self._limit.cancel()
        self.call.setup = None

    def _answered(self, now: float) -> None:
        pilot, self._pilot = self._pilot, None
        if pilot is not None:
            pilot.answered(now)

    def _gone(self, reason: str, now: float) -> None:
        pilot, self._pilot = self._pilot, None
        self.call.gone(reason, now)
        if pilot is not None:
            pilot.gone(reason, now)


def _no_way(target: Target) -> LegFailure:
    return LegFailure(target, 480, "No way leads there")


def _too_many(target: Target) -> LegFailure:
    return LegFailure(target, 480, "Too many legs in one call")
