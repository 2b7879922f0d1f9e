"""Transfers: an end of one call goes on in another. What a blind transfer (`transfer.py`) and the
joining of two calls (`dual.py`) have in common.

    old call:  goer ───── us ───── stayer          new call:  stayer ───── us ───── the new party

The old call stays as it is until the new party can talk to the stayer: then the old call ends as
"transferred", and the goer gets a BYE. A goer that hangs up before that has what it wanted: the
old call ends, and the stayer waits alone in the new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from services.appserver.domain.call import CallState
from services.appserver.domain.loops import Looped
from services.appserver.domain.plan import SELF
from services.appserver.handlers.calls import records, timers
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.ending import (
    end_call,
    end_invites,
    hung_up,
    reason_line,
    say_bye,
)
from services.appserver.handlers.calls.live import LiveCall, Party
from services.appserver.handlers.calls.reoffer import Reoffer
from services.appserver.handlers.calls.side import Side
from services.appserver.ports import Pilot
from tandem.rpc.directory import Account
from tandem.sip.build import reason_phrase

if TYPE_CHECKING:
    from services.appserver.handlers.calls.notifier import Notifier
    from tandem.sip.message import Response

TRANSFERRED: Final = "transferred"
"""The end reason of calls that an end has left for another."""


class Move:
    """One end on its way from its call to the new one."""

    __slots__ = ("goer", "gone", "moved", "number", "offer", "old", "stayer")

    def __init__(self, goer: Party, number: int) -> None:
        assert goer.other is not None
        self.goer = goer
        self.stayer = goer.other
        self.old = goer.call
        self.number = number
        """Of the stayer's leg in the new call."""
        self.offer: Reoffer | None = None
        """What it is offered just now."""
        self.moved = False
        """Whether it belongs to the new call already."""
        self.gone = False
        """Whether it is there no more."""

    @property
    def who(self) -> str:
        """The stayer, in the words of the records."""
        return "caller" if self.number == 0 else "callee"


