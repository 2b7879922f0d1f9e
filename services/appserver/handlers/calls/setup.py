"""Setting up a call that came by an INVITE: the caller's side (`side.Side`) until it is answered
(RFC 3261 §13 for each leg).

    start ─► SETUP ─┬─ 2xx of a branch ─► the other branches are cancelled, the call is UP
                    ├─ nobody answered ─► the best failure, or the pilot rings others
                    ├─ CANCEL or BYE of the caller ─► 487
                    └─ wait ─► nobody rings, the caller hears ringing ─► `meeting.meet`
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from services.appserver.domain.best_response import STRIPPED
from services.appserver.domain.call import CallState
from services.appserver.domain.headers import (
    has_offer,
    own_lines,
    passed,
    response_headers,
    retagged,
)
from services.appserver.domain.leg import Leg
from services.appserver.domain.loops import Looped
from services.appserver.domain.plan import CallPlan, Target
from services.appserver.handlers.calls import meeting, records, timers
from services.appserver.handlers.calls.acks import send_ack
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.dress import REPLACES
from services.appserver.handlers.calls.limits import (
    DEFAULT_BREADTH,
    MAX_LEGS,
    RING_AGAIN_SECONDS,
)
from services.appserver.handlers.calls.live import LiveCall, Party, Steered
from services.appserver.handlers.calls.side import Side
from services.appserver.ports import Pilot
from tandem.rpc.directory import Account
from tandem.sip.build import reason_phrase, record_routes, response_to
from tandem.sip.dialog import Dialog, DialogState
from tandem.sip.message import Request, Response
from tandem.sip.transaction import ServerTransaction

if TYPE_CHECKING:
    from services.appserver.handlers.calls.attempt import Attempt
    from services.appserver.handlers.calls.branch import Branch
    from tandem.sip.deadlines import Deadline

MAX_EARLY: Final = 20
"""Early dialogs of one call: what forks beyond us may make of it."""


class Setup(Side):
    """A call until its answer."""

    def __init__(
        self,
        board: Board,
        call: LiveCall,
        tx: ServerTransaction,
        plan: CallPlan,
        pilot: Pilot | None = None,
    ) -> None:
        super().__init__(board, call, pilot)
        request = tx.request
        self._plan = plan
        self._again: Deadline | None = None
        """When the caller is told anew how it stands."""
        self._standing: Party | None = None
        """The caller in a dialog that our own provisional answers made, and no leg has."""
        self._record_routes = record_routes(request)
        # the caller's dialog as all its early forms begin; also finds out what is wrong with it
        self._dialog = Dialog.from_request(request, tx.tag or "")
        self._tags = 0
        self.tx = tx
        self.from_value = request.first("from") or ""
        self.to_value = retagged(request.first("to") or "", "")
        hops = request.max_forwards
        self._hops = 70 if hops is None else hops - 1
        self.width = breadth_of(request)
        self._passed = [
            self._board.contact,
            *passed(request, without=("replaces",)),
            *(f"Replaces: {self._board.translated(v)}" for v in request.values("replaces")),
        ]
        self.body = request.body

    def start(self, now: float) -> None:
        """Ring all targets of the plan, or have the pilot say whom."""
        self.tx.context = self.call
        self.call.setup = self
        if self._pilot is not None:
            self.steer(now)
            self._again = self._board.deadlines.at(now + RING_AGAIN_SECONDS, self._remind)
            return
        targets = [target for target in self._plan.targets if target.hops][:MAX_LEGS]
        if targets:
            self.attempt(targets, 0.0, now)
        else:
            self.finish(480, now, "not available")

    def attempt(self, targets: list[Target], ring_seconds: float, now: float) -> Attempt:
        """Ring these, which share the breadth that the request has (RFC 5393 §5.3.3)."""
        self.share = max(1, self.width // max(1, len(targets)))
        self.lines = [
            f"Max-Forwards: {self._hops}",
            f"Max-Breadth: {self.share}",
            *self._passed,
        ]
        return super().attempt(targets, ring_seconds, now)

    @property
    def full(self) -> bool:
        """Whether there are as many early dialogs as there may be."""
        return self._tags >= MAX_EARLY

    @property
    def looped(self) -> Looped:
        """It is the same caller however often it comes back."""
        before = self._plan.looped
        if before is not None:
            return replace(before, times=before.times + 1)
        return Looped(self._plan.caller, self.call.value.source, self.tx.hop.peer)

    # -- from the branches ---------------------------------------------------------------------

    def pair(self, leg: Leg) -> Party:
        """The party of a new dialog of a branch, with a dialog of the caller's for it: forked
        early dialogs stay distinct for the caller."""
        board, tx = self._board, self.tx
        self._tags += 1
        tag = tx.tag if self._tags == 1 and tx.tag else board.new_token()
        callee = Party(leg, self.call)
        caller = Party(self._caller_leg(tag), self.call)
        caller.invited = tx
        if self._standing is not None:
            self._stands_no_more(tag)
        callee.other, caller.other = caller, callee
        board.enter(callee)
        board.enter(caller)
        return callee

    def _caller_leg(self, tag: str) -> Leg:
        base, tx = self._dialog, self.tx
        dialog = Dialog(
            call_id=base.call_id,
            local_tag=tag,
            remote_tag=base.remote_tag,
            local=base.local if tag == base.local_tag else retagged(base.local, tag),
            remote=base.remote,
            remote_target=base.remote_target,
            route_set=base.route_set,
            local_seq=0,
            remote_seq=base.remote_seq,
            state=DialogState.EARLY,
            uas=True,
            secure=base.secure,
        )
        account = self._plan.caller.aor if self._plan.caller is not None else ""
        return Leg(
            dialog=dialog,
            number=0,
            proxy=tx.hop.peer,
            reliable=tx.hop.reliable,
            pinned=True,
            account=account,
            text=self.call.value.source,
        )

    def on_progress(self, party: Party | None, response: Response, now: float) -> None:
        """A 1xx passes with its body, and reliably if it came so (RFC 3262)."""
        if party is not None and party.other is not None:
            tag = party.other.leg.dialog.local_tag
            party.leg.note(response)  # whose answer came reliably says it no more in the 2xx
        else:
            tag = self.tx.tag or ""
        self._pass(response, response.status, tag, now, party)

    def progress(self, status: int, reason: str, lines: tuple[str, ...], now: float) -> None:
        """An answer of the pilot's own, in an early dialog that may be a leg's later. Who demands
        that provisional answers are acknowledged gets none (RFC 3262 §3)."""
        tx = self.tx
        if "100rel" in tx.request.tokens("require"):
            return
        headers = [*self._record_routes, self._board.contact, *own_lines(lines)]
        answer = response_to(tx.request, status, reason, tag=self._stand(), headers=headers)
        records.progressed(self._board, self.call.value, 0, answer)
        self._board.layer.respond(tx, answer, now)

    def _stand(self) -> str:
        """The tag of the dialog that our own answers make, in which a BYE finds the call."""
        if self._standing is not None:
            return self._standing.leg.dialog.local_tag
        tag = self.tx.tag or ""
        if self._board.party(tag, self._dialog.remote_tag) is None:
            party = self._standing = Party(self._caller_leg(tag), self.call)
            party.invited = self.tx
            self._board.enter(party)
        return tag

    def _stands_no_more(self, tag: str) -> None:
        """Another party takes the dialog with this tag over."""
        if self._standing is not None and self._standing.leg.dialog.local_tag == tag:
            self._standing = None

    def _remind(self, now: float) -> None:
        """Proxies on the way give up what they hear nothing of (RFC 3261 §16.6 step 11): say again
        what was said last."""
        self._again = self._board.deadlines.at(now + RING_AGAIN_SECONDS, self._remind)
        self._board.layer.transmit(self.tx)

    def on_answer(self, branch: Branch, party: Party, response: Response, now: float) -> None:
        """The call is up."""
        board, call, caller = self._board, self.call, party.other
        assert caller is not None
        self._end(now)
        call.a, call.b = caller, party
        call.value.a, call.value.b = caller.leg, party.leg
        caller.leg.dialog.state = DialogState.CONFIRMED
        party.inviting = None
        self.tx.context = caller
        caller.leg.note(self.tx.request)
        party.leg.note(response)
        options = branch.target.options
        if self.max_seconds or options.max_seconds:
            limits = (call.value.max_seconds, self.max_seconds, options.max_seconds)
            call.value.max_seconds = shortest(*limits)
        if has_offer(self.tx.request):
            send_ack(board, party.leg, branch.seq, now, keep=branch)
        else:
            party.awaiting = branch
        records.answered(board, call.value, branch.number, branch.target.uri)
        timers.start(board, call, response, now)
        self._pass(response, response.status, caller.leg.dialog.local_tag, now, party)
        if self._pilot is not None:
            self._answered(now)

    # -- ends ----------------------------------------------------------------------------------

    def cancelled(self, now: float) -> None:
        """The caller gave up (§9.2, or a BYE in the early dialog)."""
        self.finish(487, now, "cancelled")

    # -- waiting for a callback ----------------------------------------------------------------

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The accounts at its ends."""
        ends = (self._plan.caller, self._plan.callee)
        return tuple(account for account in ends if account is not None)

    def wait(self, now: float) -> None:
        """Cancel what rings; the caller goes on to hear ringing. A dialog that was used gets no
        other session (RFC 3264 §4): who waits has a new one."""
        self._stop_ringing(now)
        tag = self._board.new_token() if self._tags or not self.tx.tag else self.tx.tag
        self._stands_no_more(tag)
        self.caller = Party(self._caller_leg(tag), self.call)
        self.caller.invited = self.tx
        self._board.enter(self.caller)
        self._ring(now)

    def stop_waiting(self, now: float) -> bool:
        """The callback did not come: the pilot goes on. False without a pilot."""
        if self._pilot is None:
            return False
        self.call.waiter = None
        if self._standing is not None:
            self._board.leave(self._standing)
        self._standing, self.caller = self.caller, None
        if self._again is not None:
            self._again.cancel()
        self._remind(now)
        return True

    def _ring(self, now: float) -> None:
        """180, and again: "MUST send a non-100 provisional response at every minute, to handle the
        possibility of lost provisional responses" (RFC 3261 §13.3.1.1)."""
        if self._again is not None:
            self._again.cancel()
        self._again = self._board.deadlines.at(now + RING_AGAIN_SECONDS, self._ring)
        assert self.caller is not None
        meeting.ring(self._board, self.caller, now)

    def join(self, party: Party, now: float) -> None:
        """The callback is here: the two INVITEs answer each other."""
        assert self.caller is not None
        pilot, self._pilot = self._pilot, None
        if pilot is not None:
            self.call.waiter = Steered(pilot, self.call.waiter)
        self._end(now)
        self.tx.context = self.caller
        meeting.bridge(self._board, self.caller, party, now)

    # -- the end -------------------------------------------------------------------------------

    def finish(
        self,
        status: int,
        now: float,
        reason: str,
        response: Response | None = None,
        headers: tuple[str, ...] = (),
        phrase: str = "",
    ) -> None:
        """End the call unanswered: the final answer, CANCEL to who still rings, the record."""
        if self.call.value.state is not CallState.SETUP:
            return
        board, tx = self._board, self.tx
        tx.context = None
        if self.caller is not None:
            board.leave(self.caller)
        if response is not None:
            phrase = response.reason if response.status == status else ""
            self._pass(response, status, tx.tag or "", now)
        else:
            board.layer.reply(tx, status, now, phrase, headers)
        self._end(now)
        board.close(self.call)
        self._gone(reason, now)
        records.ended(board, self.call, status, phrase or reason_phrase(status), reason)

    def _end(self, now: float) -> None:
        super()._end(now)
        if self._again is not None:
            self._again.cancel()
        if self._standing is not None:
            self._board.leave(self._standing)

    def _pass(
        self, response: Response, status: int, tag: str, now: float, party: Party | None = None
    ) -> None:
        """Pass a response on to the caller, under our own dialog. `party` is who sent it."""
        same = status == response.status
        lines = response_headers(
            response,
            contact=self._board.contact if status < 300 else None,
            record_route=self._record_routes if status < 300 else [],
            strip=() if same else STRIPPED,
        )
        if party is not None and status < 300 and party.leg.transfer.ours:
            lines.append(REPLACES)
        reason = response.reason if same else None
        body = response.body
        if party is not None and party.leg.sdp_host:
            body = party.leg.said(body)
        answer = response_to(self.tx.request, status, reason, tag=tag, headers=lines, body=body)
        answer.unsized = True
        self._board.layer.respond(self.tx, answer, now)


def shortest(*limits: int) -> int:
    """The smallest of these limits that is one (0: none); 0 if none is."""
    return min((limit for limit in limits if limit), default=0)


def breadth_of(request: Request) -> int:
    """Max-Breadth (RFC 5393 §5.3.3): how many branches this request may still become."""
    got = request.number("max-breadth")
    return DEFAULT_BREADTH if got is None else got
