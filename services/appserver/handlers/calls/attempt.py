"""The legs of one fork while they ring: the first 2xx wins (RFC 3261 §16.7 for a fork).

start ─► some ring, some wait for their delay
  ├─ a 3xx that is to be followed ─► its contacts ring, too
  ├─ a 2xx ─► the others are cancelled, the side that calls has an answer
  ├─ all that ring have failed ─► the next that wait start at once; nobody is left: failed
  ├─ a 6xx ─► the others are cancelled: failed
  └─ ring time over ─► all are cancelled: failed
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.appserver.domain.best_response import Failure
from services.appserver.domain.plan import SELF, Target
from services.appserver.domain.redirects import FOLLOWED, contacts_of
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.branch import Branch
from services.appserver.handlers.calls.limits import MAX_LEGS
from services.appserver.handlers.calls.redirect import Following
from services.appserver.ports import LegFailure
from tandem.sip.build import reason_phrase
from tandem.sip.message import Response

if TYPE_CHECKING:
    from services.appserver.handlers.calls.live import Party
    from services.appserver.handlers.calls.side import Side
    from tandem.sip.deadlines import Deadline


NOT_RUNG = "Not rung: it was over before"


class Attempt:
    """One fork. It ends once, by `Side.on_answer` or `Side.on_failed`, or is stopped."""

    __slots__ = (
        "_board", "_deadline", "_later", "_looking", "_next", "_side", "_tried", "branches",
        "failures", "legs", "over",
    )  # fmt: skip

    def __init__(self, board: Board, side: Side) -> None:
        self._board = board
        self._side = side
        self._deadline: Deadline | None = None
        self._later: list[tuple[float, Branch]] = []
        """Those that wait for their time, the next first."""
        self._next: Deadline | None = None
        self._looking: list[Branch] = []
        """Those that were redirected, while it is looked up where to."""
        self._tried: frozenset[str] = frozenset()
        """URIs that redirections named: none is rung twice."""
        self.branches: list[Branch] = []
        """Those that were rung."""
        self.failures: list[Failure] = []
        self.legs: list[LegFailure] = []
        """What a pilot hears of them."""
        self.over = False

    def start(self, targets: Sequence[Target], ring_seconds: float, now: float) -> None:
        """Ring them, each at its time; all together for so many seconds at most."""
        deadlines = self._board.deadlines
        ready = []
        for target in targets:
            branch = Branch(self._board, self._side, self, target)
            if target.options.delay:
                self._later.append((now + target.options.delay, branch))
            else:
                ready.append(branch)
        if not targets:  # never from inside of `ring`: who called it may not be ready to hear
            self._deadline = deadlines.at(now, self._go_on)
            return
        self._deadline = deadlines.at(now + ring_seconds, self._rang_enough)
        for branch in ready:
            self._ring(branch, now)
        if self._later:
            self._later.sort(key=lambda each: each[0])
            self._start_later(now, early=not ready)

    def _ring(self, branch: Branch, now: float) -> None:
        call = self._side.call.value
        call.legs = branch.number = call.legs + 1
        self.branches.append(branch)
        if branch.target.options.ring_seconds:
            branch.ring_for(branch.target.options.ring_seconds, now)
        branch.send(now)

    def _start_later(self, now: float, *, early: bool = False) -> None:
        """Ring those whose time has come; `early`: the next ones, whenever that is."""
        later = self._later
        due = later[0][0] if early else now
        while later and later[0][0] <= due:
            self._ring(later.pop(0)[1], now)
        if self._next is not None:
            self._next.cancel()
        self._next = self._board.deadlines.at(later[0][0], self._start_later) if later else None

    # -- from the branches ---------------------------------------------------------------------

    def on_answer(self, branch: Branch, party: Party, response: Response, now: float) -> None:
        """The first 2xx wins."""
        self.stop(now)
        self._side.on_answer(branch, party, response, now)

    def on_failure(self, branch: Branch, failure: Failure, now: float) -> None:
        """A branch failed for good. "6xx ... the proxy SHOULD cancel all pending" (§16.7)."""
        if branch.target.options.follow_redirects and self._follow(branch, failure, now):
            return
        self._note(branch, failure)
        if failure.status >= 600:
            self._fail(487, now)
        else:
            self._go_on(now)

    def _note(self, branch: Branch, failure: Failure) -> None:
        self.failures.append(failure)
        self.legs.append(leg_failure(branch.target, failure))

    def _go_on(self, now: float) -> None:
        """ "If nothing else is ringing", the next need not wait; without a next it is over."""
        if self._looking or not all(branch.over for branch in self.branches):
            return
        if self._later:
            self._start_later(now, early=True)
        else:
            self._fail(487, now)

    # -- redirections --------------------------------------------------------------------------

    def _follow(self, branch: Branch, failure: Failure, now: float) -> bool:
        """Whether it is a redirection to somebody whom we have not rung."""
        if failure.status not in FOLLOWED or failure.response is None:
            return False
        breadth = branch.breadth or self._side.share
        tried = self._tried | {each.target.uri for each in self.branches}
        uris = [uri for uri in contacts_of(failure.response) if uri not in tried][:breadth]
        hop = branch.hop
        proxy = hop.proxy if hop.proxy != SELF else self._side.looped.proxy
        if not uris or not proxy:
            return False
        self._tried = self._tried.union(uris)
        self._looking.append(branch)
        Following(self, branch, failure).start(self._board, uris, breadth, proxy, now)
        return True

    def add(self, target: Target, breadth: int, now: float) -> bool:
        """Ring a contact of a redirection; False if the call has no leg left for it."""
        if room(self._side.call.value.legs + len(self._later)) == 0:
            return False
        branch = Branch(self._board, self._side, self, target)
        branch.breadth = breadth
        self._ring(branch, now)
        return True

    def followed(self, branch: Branch, failure: Failure | None, now: float) -> None:
        """Its contacts ring, or with this failure lead nowhere."""
        self._looking.remove(branch)
        if failure is not None:
            self._note(branch, failure)
        self._go_on(now)

    # -- ends ----------------------------------------------------------------------------------

    def _rang_enough(self, now: float) -> None:
        self._fail(408, now, timed_out=True)

    def _fail(self, status: int, now: float, *, timed_out: bool = False) -> None:
        """All is over; `status` is said of those that ring still."""
        if self.over:
            return
        given_up = [branch for branch in self.branches if not branch.over] + self._looking
        self.legs += (leg_failure(branch.target, Failure(status, None)) for branch in given_up)
        self.legs += (LegFailure(branch.target, 487, NOT_RUNG) for _, branch in self._later)
        self.stop(now)
        self._side.on_failed(self, now, timed_out=timed_out)

    def stop(self, now: float) -> None:
        """CANCEL what rings. Nobody hears of this fork any more."""
        if self.over:
            return
        self.over = True
        if self._deadline is not None:
            self._deadline.cancel()
        if self._next is not None:
            self._next.cancel()
        if self._later:
            self._later.clear()
        if self._looking:
            self._looking.clear()
        branches, self.branches = self.branches, []
        for branch in branches:
            branch.give_up(now)

    def proxy_lost(self, proxy: str, now: float) -> None:
        """A proxy is away."""
        for branch in list(self.branches):
            branch.proxy_lost(proxy, now)


def room(legs: int) -> int:
    """How many legs a call may still ring that has rung so many."""
    return max(0, MAX_LEGS - legs)


def leg_failure(target: Target, failure: Failure) -> LegFailure:
    """What a pilot hears of a leg that ended so."""
    response = failure.response
    reason = (response.reason if response else "") or reason_phrase(failure.status)
    return LegFailure(target, failure.status, reason, contacts_of(response))
