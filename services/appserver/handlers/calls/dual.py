"""The far ends of two calls are joined to each other, and the other two hang up: what an attended
transfer comes to (RFC 5589 §7), and a transfer of two legs by HTTP.

    one ─► re-INVITE with what the other last said ─► its answer ─► re-INVITE of the other ─► joined
             └─ refused: both calls are as they were      and one is told again ◄─┤ it moved
                                                                 refused: one is told ◄┘ as before
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.appserver.domain.sdp import opened, places_of
from services.appserver.domain.transfers import Order
from services.appserver.handlers.calls import records, timers
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.live import LiveCall, Party
from services.appserver.handlers.calls.moving import Move, Moving
from services.appserver.handlers.calls.offering import Offering

if TYPE_CHECKING:
    from services.appserver.domain.leg import Leg
    from services.appserver.domain.plan import Fork
    from services.appserver.handlers.calls.branch import Branch
    from services.appserver.handlers.calls.notifier import Notifier
    from tandem.sip.message import Response


class Dual(Moving):
    """Such a call until its ends are joined."""

    def __init__(
        self, board: Board, call: LiveCall, first: Party, second: Party, notifier: Notifier | None
    ) -> None:
        one, other = Move(first, 0), Move(second, 1)
        super().__init__(board, call, (one, other), None, notifier)
        self._caller, self._callee = one, other
        if _said(one) is not None and _said(other) is None:
            one, other = other, one
        self._first, self._second = one, other
        """Who is told first, and who then."""
        self._told = b""
        """What the first was told."""
        self._answer = b""
        """What it said to that."""

    def start(self, now: float) -> None:
        """Tell one end of the other."""
        told = _said(self._second)
        if told is None:
            self.finish(488, now, "media not acceptable")
            return
        self._told = told
        self._offer(self._first, told, now)

    def ring(self, fork: Fork, now: float) -> bool:
        """Nobody is rung: both ends are there."""
        return False

    def _on_offered(self, move: Move, status: int, answer: bytes, now: float) -> None:
        said = move.stayer.leg.said(answer)
        if status >= 300:
            self._refused(move, status, now)
        elif not said:
            self._refused(move, 488, now)
        elif move is self._first:
            self._answer = said
            self._offer(self._second, said, now)
        else:
            self._both(said, now)

    def _both(self, said: bytes, now: float) -> None:
        """Both have said yes."""
        callee = self._callee.stayer
        self._join(self._caller.stayer, callee, _uri(callee.leg), now)
        if places_of(said) != places_of(self._told):
            Offering(self._board, self._first.stayer, said, self._on_told).send(now)

    def _on_told(self, status: int, answer: bytes, now: float) -> None:
        """As in `transfer.Transfer`."""
        if status in timers.GONE:
            timers.vanished(self._board, self._first.stayer, status, now)

    def _drop(self, status: int, reason: str, now: float) -> None:
        """Who was told already is told otherwise, unless its offer is still under way."""
        if self._answer and self._first.offer is None:
            self._restore(self._first, now)

    # -- nobody rings --------------------------------------------------------------------------

    def pair(self, leg: Leg) -> Party:
        """Never: nobody is rung."""
        raise NotImplementedError

    def on_progress(self, party: Party | None, response: Response, now: float) -> None:
        """Never."""

    def on_answer(self, branch: Branch, party: Party, response: Response, now: float) -> None:
        """Never."""


def _said(move: Move) -> bytes | None:
    """What a stayer last said of its media, as an offer to talk; None if that is not known."""
    leg = move.stayer.leg
    return opened(leg.said(leg.sdp)) if leg.sdp else None


def _uri(leg: Leg) -> str:
    return leg.dialog.remote.partition("<")[2].partition(">")[0] or leg.dialog.remote_target


def open_dual(
    board: Board,
    first: Party,
    second: Party,
    now: float,
    *,
    order: Order,
    notifier: Notifier | None = None,
) -> Dual:
    """Begin to join the far ends of these two."""
    assert first.other is not None
    assert second.other is not None
    old = first.call.value
    value = records.new_transfer(board, old, first.other.leg, _uri(second.other.leg))
    value.owners = tuple(dict.fromkeys((*value.owners, *second.call.value.owners)))
    value.legs = 1
    call = LiveCall(value)
    side = Dual(board, call, first, second, notifier)
    board.open(call)
    records.started(board, value)
    for goer in (first, second):
        records.transfer_started(board, goer.call.value, value, order, goer.leg.number)
    side.start(now)
    return side
