"""A call that waits, and the callback that comes for it. Both ends have sent an INVITE.

                        caller has an offer             caller has none
  callback has one    each is answered with the       the caller gets the callback's offer; its
                      other's offer                   ACK has the answer for the callback
  callback has none   the callback gets the caller's  488 to both
                      offer; its ACK has the answer

An account that was rung first (`dialout.py`) is asked anew with what the callback offers.
"""

from __future__ import annotations

from services.appserver.domain.call import CallState
from services.appserver.domain.headers import has_offer
from services.appserver.domain.leg import Leg
from services.appserver.domain.sdp import CONTENT_TYPE, crossed
from services.appserver.handlers.calls import records, timers
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.ending import end_call, reason_line
from services.appserver.handlers.calls.live import LiveCall, Party
from services.appserver.handlers.sources import source_of
from tandem.sip.build import record_routes, response_to
from tandem.sip.dialog import Dialog, DialogState
from tandem.sip.message import Request
from tandem.sip.transaction import ServerTransaction

NO_MEDIA = "media not acceptable"


def meet(board: Board, call: LiveCall, tx: ServerTransaction, now: float) -> None:
    """Join the callback to the call that waits for it, which it must do. Raises BadMessage for an
    INVITE that makes no dialog; then the call goes on waiting."""
    tx.tag = tx.tag or board.new_token()
    dialog = Dialog.from_request(tx.request, tx.tag)
    setup, waiter = call.setup, call.waiter
    assert setup is not None
    assert setup.caller is not None
    assert waiter is not None
    waiter.matched(tx.request, now)
    value, caller = call.value, setup.caller
    value.legs += 1
    value.state = CallState.UP
    party = Party(_leg(dialog, tx, value.legs), call)
    party.invited, tx.context = tx, party
    party.other, caller.other = caller, party
    board.enter(party)
    call.a, call.b = caller, party
    value.a, value.b = caller.leg, party.leg
    timers.start(board, call, None, now)
    setup.join(party, now)


def _leg(dialog: Dialog, tx: ServerTransaction, number: int) -> Leg:
    return Leg(
        dialog=dialog,
        number=number,
        proxy=tx.hop.peer,
        reliable=tx.hop.reliable,
        pinned=True,
        account="",
        text=source_of(tx.request).text,
    )


def bridge(board: Board, caller: Party, callback: Party, now: float) -> None:
    """Answer the two INVITEs with each other, as the table above says."""
    one, two = _request(caller), _request(callback)
    offers = (has_offer(one), has_offer(two))
    caller.leg.note(one)
    callback.leg.note(two)
    if offers == (True, True):
        answers = crossed(one.body, two.body)
        if answers is None:
            _refuse(board, caller, now)
            return
        answer(board, callback, answers[1], now)
        answer(board, caller, answers[0], now)
        joined(board, callback, now)
    elif offers == (True, False) and not two.body:
        _answer_one(board, callback, one.body, caller, now)
    elif offers == (False, True) and not one.body:
        _answer_one(board, caller, two.body, callback, now)
    else:
        _refuse(board, caller, now)


def _answer_one(board: Board, party: Party, offer: bytes, late: Party, now: float) -> None:
    invited = late.invited
    if invited is not None and not invited.last:
        board.layer.reply(invited, 100, now)
    late.awaiting = LateAnswer()
    answer(board, party, offer, now)


class LateAnswer:
    """An INVITE whose answer comes in the ACK of the other end."""

    __slots__ = ()

    def on_their_ack(self, board: Board, party: Party, ack: Request, now: float) -> None:
        """It came."""
        if has_offer(ack):
            answer(board, party, ack.body, now)
            call = party.call
            joined(board, call.b if call.b is not None else party, now)
        else:
            _refuse(board, party, now)

    def on_no_ack(self, board: Board, party: Party, now: float) -> None:
        """The INVITE has been refused already."""


def ring(board: Board, party: Party, now: float) -> None:
    """180 to a caller, unless it demands that provisional answers are acknowledged."""
    request = _request(party)
    call = party.call.value
    if call.progress_at is None:
        call.progress_at, call.progress_status = board.wall(), 180
    if "100rel" not in request.tokens("require"):
        _respond(board, party, 180, [], b"", now)


def answer(board: Board, party: Party, body: bytes, now: float) -> None:
    """200 with this session description."""
    party.leg.dialog.state = DialogState.CONFIRMED
    other = party.other
    lines = [CONTENT_TYPE]
    if other is not None and other.invited is not None:
        lines += other.invited.request.raw_lines("allow", "supported")
    _respond(board, party, 200, lines, body, now)


def _respond(
    board: Board, party: Party, status: int, lines: list[str], body: bytes, now: float
) -> None:
    assert party.invited is not None
    request = party.invited.request
    headers = [*record_routes(request), board.contact, *lines]
    tag = party.leg.dialog.local_tag
    response = response_to(request, status, tag=tag, headers=headers, body=body)
    response.unsized = True
    board.layer.respond(party.invited, response, now)


def joined(board: Board, callback: Party, now: float) -> None:
    """Both are answered: the call is as any other from now on."""
    call = callback.call
    target = callback.leg.dialog.remote.partition("<")[2].partition(">")[0]
    records.answered(board, call.value, callback.leg.number, target or callback.leg.dialog.remote)
    call.joined(now)


def _refuse(board: Board, party: Party, now: float) -> None:
    lines = [reason_line(488, "No media in common")]
    end_call(board, party.call, NO_MEDIA, now, lines=lines, status=488)


def _request(party: Party) -> Request:
    assert party.invited is not None
    return party.invited.request
