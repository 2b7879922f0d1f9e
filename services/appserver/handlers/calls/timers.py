"""The one deadline of a call that is up: the limit on its duration, the session timer that its
ends agreed on (RFC 4028), and where there is none, probes of both ends."""

from __future__ import annotations

from math import inf
from typing import Final

from services.appserver.domain.call import CallState
from services.appserver.domain.leg import Way
from services.appserver.domain.plan import SELF
from services.appserver.domain.session import agreed
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.challenges import sent_again
from services.appserver.handlers.calls.ending import end_call, left, reason_line
from services.appserver.handlers.calls.limits import MAX_FLOW_FAILURES
from services.appserver.handlers.calls.live import LiveCall, Party
from tandem.sip.message import Response
from tandem.sip.transaction import ClientTransaction

GONE: Final = frozenset({408, 481})
"""Answers to a request inside a dialog that mean the dialog is no more (RFC 3261 §12.2.1.2)."""

FLOW_FAILED: Final = 430


def start(board: Board, call: LiveCall, response: Response | None, now: float) -> None:
    """The call is up by this 2xx, which answers the caller's INVITE; None: two INVITEs met, and
    no session timer is agreed on yet."""
    seconds = call.value.max_seconds
    call.limit_at = now + seconds if seconds else inf
    call.value.session = agreed(response, asked_by_caller=True) if response else None
    _watch(board, call, now)


def resume(board: Board, call: LiveCall, now: float) -> None:
    """A call was taken up from its value."""
    value = call.value
    if value.max_seconds and value.answered_at is not None:
        call.limit_at = now + max(0.0, value.answered_at + value.max_seconds - board.wall())
    _watch(board, call, now)


def refreshed(
    board: Board, call: LiveCall, response: Response, now: float, *, by_caller: bool
) -> None:
    """A 2xx to a re-INVITE or UPDATE: the session is fresh, on new terms (RFC 4028 §9)."""
    if call.value.state is CallState.UP:
        call.value.session = agreed(response, asked_by_caller=by_caller)
        _watch(board, call, now)


def _watch(board: Board, call: LiveCall, now: float) -> None:
    session = call.value.session
    if session is not None:
        call.session_at, call.probe_at = now + session.seconds, inf
    else:
        call.session_at, call.probe_at = inf, now + board.limits.probe_seconds
    _arm(board, call)


def _arm(board: Board, call: LiveCall) -> None:
    # one that is set for an earlier time stays: it finds nothing due and asks for the next
    due = min(call.limit_at, call.session_at, call.probe_at)
    deadline = call.deadline
    if deadline is not None:
        if deadline.when <= due:
            return
        deadline.cancel()

    def wake(now: float) -> None:
        _wake(board, call, now)

    call.deadline = board.deadlines.at(due, wake) if due < inf else None


def _wake(board: Board, call: LiveCall, now: float) -> None:
    call.deadline = None
    if call.ended:
        return
    if call.limit_at <= now:
        lines = [reason_line(480, "Call duration limit")]
        end_call(board, call, "duration limit", now, lines=lines)
    elif call.session_at <= now:
        end_call(
            board, call, "session expired", now, lines=[reason_line(408, "Session timer expired")]
        )
    else:
        if call.probe_at <= now:
            call.probe_at = now + board.limits.probe_seconds
            for party in call.parties:
                if party.leg.proxy != SELF:  # our own other call asks whoever is behind it
                    probe(board, party, now)
        _arm(board, call)


def probe(board: Board, party: Party, now: float) -> None:
    """Ask one end whether it is still there."""
    board.reach(party.leg, Probe(board, party).send, now)


class Probe:
    """The context of an OPTIONS of ours inside a dialog. Whatever the answer says, who answers is
    there."""

    __slots__ = ("_board", "_party")

    def __init__(self, board: Board, party: Party) -> None:
        self._board = board
        self._party = party

    def send(self, way: Way | None, now: float) -> None:
        """Send it by this way. None for a flow: it is gone with its proxy."""
        if self._party.call.ended:
            return
        if way is not None:
            options = self._party.leg.request("OPTIONS", way)
            options.lines.append(self._board.contact)
            self._board.layer.request(options, way.hop, now, context=self)
        elif self._party.leg.pinned:
            self._flow_failed(now)

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """Judge the answer."""
        leg = self._party.leg
        if response.status < 200 or sent_again(self._board, leg, tx, response, now):
            return
        if response.status in GONE:
            self._gone(response.status, now)
        elif response.status == FLOW_FAILED:
            self._flow_failed(now)
        else:
            self._party.missed = 0

    def on_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """No answer in 64*T1."""
        if status in GONE:
            self._gone(status, now)

    def _flow_failed(self, now: float) -> None:
        self._party.missed += 1
        if self._party.missed >= MAX_FLOW_FAILURES:
            self._gone(FLOW_FAILED, now)

    def _gone(self, status: int, now: float) -> None:
        vanished(self._board, self._party, status, now)


def vanished(board: Board, party: Party, status: int, now: float) -> None:
    """An end of a call is not there any more: the other one need not wait."""
    who = "caller" if party.leg.number == 0 else "callee"
    lines = [reason_line(status, f"The {who} is gone")]
    left(board, party, f"{who} vanished", now, bye=False, lines=lines)
