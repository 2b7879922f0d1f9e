"""An INVITE of our own inside a dialog: one end is offered what the other has said."""

from __future__ import annotations

from collections.abc import Callable

from services.appserver.domain.leg import Way
from services.appserver.domain.sdp import CONTENT_TYPE
from services.appserver.handlers.calls.acks import InviteContext, send_ack
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.challenges import sent_again
from services.appserver.handlers.calls.live import Party
from tandem.sip.message import Response
from tandem.sip.transaction import ClientTransaction

Then = Callable[[int, bytes, float], None]
"""Called once with the final status, the answer to our offer (empty if refused), and the time."""

ALLOW = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, MESSAGE, NOTIFY, REFER"


class Offering(InviteContext):
    """The context of the INVITE. Its 2xx is ACKed at once: the offer was in the INVITE."""

    __slots__ = ("_board", "_body", "_done", "_party", "_then")

    def __init__(self, board: Board, party: Party, body: bytes, then: Then) -> None:
        super().__init__(0)
        self._board = board
        self._party = party
        self._body = body
        self._then = then
        self._done = False

    def send(self, now: float) -> None:
        """Send it, now or once the way is known."""
        self._board.reach(self._party.leg, self._send, now)

    def _send(self, way: Way | None, now: float) -> None:
        party = self._party
        if party.call.ended:
            return
        if way is None:
            self._then(503, b"", now)
            return
        invite = party.leg.request("INVITE", way)
        invite.lines += [self._board.contact, ALLOW, CONTENT_TYPE]
        invite.body = self._body
        self._is_under_way(self._board.layer.request(invite, way.hop, now, context=self))

    def _is_under_way(self, tx: ClientTransaction) -> None:
        self.seq = self._party.invite_seq = tx.request.cseq.number
        self._party.inviting = tx

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """The final answer counts."""
        if response.status < 200:
            return
        if self._done:
            if response.status < 300:
                self.acked_again(self._board, response)
            return
        again = sent_again(self._board, self._party.leg, tx, response, now)
        if again is not None:
            self._is_under_way(again)
            return
        if response.status < 300:
            self._party.leg.dialog.refresh_target(response)
            self._party.leg.note(response)
            send_ack(self._board, self._party.leg, self.seq, now, keep=self)
            self._finish(tx, response.status, response.body, now)
        else:
            self._finish(tx, response.status, b"", now)

    def on_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """No answer."""
        if not self._done:
            self._finish(tx, status, b"", now)

    def _finish(self, tx: ClientTransaction, status: int, body: bytes, now: float) -> None:
        self._done = True
        if self._party.inviting is tx:
            self._party.inviting = None
        if not self._party.call.ended:
            self._then(status, body, now)
