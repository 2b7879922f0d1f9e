"""Requests inside dialogs: who may ask what, and when.

state \\ method │ BYE                     │ INVITE             │ others
SETUP, caller  │ 200, as CANCEL          │ 500 + Retry-After  │ pass
SETUP, callee  │ 200, the branch is out  │ 491                │ pass
UP             │ 200, BYE to the other   │ 491, 500 or pass   │ pass
ENDED          │ 200                     │ 481                │ 481
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

from services.appserver.domain.call import CallState
from services.appserver.domain.headers import OF_THE_BODY, passed
from services.appserver.domain.session import asked_interval
from services.appserver.handlers.calls import refer
from services.appserver.handlers.calls.alone import alone
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.branch import Branch
from services.appserver.handlers.calls.ending import acknowledged, end_call, left, reason_line
from services.appserver.handlers.calls.limits import GLARE_RETRY_SECONDS
from services.appserver.handlers.calls.live import Party
from services.appserver.handlers.calls.relay import Relay
from tandem.sip.dialog import Order
from tandem.sip.message import Request
from tandem.sip.transaction import ServerTransaction, State

NO_ACK: Final = "no acknowledgement"


def receive(board: Board, tx: ServerTransaction, now: float) -> None:
    """A request with a To-tag."""
    party = board.find(tx.request)
    if party is None:
        board.layer.reply(tx, 481, now)
    elif party.leg.dialog.receive(tx.request) is Order.OUT_OF_ORDER:
        board.layer.reply(tx, 500, now, "CSeq out of order")
    else:
        _BY_STATE[party.call.value.state](board, party, tx, now)


def _in_setup(board: Board, party: Party, tx: ServerTransaction, now: float) -> None:
    if tx.request.method == "BYE":
        board.layer.reply(tx, 200, now)
        _leave_setup(party, now)
    else:
        _relay(board, party, tx, now)


def _leave_setup(party: Party, now: float) -> None:
    """§15: the caller may end an early dialog by BYE; a callee that does has lost its 2xx."""
    setup, inviting = party.call.setup, party.inviting
    if inviting is not None and isinstance(inviting.context, Branch):
        inviting.context.abandon(480, now)
    elif setup is not None:
        setup.hung_up(party, now)


def _while_up(board: Board, party: Party, tx: ServerTransaction, now: float) -> None:
    if tx.request.method == "BYE":
        board.layer.reply(tx, 200, now)
        who = "caller" if party.leg.number == 0 else "callee"
        lines = passed(tx.request, without=OF_THE_BODY)
        left(board, party, f"{who} hung up", now, bye=True, lines=lines)
    else:
        _relay(board, party, tx, now)


def _when_ended(board: Board, party: Party, tx: ServerTransaction, now: float) -> None:
    """A BYE that crossed ours is no error."""
    board.layer.reply(tx, 200 if tx.request.method == "BYE" else 481, now)


_BY_STATE: Final = {
    CallState.SETUP: _in_setup,
    CallState.UP: _while_up,
    CallState.ENDED: _when_ended,
}


def _relay(board: Board, party: Party, tx: ServerTransaction, now: float) -> None:
    request = tx.request
    other = party.other
    if other is None:
        alone(board, party, tx, now)
        return
    if request.max_forwards == 0:
        board.layer.reply(tx, 483, now)
        return
    if request.method == "INVITE" and not _may_invite(board, party, tx, now):
        return
    if request.method == "REFER" and refer.taken(board, party, tx, now):
        return
    if request.method == "UPDATE" and too_brief(board, tx, now):
        return
    Relay(board, tx, party, other).send(now)


def _may_invite(board: Board, party: Party, tx: ServerTransaction, now: float) -> bool:
    """§14.2: one INVITE at a time in a dialog. Ours is under way: 491; theirs is: 500."""
    if party.inviting is not None:
        board.layer.reply(tx, 491, now)
        return False
    if party.unanswered:
        wait = crc32(board.new_token().encode()) % (GLARE_RETRY_SECONDS + 1)
        board.layer.reply(tx, 500, now, headers=(f"Retry-After: {wait}",))
        return False
    if party.other is not None and party.other.inviting is not None:
        board.layer.reply(tx, 491, now)  # it would pass on into an INVITE of our own
        return False
    if too_brief(board, tx, now):
        return False
    board.layer.reply(tx, 100, now)
    tx.context = party
    party.invited = tx
    return True


def too_brief(board: Board, tx: ServerTransaction, now: float) -> bool:
    """RFC 4028 §8.1: a session interval that is too small is answered 422, with ours."""
    interval = asked_interval(tx.request)
    least = board.limits.min_se
    if interval is None or interval >= least:
        return False
    board.layer.reply(tx, 422, now, headers=(f"Min-SE: {least}",))
    return True


def on_ack(board: Board, ack: Request, now: float) -> None:
    """The ACK of our 2xx; with it the other end's 2xx may be ACKed, with the same body."""
    party = board.find(ack)
    if party is None or party.invited is None:
        return
    invited = party.invited
    if invited.request.cseq.number != ack.cseq.number or not party.unacknowledged:
        return  # the late ACK of an earlier INVITE
    board.layer.acknowledged(invited, now)
    party.leg.note(ack)
    _pass_ack(board, party, ack, now)
    acknowledged(board, party, now)


def _pass_ack(board: Board, party: Party, ack: Request, now: float) -> None:
    other = party.other
    if other is not None and other.awaiting is not None:
        awaiting, other.awaiting = other.awaiting, None
        awaiting.on_their_ack(board, other, ack, now)


def on_no_ack(board: Board, tx: ServerTransaction, now: float) -> None:
    """§13.3.1.4: "If the server retransmits the 2xx response for 64*T1 seconds without receiving
    an ACK, the dialog is confirmed, but the session SHOULD be terminated"."""
    party = tx.context
    if not isinstance(party, Party) or party.invited is not tx or tx.state is State.COMPLETED:
        return
    acknowledged(board, party, now)
    call = party.call
    if call.setup is not None:  # who waits for the other end was answered by us
        call.setup.finish(480, now, NO_ACK)
    else:
        end_call(board, call, NO_ACK, now, lines=[reason_line(408, "No ACK")])


def on_cancel(board: Board, tx: ServerTransaction, now: float) -> None:
    """A re-INVITE was cancelled: so is ours on the other leg, whose 487 comes back."""
    party = tx.context
    if not isinstance(party, Party):
        return
    if tx.request.to_tag is None:
        # of a caller and a callback that had just met, who was to be answered last gave up
        who = "caller" if party.leg.number == 0 else "callee"
        lines = [reason_line(487, "Cancelled")]
        end_call(board, party.call, f"{who} cancelled", now, lines=lines, status=487)
    elif party.other is not None and party.other.inviting is not None:
        board.layer.cancel(party.other.inviting, now)
