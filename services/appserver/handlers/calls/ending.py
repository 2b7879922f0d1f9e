"""How calls end: who gets a BYE, when it may be sent, and the record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from services.appserver.domain.call import CallState
from services.appserver.domain.leg import Leg, Way
from services.appserver.handlers.calls import records
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.challenges import sent_again
from services.appserver.handlers.calls.live import LiveCall, Party
from services.appserver.ports import Pilot
from tandem.sip.build import reason_phrase
from tandem.sip.dialog import DialogState
from tandem.sip.grammar import quote
from tandem.sip.message import Response
from tandem.sip.transaction import ClientTransaction

After = Callable[[Callable[[float], None], float], None]
"""`after(then, now)` calls `then(now)` at some time, once."""


class Bye:
    """The context of a BYE of ours. Its party stays known until it is answered, so that a BYE
    that crosses it gets a 200."""

    __slots__ = ("_board", "_leg", "_lines", "_party", "_tx")

    def __init__(self, board: Board, leg: Leg, lines: list[str], party: Party | None) -> None:
        self._board = board
        self._leg = leg
        self._lines = lines
        self._party = party
        self._tx: ClientTransaction | None = None

    def send(self, way: Way | None, now: float) -> None:
        """Send it by this way."""
        if way is None:
            self._over()
            return
        bye = self._leg.request("BYE", way)
        bye.lines += self._lines
        self._tx = self._board.layer.request(bye, way.hop, now, context=self)
        self._board.byes.add(self)

    def proxy_lost(self, proxy: str, now: float) -> None:
        """Send it by another way, unless the flow to the far end has gone with the proxy: it may
        never have got there."""
        if self._tx is not None and self._tx.hop.peer == proxy and self._leg.movable:
            self._tx = None
            self._board.reach(self._leg, self.send, now)

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """Whatever the answer is, the dialog is over (RFC 3261 §15.1.1)."""
        if response.status < 200 or tx is not self._tx:
            return
        if self._leg.digest is not None:
            again = sent_again(self._board, self._leg, tx, response, now)
            if again is not None:
                self._tx = again
                return
        self._over()

    def on_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """No answer: "the UAC MUST consider the session and dialog terminated" all the same."""
        if tx is self._tx:
            self._over()

    def _over(self) -> None:
        self._tx = None  # which has this for its context
        self._board.byes.discard(self)
        if self._party is not None:
            self._board.leave(self._party)


def reason_line(cause: int, text: str) -> str:
    """A Reason header (RFC 3326)."""
    return f"Reason: SIP;cause={cause};text={quote(text)}"


def end_call(
    board: Board,
    call: LiveCall,
    reason: str,
    now: float,
    *,
    by: Party | None = None,
    keep: Party | None = None,
    lines: Sequence[str] = (),
    status: int = 480,
    after: After | None = None,
) -> None:
    """End an established call. `by` is the party that said BYE; `lines` go into the other's;
    `keep` goes on in another call; `status` is the answer to an INVITE that made it and has none
    yet; `after` has the BYE wait for something."""
    if call.ended:
        return
    transfer, call.transfer = call.transfer, None
    _stop_deadline(call)
    board.close(call)
    call.gone(reason, now)
    # a caller and a callback that had just met, one of them unanswered, were no call yet
    final = 200 if call.value.answered_at is not None else status
    records.ended(board, call, final, reason_phrase(final), reason)
    for party in call.let_go():
        if party is keep:
            continue
        end_invites(board, party, status, now)
        if party is by:
            hung_up(board, party, now)
        elif after is not None:
            after(partial(say_bye, board, party, list(lines)), now)
        elif party.leg.dialog.state is DialogState.EARLY:
            board.leave(party)  # its INVITE was refused just now
        else:
            say_bye(board, party, list(lines), now)
    if transfer is not None:
        transfer.call_over(reason, now)


def follow(board: Board, call_id: str, pilot: Pilot) -> bool:
    """Have a pilot told of the end of an established call; False if there is none."""
    call = board.calls.get(call_id)
    if call is None or call.value.state is not CallState.UP:
        return False
    call.follower = pilot
    return True


def left(
    board: Board, party: Party, reason: str, now: float, *, bye: bool, lines: Sequence[str]
) -> None:
    """An end of an established call is there no more, by its BYE or without one: the call is over,
    unless a transfer goes on with the other end."""
    call = party.call
    if call.setup is not None:  # it had come from another call, where it was asked
        call.setup.hung_up(party, now, reason)
    elif call.transfer is None or not call.transfer.left(party, now, bye=bye):
        end_call(board, call, reason, now, by=party if bye else None, lines=lines)


def hung_up(board: Board, party: Party, now: float) -> None:
    """Who says BYE has our 2xx, even if its ACK got lost."""
    if party.unacknowledged:
        assert party.invited is not None
        board.layer.acknowledged(party.invited, now)
    party.invited = None
    board.leave(party)


def _stop_deadline(call: LiveCall) -> None:
    if call.deadline is not None:
        call.deadline.cancel()
        call.deadline = None


def end_invites(board: Board, party: Party, status: int, now: float) -> None:
    """§15.1.2: "MUST still respond to any pending requests ... 487 is RECOMMENDED"."""
    if party.unanswered:
        assert party.invited is not None
        early = party.leg.dialog.state is DialogState.EARLY
        board.layer.reply(party.invited, status if early else 487, now)
        party.invited = None
    if party.inviting is not None:
        board.layer.cancel(party.inviting, now)
        party.inviting = None
    if party.awaiting is not None:
        awaiting, party.awaiting = party.awaiting, None
        awaiting.on_no_ack(board, party, now)


def say_bye(board: Board, party: Party, lines: list[str], now: float) -> None:
    """BYE, or once the ACK is here: "the callee's UA MUST NOT send a BYE on a confirmed dialog
    until it has received an ACK for its 2xx response or until the server transaction times out"
    (§15)."""
    if party.unacknowledged:
        party.bye_due = lines
    else:
        send_bye(board, party.leg, lines, now, party)


def acknowledged(board: Board, party: Party, now: float) -> None:
    """Our 2xx has its ACK, or never will: what waited for it goes on."""
    party.invited = None
    if party.bye_due is not None:
        lines, party.bye_due = party.bye_due, None
        send_bye(board, party.leg, lines, now, party)


def send_bye(
    board: Board, leg: Leg, lines: list[str], now: float, party: Party | None = None
) -> None:
    """BYE a dialog, of a party or of a leg that lost."""
    board.reach(leg, Bye(board, leg, lines, party).send, now)
