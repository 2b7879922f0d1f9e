"""Requests inside dialogs pass from one leg to the other, and their answers back: re-INVITE,
UPDATE, PRACK, INFO, MESSAGE, OPTIONS, NOTIFY, REFER and whatever else the ends agree on."""

from __future__ import annotations

from typing import Final

from services.appserver.domain.call import CallState
from services.appserver.domain.headers import has_offer, passed, response_headers
from services.appserver.domain.leg import Way
from services.appserver.handlers.calls import records, timers
from services.appserver.handlers.calls.acks import InviteContext, send_ack
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.challenges import sent_again
from services.appserver.handlers.calls.live import Party
from tandem.sip.build import response_to
from tandem.sip.dialog import TARGET_REFRESH
from tandem.sip.message import Request, Response
from tandem.sip.transaction import ClientTransaction, ServerTransaction

MAKES_SESSION: Final = frozenset({"INVITE", "UPDATE"})
"""Requests whose 2xx refreshes the session timer (RFC 4028 §3)."""

ONLY_ITSELF: Final = frozenset({"PRACK", "NOTIFY", "SUBSCRIBE", "REFER"})
"""Requests whose 481 tells of something else than the dialog of the call (RFC 5057 §5.1)."""


class Relay(InviteContext):
    """The context of a request that passes on."""

    __slots__ = ("_board", "_done", "_source", "_target", "_tx", "method")

    def __init__(self, board: Board, tx: ServerTransaction, source: Party, target: Party) -> None:
        super().__init__(0)
        self._board = board
        self._tx = tx
        self._source = source
        self._target = target
        self._done = False
        self.method = tx.request.method

    def send(self, now: float) -> None:
        """Pass the request on, now or once the way is known."""
        self._board.reach(self._target.leg, self._send, now)

    def _send(self, way: Way | None, now: float) -> None:
        if way is None:
            self._answer_failure(503, now)
            return
        theirs = self._tx.request
        leg = self._target.leg
        request = leg.request(self.method, way, max_forwards=_hops_left(theirs))
        self.seq = leg.dialog.local_seq
        if self.method in TARGET_REFRESH:
            request.lines.append(self._board.contact)
        if self.method == "PRACK":
            request.lines.append(f"RAck: {_other_rack(theirs, self._target)}")
        request.lines += passed(theirs)
        request.body = self._source.leg.said(theirs.body)
        tx = self._board.layer.request(request, way.hop, now, context=self)
        if self.method == "INVITE":
            self._target.inviting = tx
            self._target.invite_seq = self.seq

    # -- the client transaction ----------------------------------------------------------------

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """Pass the answer back."""
        status = response.status
        if status < 200:
            if self.method == "INVITE" and status > 100:
                self._pass(response, now)
        elif self._done:
            self._on_2xx_again(response)
        elif not self._sent_again(tx, response, now):
            self._on_final(tx, response, now)

    def on_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """No answer: "if a 408 is returned ... the UAC SHOULD terminate the dialog"
        (§12.2.1.2)."""
        if not self._done:
            self._finish(tx)
            self._answer_failure(status, now)

    def _sent_again(self, tx: ClientTransaction, response: Response, now: float) -> bool:
        target = self._target
        again = sent_again(self._board, target.leg, tx, response, now)
        if again is None:
            return False
        self.seq = again.request.cseq.number
        if self.method == "INVITE":
            target.inviting, target.invite_seq = again, self.seq
        return True

    def _on_2xx_again(self, response: Response) -> None:
        if self.method == "INVITE" and response.status < 300:
            self.acked_again(self._board, response)

    def _on_final(self, tx: ClientTransaction, response: Response, now: float) -> None:
        self._finish(tx)
        if response.status < 300:
            self._on_success(response, now)
        self._pass(response, now)
        source = self._source
        if not source.call.ended:
            number = source.leg.number
            records.changed(self._board, source.call.value, self.method, number, response.status)
        if response.status >= 300:
            self._after_failure(response.status, now)

    def _finish(self, tx: ClientTransaction) -> None:
        self._done = True
        if self._target.inviting is tx:
            self._target.inviting = None

    def _on_success(self, response: Response, now: float) -> None:
        source, target = self._source, self._target
        source.leg.note(self._tx.request)
        target.leg.note(response)
        if self.method in TARGET_REFRESH:
            source.leg.dialog.refresh_target(self._tx.request)
            target.leg.dialog.refresh_target(response)
        if self.method == "INVITE":
            if has_offer(self._tx.request) or target.call.ended:
                send_ack(self._board, target.leg, self.seq, now, keep=self)
            else:
                target.awaiting = self
        if self.method in MAKES_SESSION:
            by_caller = source.leg.number == 0
            timers.refreshed(self._board, source.call, response, now, by_caller=by_caller)

    def _after_failure(self, status: int, now: float) -> None:
        if self._source.invited is self._tx:
            self._source.invited = None
        call = self._source.call
        if (
            status in timers.GONE
            and self.method not in ONLY_ITSELF
            and call.value.state is CallState.UP
        ):
            timers.vanished(self._board, self._target, status, now)

    def _answer_failure(self, status: int, now: float) -> None:
        self._board.layer.reply(self._tx, status, now)
        self._after_failure(status, now)

    def _pass(self, response: Response, now: float) -> None:
        status = FLOW_GONE_AS if response.status == timers.FLOW_FAILED else response.status
        moves = self.method in TARGET_REFRESH and status < 300
        lines = response_headers(
            response, contact=self._board.contact if moves else None, record_route=[]
        )
        reason = response.reason if status == response.status else None
        body = self._target.leg.said(response.body)
        answer = response_to(self._tx.request, status, reason, headers=lines, body=body)
        answer.unsized = True
        self._board.layer.respond(self._tx, answer, now)


FLOW_GONE_AS: Final = 480
"""What the other end hears of a 430: the flow is ours to know."""


def _hops_left(request: Request) -> int:
    hops = request.max_forwards
    return 70 if hops is None else max(0, hops - 1)


def _other_rack(prack: Request, target: Party) -> str:
    """RAck names the INVITE by its CSeq on each leg (RFC 3262 §7.2): that of the INVITE which went
    out on the other one."""
    parts = (prack.first("rack") or "").split()
    if len(parts) == 3:
        parts[1] = str(target.invite_seq)
    return " ".join(parts)
