"""The B2BUA: every call is a dialog with each end, and what one says the other hears.

INVITE ─► start, begin ─► Setup ─► Attempt, a Branch for each target ──2xx──► two parties
requests with a To-tag ─► dialogs.receive ─► Relay ─► the other party
BYE, the timers, hang_up ─► ending.end_call ─► one CallRecord
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.appserver.domain.best_response import Failure, end_reason, passed_status
from services.appserver.domain.call import Call, CallState
from services.appserver.domain.headers import NONE, own_lines
from services.appserver.domain.leg import Leg
from services.appserver.domain.legs import LegRef
from services.appserver.domain.plan import CallPlan, Fork, Target
from services.appserver.domain.transfers import BLIND, DUAL, Order, Refusal, Refused
from services.appserver.handlers.calls import dialogs, records, timers
from services.appserver.handlers.calls.acks import Outgoing, send_ack
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.connect import Connect, name_of
from services.appserver.handlers.calls.dialout import Dialout
from services.appserver.handlers.calls.dual import open_dual
from services.appserver.handlers.calls.ending import end_call, follow, reason_line, send_bye
from services.appserver.handlers.calls.goers import FULL, TOO_MANY, check_apart, goer
from services.appserver.handlers.calls.limits import (
    OVERLOAD_RETRY_SECONDS,
    CallLimits,
)
from services.appserver.handlers.calls.live import LiveCall, Party
from services.appserver.handlers.calls.meeting import meet
from services.appserver.handlers.calls.setup import Setup, breadth_of
from services.appserver.handlers.calls.side import Side
from services.appserver.handlers.calls.transfer import open_transfer
from services.appserver.ports import CallHost, Pilot, Second, Waiter
from tandem.rpc.directory import Account
from tandem.rpc.programs import Customer
from tandem.sip.dialog import Dialog
from tandem.sip.digest_client import CHALLENGED
from tandem.sip.errors import BadMessage, RemoteFault
from tandem.sip.message import Request, Response
from tandem.sip.transaction import ClientTransaction, Hop, ServerTransaction

NOBODY: Final = "sip:callback@anonymous.invalid"
"""Who calls the first end of a call that begins with us, unless its leg says."""

REDIRECTS: Final = frozenset({"contact"})
"""What a redirection says itself."""

SERVER_STOPPED = "server stopped"
"""The end reason of calls that a stopping server could not go on with."""


class Calls:
    """All calls of one appserver (`services.appserver.ports.Calls`)."""

    def __init__(self, host: CallHost, limits: CallLimits | None = None) -> None:
        self._board = Board(host, limits or CallLimits.of(host.config))
        self._now = 0.0

    def __len__(self) -> int:
        return len(self._board.calls)

    @property
    def dialogs(self) -> int:
        """Dialogs that are known, those with a BYE under way too."""
        return self._board.dialogs

    def live(self) -> list[Call]:
        """The calls that are under way."""
        return [call.value for call in self._board.calls.values()]

    # -- new calls -----------------------------------------------------------------------------

    def start(self, tx: ServerTransaction, plan: CallPlan, now: float) -> None:
        """Begin the call of this INVITE. Malformed headers are answered."""
        if plan.joins:
            self._now = now
            self._join(tx, plan.joins, now)
        else:
            self._open(tx, plan, None, now)

    def _open(
        self, tx: ServerTransaction, plan: CallPlan, pilot: Pilot | None, now: float
    ) -> str | None:
        """The id of the call; None: the INVITE was answered."""
        self._now = now
        board = self._board
        try:
            if dialogs.too_brief(board, tx, now):
                return None
            tx.tag = tx.tag or board.new_token()
            call = LiveCall(records.new_call(board, tx.request, plan))
            setup = Setup(board, call, tx, plan, pilot)
            refusal = self._refusal(tx.request, plan)
        except RemoteFault as fault:
            board.layer.reply(tx, fault.status, now, fault.reason)
            return None
        board.open(call, [(who.owner, who.max_calls) for who in setup.accounts])
        records.started(board, call.value)
        if refusal is not None:
            status, reason, headers = refusal
            setup.refuse(status, "", headers, reason, now)
            return None
        if not tx.last:
            board.layer.reply(tx, 100, now)
        setup.start(now)
        return call.value.id

    def _refusal(self, request: Request, plan: CallPlan) -> tuple[int, str, tuple[str, ...]] | None:
        """Why this call may not be, as a status, an end reason and header lines."""
        board = self._board
        if len(board.calls) >= board.limits.max_calls:
            return 503, "too many calls", (f"Retry-After: {OVERLOAD_RETRY_SECONDS}",)
        # a call that came back to us is counted for its caller already
        for account, status in ((None if plan.looped else plan.caller, 480), (plan.callee, 486)):
            most = account.max_calls if account is not None else 0
            if account is not None and 0 < most <= board.owners[account.owner]:
                return status, "too many calls of one customer", ()
        if request.max_forwards == 0:
            return 483, "too many hops", ()
        if breadth_of(request) < len(plan.targets):
            return 440, "too many branches", ()
        return None

    # -- calls that a pilot steers --------------------------------------------------------------

    def begin(self, tx: ServerTransaction, plan: CallPlan, pilot: Pilot, now: float) -> str | None:
        """Open a call without ringing anybody: see `ports.Steering`."""
        return self._open(tx, plan, pilot, now)

    def ring(self, call_id: str, fork: Fork, now: float) -> bool:
        """Ring these legs."""
        self._now = now
        side = self._side(call_id)
        return side is not None and side.ring(fork, now)

    def connect(
        self, customer: Customer, first: Fork, second: Second, pilot: Pilot, now: float
    ) -> str:
        """Begin a call with us: see `ports.Steering`."""
        self._now = now
        board, owner, most = self._board, customer.username, customer.max_calls
        if len(board.calls) >= board.limits.max_calls:
            raise Refused(Refusal.OVERLOADED, FULL)
        if 0 < most <= board.owners[owner]:
            raise Refused(Refusal.TOO_MANY_CALLS, TOO_MANY)
        uri = name_of(first.targets[0]) if first.targets else ""
        call = LiveCall(records.new_connect(board, owner, uri))
        board.open(call, ((owner, most),))
        records.started(board, call.value)
        Connect(board, call, NOBODY, second, pilot).begin(first, now)
        return call.value.id

    def progress(
        self, call_id: str, status: int, reason: str, lines: Sequence[str], now: float
    ) -> bool:
        """Send the caller a provisional answer."""
        self._now = now
        side = self._side(call_id)
        if side is not None and 100 < status < 200:
            side.progress(status, reason, tuple(lines), now)
        return side is not None

    def refuse(
        self, call_id: str, status: int, reason: str, lines: Sequence[str], now: float
    ) -> bool:
        """End the call with this final answer."""
        self._now = now
        side = self._side(call_id)
        if side is not None and 300 <= status < 700:
            if status in CHALLENGED:  # whose challenge would the caller answer?
                status, reason = passed_status(status), ""
            also = REDIRECTS if status < 400 else NONE
            headers = tuple(own_lines(lines, also=also))
            side.refuse(status, reason, headers, end_reason(Failure(status, None)), now)
        return side is not None

    def follow(self, call_id: str, pilot: Pilot) -> bool:
        """Have a pilot told of the end of the call that is up."""
        return follow(self._board, call_id, pilot)

    def _side(self, call_id: str) -> Side | None:
        """The side that calls, of a call that is not answered yet."""
        call = self._board.calls.get(call_id)
        return call.setup if call is not None else None

    # -- transfers -----------------------------------------------------------------------------

    def transfer(
        self, leg: LegRef, destination: str, pilot: Pilot, now: float, order: Order = BLIND
    ) -> str:
        """Begin to put somebody else into a leg's place: see `ports.Moves`."""
        self._now = now
        who = goer(self._board, leg)
        return open_transfer(self._board, who, destination, pilot, now, order=order).call.value.id

    def join(self, first: LegRef, second: LegRef, now: float) -> str:
        """Begin to join the far ends of two legs: see `ports.Moves`."""
        self._now = now
        one, other = goer(self._board, first), goer(self._board, second)
        check_apart(self._board, one, other)
        return open_dual(self._board, one, other, now, order=DUAL).call.value.id

    # -- calls that wait for a callback --------------------------------------------------------

    def find(self, call_id: str) -> Call | None:
        """The call under way with this id."""
        call = self._board.calls.get(call_id)
        return call.value if call is not None else None

    def accounts_of(self, call_id: str) -> tuple[Account, ...]:
        """The accounts at the ends of a call that is not answered yet."""
        call = self._board.calls.get(call_id)
        return call.setup.accounts if call is not None and call.setup is not None else ()

    def waiting(self, call_id: str) -> bool:
        """Whether this call waits for a callback."""
        call = self._board.calls.get(call_id)
        return call is not None and call.waiter is not None

    def wait(self, call_id: str, waiter: Waiter, now: float) -> bool:
        """Have an unanswered call wait: see the port."""
        self._now = now
        call = self._board.calls.get(call_id)
        if call is None or call.waiter is not None or not isinstance(call.setup, Setup):
            return False
        call.waiter = waiter
        call.setup.wait(now)
        return True

    def dial_out(
        self, account: Account, targets: tuple[Target, ...], waiter: Waiter, now: float
    ) -> str | None:
        """Ring the phones of an account that is to wait: see the port."""
        self._now = now
        board = self._board
        most = account.max_calls
        if len(board.calls) >= board.limits.max_calls or 0 < most <= board.owners[account.owner]:
            return None
        call = LiveCall(records.new_dialout(board, account))
        call.waiter = waiter
        board.open(call, ((account.owner, most),))
        records.started(board, call.value)
        Dialout(board, call, f"sip:{account.aor}", (account,)).start(targets, now)
        return call.value.id

    def stop_waiting(self, call_id: str, now: float) -> bool:
        """Give a call that waits back to its pilot: see the port."""
        self._now = now
        call = self._board.calls.get(call_id)
        if call is None or call.waiter is None or not isinstance(call.setup, Setup):
            return False
        return call.setup.stop_waiting(now)

    def _join(self, tx: ServerTransaction, call_id: str, now: float) -> None:
        try:
            meet(self._board, self._board.calls[call_id], tx, now)
        except RemoteFault as fault:
            self._board.layer.reply(tx, fault.status, now, fault.reason)

    # -- the transaction user ------------------------------------------------------------------

    def in_dialog(self, tx: ServerTransaction, now: float) -> None:
        """A request with a To-tag: 481 if its dialog is unknown."""
        self._now = now
        try:
            dialogs.receive(self._board, tx, now)
        except RemoteFault as fault:
            self._board.layer.reply(tx, fault.status, now, fault.reason)

    def on_ack(self, ack: Request, hop: Hop, now: float) -> None:
        """The ACK of a 2xx."""
        self._now = now
        dialogs.on_ack(self._board, ack, now)

    def on_cancel(self, tx: ServerTransaction, cancel: Request, now: float) -> None:
        """An INVITE that was not finally answered is cancelled."""
        self._now = now
        call = tx.context
        if isinstance(call, LiveCall):
            if call.setup is not None:
                call.setup.cancelled(now)
        else:
            dialogs.on_cancel(self._board, tx, now)

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """A response to a request of ours. One that makes no sense is a failure: 502."""
        self._now = now
        context: Outgoing = tx.context
        try:
            context.on_response(tx, response, now)
        except RemoteFault:
            if response.status >= 200:
                context.on_failure(tx, 502, now)

    def on_client_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """A request of ours got no answer (408) or did not leave (503)."""
        self._now = now
        context: Outgoing = tx.context
        context.on_failure(tx, status, now)

    def on_stray_response(self, response: Response, hop: Hop, now: float) -> None:
        """A 2xx to an INVITE whose transaction is gone: ACK it again; BYE a dialog that nobody
        knows."""
        self._now = now
        if response.cseq.method != "INVITE" or not 200 <= response.status < 300:
            return
        party = self._board.party(response.from_tag or "", response.to_tag or "")
        try:
            if party is not None and party.leg.dialog.call_id == response.call_id:
                send_ack(self._board, party.leg, response.cseq.number, now)
            else:
                self._refuse_orphan(_orphan(response, hop), response.cseq.number, now)
        except BadMessage:
            return

    def _refuse_orphan(self, leg: Leg, seq: int, now: float) -> None:
        send_ack(self._board, leg, seq, now)
        send_bye(self._board, leg, [reason_line(481, "No such call")], now)

    def on_server_timeout(self, tx: ServerTransaction, now: float) -> None:
        """No ACK came for a final answer of ours to an INVITE."""
        self._now = now
        dialogs.on_no_ack(self._board, tx, now)

    def flow_closed(self, token: str, now: float) -> None:
        """What rings over this connection has failed."""
        self._now = now
        for branch in list(self._board.ringing.get(token, ())):
            branch.abandon(430, now)

    def proxy_lost(self, proxy: str, now: float) -> None:
        """What is set up through this proxy goes another way, or has failed."""
        self._now = now
        for call in list(self._board.calls.values()):
            if call.setup is not None:
                call.setup.proxy_lost(proxy, now)
        for bye in list(self._board.byes):
            bye.proxy_lost(proxy, now)

    # -- from outside of SIP -------------------------------------------------------------------

    def hang_up(self, call_id: str, reason: str, now: float) -> bool:
        """End a call by its id, for this reason; False if there is none."""
        self._now = now
        call = self._board.calls.get(call_id)
        if call is None:
            return False
        self._end(call, reason, now, 480)
        return True

    def _end(self, call: LiveCall, reason: str, now: float, status: int) -> None:
        if call.setup is not None:
            call.setup.finish(status, now, reason)
        else:
            end_call(self._board, call, reason, now, lines=[reason_line(status, reason)])

    def restore(self, value: Call, now: float) -> bool:
        """Take an established call up from its value; False if it is none, or known already."""
        if value.state is not CallState.UP or value.a is None or value.b is None:
            return False
        if value.answered_at is None:  # a caller and a callback in the middle of their meeting
            return False
        if value.id in self._board.calls:
            return False
        call = LiveCall(value)
        call.a, call.b = Party(value.a, call), Party(value.b, call)
        call.a.other, call.b.other = call.b, call.a
        self._board.open(call)
        for party in call.parties:
            self._board.enter(party)
        timers.resume(self._board, call, now)
        return True

    def close(self, now: float) -> None:
        """End all calls: BYE to both ends of those that are up, 503 and CANCEL to the others."""
        for call in list(self._board.calls.values()):
            self._end(call, SERVER_STOPPED, now, 503)

    async def stop(self) -> None:
        """The node ends. Calls that are up stay up, without us: only their records are written.
        Callers that wait for an answer get a 503."""
        board = self._board
        for call in list(board.calls.values()):
            if call.setup is not None:
                call.setup.finish(503, self._now, SERVER_STOPPED)
            else:
                board.close(call)
                records.ended(board, call, 200, "OK", SERVER_STOPPED)


def _orphan(response: Response, hop: Hop) -> Leg:
    """The leg of a 2xx that belongs to no dialog of ours. Raises BadMessage."""
    lines = response.raw_lines("from", "to", "call-id", "cseq")
    invite = Request("INVITE", str(response.to.uri), lines)
    dialog = Dialog.from_response(invite, response)
    return Leg(dialog, 0, hop.peer, hop.reliable, True, "", hop.peer)
