"""What an end of a call may ask while nobody is at the other end yet: it waits for a callback."""

from __future__ import annotations

from services.appserver.domain.headers import has_offer
from services.appserver.domain.sdp import CONTENT_TYPE, HELD, held_answer
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.live import Party
from tandem.sip.build import response_to
from tandem.sip.transaction import ServerTransaction

RETRY = ("Retry-After: 5",)


def alone(board: Board, party: Party, tx: ServerTransaction, now: float) -> None:
    """Answer a request that nobody else can answer. BYE is not for this."""
    method = tx.request.method
    setup = party.call.setup
    if method in ("INVITE", "UPDATE") and setup is not None and setup.joining:
        board.layer.reply(tx, 491, now)  # the same as if both were joined already
    elif method == "INVITE" and not party.unanswered:
        _hold(board, party, tx, now)
    elif method == "INVITE" or (method == "UPDATE" and has_offer(tx.request)):
        board.layer.reply(tx, 500, now, headers=RETRY)  # §14.2, RFC 3311 §5.2: one at a time
    elif method == "UPDATE":
        party.leg.dialog.refresh_target(tx.request)
        board.layer.reply(tx, 200, now, headers=(board.contact,))
    elif method == "OPTIONS":
        board.layer.reply(tx, 200, now)
    else:
        board.layer.reply(tx, 480, now)


def _hold(board: Board, party: Party, tx: ServerTransaction, now: float) -> None:
    """A re-INVITE, to refresh a session or to change it: it stays held."""
    party.leg.dialog.refresh_target(tx.request)
    party.leg.note(tx.request)
    offered = has_offer(tx.request)
    body = held_answer(tx.request.body) if offered else HELD
    answer = response_to(tx.request, 200, headers=(board.contact, CONTENT_TYPE), body=body)
    answer.unsized = True
    tx.context, party.invited = party, tx
    board.layer.respond(tx, answer, now)
