"""Ringing the phones of an account that is to be joined to a callback: RFC 3725 §4.4, flow IV.

start ─► INVITE with a held offer ─► 2xx ─► waits ─► callback ─► re-INVITE with its offer
           └─ nobody answers ─► the end        └─ BYE, time-out ─► the end       │
                                        2xx: its answer goes to the callback ◄───┤
                                        refused: both ends are hung up ◄─────────┘
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.appserver.domain.best_response import Failure, end_reason, passed_status
from services.appserver.domain.call import CallState
from services.appserver.domain.headers import passed
from services.appserver.domain.leg import Leg
from services.appserver.domain.loops import Looped
from services.appserver.domain.plan import Target
from services.appserver.domain.sdp import CONTENT_TYPE, HELD
from services.appserver.handlers.calls import meeting, records
from services.appserver.handlers.calls.acks import send_ack
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.ending import end_call, reason_line, say_bye
from services.appserver.handlers.calls.limits import MAX_LEGS
from services.appserver.handlers.calls.live import LiveCall, Party
from services.appserver.handlers.calls.offering import ALLOW
from services.appserver.handlers.calls.relay import Relay
from services.appserver.handlers.calls.side import Side
from services.appserver.ports import Pilot
from tandem.rpc.directory import Account
from tandem.sip.build import reason_phrase, record_routes, response_to
from tandem.sip.dialog import DialogState
from tandem.sip.message import Response
from tandem.sip.transaction import ClientTransaction

if TYPE_CHECKING:
    from services.appserver.domain.leg import Way
    from services.appserver.handlers.calls.branch import Branch

HUNG_UP = "caller hung up"


class Dialout(Side):
    """A call that begins with us, until its callback is there (compare `setup.Setup`)."""

    def __init__(
        self,
        board: Board,
        call: LiveCall,
        caller: str,
        accounts: tuple[Account, ...] = (),
        *,
        body: bytes = HELD,
        pilot: Pilot | None = None,
    ) -> None:
        super().__init__(board, call, pilot)
        self._accounts = accounts
        self.from_value = f'"Callback" <{caller}>'
        self.to_value = f"<{caller}>"
        self.lines = ["Max-Forwards: 70", board.contact, ALLOW, CONTENT_TYPE]
        self.body = body

    @property
    def full(self) -> bool:
        """Whether no more early dialogs are kept: none is, nobody hears them."""
        return True

    @property
    def looped(self) -> Looped:
        """Nobody called."""
        return Looped(None, "", "")

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The accounts at its ends."""
        return self._accounts

    def start(self, targets: tuple[Target, ...], now: float) -> None:
        """Ring them all."""
        self.call.setup = self
        self.attempt(list(targets[:MAX_LEGS]), 0.0, now)

    # -- from the branches ---------------------------------------------------------------------

    def pair(self, leg: Leg) -> Party:
        """The party of a dialog of a branch. It has no other end yet."""
        party = Party(leg, self.call)
        self._board.enter(party)
        return party

    def on_progress(self, party: Party | None, response: Response, now: float) -> None:
        """Nobody hears it."""

    def on_answer(self, branch: Branch, party: Party, response: Response, now: float) -> None:
        """The first 2xx: this is the caller from now on."""
        self._attempt = None
        party.inviting = None
        party.leg.number = 0
        party.leg.note(response)
        self.caller = party
        value = self.call.value
        value.source = party.leg.text
        value.sip_call_id = party.leg.dialog.call_id
        send_ack(self._board, party.leg, branch.seq, now, keep=branch)
        if self.call.waiter is not None:
            self.call.waiter.ready(now)

    # -- the callback --------------------------------------------------------------------------

    def join(self, party: Party, now: float) -> None:
        """It is here: what it offers goes to the phone."""
        assert self.caller is not None
        assert party.invited is not None
        self._end(now)
        if not party.invited.last:
            self._board.layer.reply(party.invited, 100, now)
        Joining(self._board, party.invited, party, self.caller).send(now)

    # -- ends ----------------------------------------------------------------------------------

    def cancelled(self, now: float) -> None:
        """The phone that waited has hung up."""
        caller, self.caller = self.caller, None
        if caller is not None:
            self._board.leave(caller)
        self.finish(487, now, HUNG_UP)

    def finish(
        self,
        status: int,
        now: float,
        reason: str,
        response: Response | None = None,
        headers: tuple[str, ...] = (),
        phrase: str = "",
    ) -> None:
        """End it without a callback: CANCEL to what rings, BYE to who waits, the record."""
        if self.call.value.state is not CallState.SETUP:
            return
        board, caller = self._board, self.caller
        self._end(now)
        if caller is not None:
            say_bye(board, caller, [reason_line(status, reason)], now)
        board.close(self.call)
        self._gone(reason, now)
        records.ended(board, self.call, status, phrase or reason_phrase(status), reason)


class Joining(Relay):
    """The context of the re-INVITE that asks the phone for an answer to the callback's offer, or
    for an offer if it has none."""

    __slots__ = ()

    def _send(self, way: Way | None, now: float) -> None:
        if not self._target.call.ended:
            super()._send(way, now)

    def _on_final(self, tx: ClientTransaction, response: Response, now: float) -> None:
        self._finish(tx)
        if response.status >= 300:
            self._answer_failure(response.status, now)
            return
        self._on_success(response, now)
        if not self._source.call.ended:
            self._source.leg.dialog.state = DialogState.CONFIRMED
            self._pass(response, now)
            meeting.joined(self._board, self._source, now)

    def _answer_failure(self, status: int, now: float) -> None:
        status = 480 if status == 491 else passed_status(status)
        reason = end_reason(Failure(status, None))
        lines = [reason_line(status, "The callback could not be joined")]
        end_call(self._board, self._source.call, reason, now, lines=lines, status=status)

    def _pass(self, response: Response, now: float) -> None:
        """The callback's INVITE makes a dialog."""
        request = self._tx.request
        lines = [*record_routes(request), self._board.contact, *passed(response)]
        tag = self._source.leg.dialog.local_tag
        body = self._target.leg.said(response.body)
        answer = response_to(request, response.status, tag=tag, headers=lines, body=body)
        answer.unsized = True
        self._board.layer.respond(self._tx, answer, now)