class Moving(Side):
    """The new call until its ends are joined."""

    def __init__(
        self,
        board: Board,
        call: LiveCall,
        moves: Sequence[Move],
        pilot: Pilot | None,
        notifier: Notifier | None,
    ) -> None:
        super().__init__(board, call, pilot)
        self._moves = moves
        self._notifier = notifier
        self.over = False
        """Whether it came to nothing."""
        for move in moves:
            move.old.transfer = self
        call.setup = self

    @property
    def full(self) -> bool:
        """Whether no more early dialogs are kept: none is, nobody hears them."""
        return True

    @property
    def looped(self) -> Looped:
        """A stranger's call for whoever it comes back to."""
        stayer = self._moves[0].stayer.leg
        return Looped(None, stayer.text, stayer.proxy if stayer.proxy != SELF else "")

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Nobody's: no callback is awaited."""
        return ()

    # -- from the old calls --------------------------------------------------------------------

    def left(self, party: Party, now: float, *, bye: bool) -> bool:
        """An end of an old call is gone. Whether that call's other end goes on here: False, and the
        old call is over."""
        for move in self._moves:
            if move.goer is party and not move.moved:
                if move.offer is None or not move.offer.under_way:
                    end_invites(self._board, move.stayer, 487, now)
                self._move(move, now, by=party if bye else None)
                return True
        return False

    def call_over(self, reason: str, now: float) -> None:
        """An old call has ended with both its ends, and so has its end's part in this."""
        self.finish(487, now, reason)

    def hung_up(self, party: Party, now: float, reason: str = "") -> None:
        """Who waits alone has had enough, or is gone."""
        for move in self._moves:
            if move.stayer is party and move.moved:
                hung_up(self._board, party, now)
                move.gone = True
                self.finish(487, now, reason or f"{move.who} hung up")

    # -- offers --------------------------------------------------------------------------------

    def _offer(self, move: Move, body: bytes, now: float) -> None:
        """Tell a stayer where its sound goes from now on."""

        def then(status: int, answer: bytes, now: float) -> None:
            move.offer = None
            if not self.over:
                self._on_offered(move, status, answer, now)
            elif status < 300:
                self._restore(move, now)

        move.offer = Reoffer(self._board, move.stayer, body, then)
        move.offer.send(now)

    def _on_offered(self, move: Move, status: int, answer: bytes, now: float) -> None:
        """What a stayer said to it."""
        raise NotImplementedError

    def _restore(self, move: Move, now: float) -> None:
        """The stayer was told already: its sound goes to the goer again."""
        said = move.goer.leg.said(move.goer.leg.sdp)
        if not move.moved and not move.old.ended and said:
            Reoffer(self._board, move.stayer, said, lambda status, answer, now: None).send(now)

    def _refused(self, move: Move, status: int, now: float) -> None:
        """A stayer does not take the new party's sound."""
        if status not in timers.GONE:
            status = 480 if status in (487, 491) else status
            self.finish(status, now, f"the other end refused: {status}")
        elif move.moved:
            self._board.leave(move.stayer)
            move.gone = True
            self.finish(480, now, f"{move.who} vanished")
        else:
            timers.vanished(self._board, move.stayer, status, now)

    # -- the move ------------------------------------------------------------------------------

    def _move(self, move: Move, now: float, *, by: Party | None = None) -> None:
        """The stayer belongs to the new call, and the old one is over."""
        if move.moved:
            return
        move.moved = True
        move.old.transfer = None
        lines = [reason_line(200, "Transferred")]
        after = self._notifier.when_told if self._notifier is not None else None
        end_call(
            self._board,
            move.old,
            TRANSFERRED,
            now,
            by=by,
            keep=move.stayer,
            lines=lines,
            after=after,
        )
        stayer = move.stayer
        stayer.call, stayer.other, stayer.missed = self.call, None, 0
        stayer.leg.number = move.number

    def _join(self, caller: Party, callee: Party, target: str, now: float) -> None:
        """Both can talk: a call as any other."""
        if self._notifier is not None:
            self._notifier.final(200, "OK", now)
        olds = [move.old.value.id for move in self._moves]
        for move in self._moves:
            self._move(move, now)
        board, call = self._board, self.call
        self._end(now)
        caller.other, callee.other = callee, caller
        call.a, call.b = caller, callee
        call.value.a, call.value.b = caller.leg, callee.leg
        call.value.sip_call_id = caller.leg.dialog.call_id
        timers.start(board, call, None, now)
        records.answered(board, call.value, callee.leg.number, target)
        records.transferred(board, call.value, olds)
        self._answered(now)

    # -- ends ----------------------------------------------------------------------------------

    def cancelled(self, now: float) -> None:
        """Never by itself: see `hung_up`."""

    def finish(
        self,
        status: int,
        now: float,
        reason: str,
        response: Response | None = None,
        headers: tuple[str, ...] = (),
        phrase: str = "",
    ) -> None:
        """It comes to nothing: calls that still have both ends are as they were."""
        if self.call.value.state is not CallState.SETUP:
            return
        self.over = True
        board, call = self._board, self.call
        phrase = phrase or (response.reason if response is not None else "")
        phrase = phrase or reason_phrase(status)
        self._end(now)
        self._drop(status, reason, now)
        board.close(call)
        self._gone(reason, now)
        records.ended(board, call, status, phrase, reason)
        records.not_transferred(board, call.value, self._olds, status, reason)
        if self._notifier is not None:
            self._notifier.final(status, phrase, now)
        for move in self._moves:
            self._stop(move, [reason_line(status, reason)], now)

    @property
    def _olds(self) -> list[str]:
        return [move.old.value.id for move in self._moves]

    def _drop(self, status: int, reason: str, now: float) -> None:
        """Hang up on who has answered already."""

    def _stop(self, move: Move, lines: list[str], now: float) -> None:
        if move.old.transfer is self:
            move.old.transfer = None
        if move.offer is not None:
            move.offer.stop(now)
            if move.stayer.call.ended or not move.offer.under_way:
                move.offer = None  # what ended must not be a cycle
        if move.moved and not move.gone:
            end_invites(self._board, move.stayer, 487, now)
            say_bye(self._board, move.stayer, lines, now)
