"""Setting a call up: all targets are rung at once, the first 2xx wins (RFC 3261 §16.7 for a fork,
§13 for each of its legs).

    start ─► SETUP ─┬─ 2xx of a branch ─► the other branches are cancelled, the call is UP
                    ├─ all branches failed, or one with 6xx ─► the best failure
                    ├─ CANCEL or BYE of the caller ─► 487
                    ├─ ring time over ─► 480
                    └─ wait ─► nobody rings, the caller hears ringing ─► `meeting.meet`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.appserver.domain.best_response import (
    STRIPPED,
    Failure,
    best,
    end_reason,
    passed_status,
)
from services.appserver.domain.call import CallState
from services.appserver.domain.headers import has_offer, passed, response_headers, retagged
from services.appserver.domain.leg import Leg
from services.appserver.domain.plan import CallPlan
from services.appserver.handlers.calls import meeting, records, timers
from services.appserver.handlers.calls.acks import send_ack
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.branch import Branch
from services.appserver.handlers.calls.limits import (
    DEFAULT_BREADTH,
    MAX_LEGS,
    RING_AGAIN_SECONDS,
)
from services.appserver.handlers.calls.live import LiveCall, Party
from tandem.rpc.directory import Account
from tandem.sip.build import reason_phrase, record_routes, response_to
from tandem.sip.dialog import Dialog, DialogState
from tandem.sip.message import Request, Response
from tandem.sip.transaction import ServerTransaction

if TYPE_CHECKING:
    from tandem.sip.deadlines import Deadline

MAX_EARLY: Final = 20
"""Early dialogs of one call: what forks beyond us may make of it."""


class Setup:
    """A call until its answer."""

    caller: Party | None = None
    """The caller that waits for a callback."""

    def __init__(self, board: Board, call: LiveCall, tx: ServerTransaction, plan: CallPlan) -> None:
        request = tx.request
        self._board = board
        self._plan = plan
        self._branches: list[Branch] = []
        self._failures: list[Failure] = []
        self._deadline: Deadline | None = None
        self._record_routes = record_routes(request)
        # the caller's dialog as all its early forms begin; also finds out what is wrong with it
        self._dialog = Dialog.from_request(request, tx.tag or "")
        self._tags = 0
        self.call = call
        self.tx = tx
        self.from_value = request.first("from") or ""
        self.to_value = retagged(request.first("to") or "", "")
        self.lines = self._shared_lines(request, len(plan.targets))
        self.body = request.body

    def _shared_lines(self, request: Request, targets: int) -> list[str]:
        """What the INVITEs of all branches have in common."""
        hops = request.max_forwards
        breadth = breadth_of(request) // max(1, targets)
        return [
            f"Max-Forwards: {70 if hops is None else hops - 1}",
            f"Max-Breadth: {max(1, breadth)}",
            self._board.contact,
            *passed(request, without=("replaces",)),
            *(f"Replaces: {self._board.translated(v)}" for v in request.values("replaces")),
        ]

    def start(self, now: float) -> None:
        """Ring them all."""
        board, call = self._board, self.call
        self.tx.context = call
        call.setup = self
        targets = [target for target in self._plan.targets if target.hops][:MAX_LEGS]
        if not targets:
            self.finish(480, now, "not available")
            return
        self._deadline = board.deadlines.at(now + board.limits.ring_seconds, self._rang_enough)
        for number, target in enumerate(targets, start=1):
            self._branches.append(Branch(board, self, target, number))
        call.value.legs = len(targets)
        for branch in self._branches:
            branch.send(now)

    @property
    def full(self) -> bool:
        """Whether there are as many early dialogs as there may be."""
        return self._tags >= MAX_EARLY

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
        else:
            tag = self.tx.tag or ""
        self._pass(response, response.status, tag, now)

    def on_answer(self, branch: Branch, party: Party, response: Response, now: float) -> None:
        """The first 2xx wins."""
        board, call, caller = self._board, self.call, party.other
        assert caller is not None
        self._end_setup()
        call.a, call.b = caller, party
        call.value.a, call.value.b = caller.leg, party.leg
        caller.leg.dialog.state = DialogState.CONFIRMED
        party.inviting = None
        self.tx.context = caller
        self._give_up_branches(now)
        if has_offer(self.tx.request):
            send_ack(board, party.leg, branch.seq, now, keep=branch)
        else:
            party.awaiting = branch
        records.answered(board, call.value, branch.number, branch.target.uri)
        timers.start(board, call, response, now)
        self._pass(response, response.status, caller.leg.dialog.local_tag, now)

    def on_failure(self, failure: Failure, now: float) -> None:
        """A branch failed for good. "6xx ... the proxy SHOULD cancel all pending" (§16.7)."""
        self._failures.append(failure)
        if failure.status < 600 and not all(branch.over for branch in self._branches):
            return
        chosen = best(self._failures)
        self.finish(passed_status(chosen.status), now, end_reason(chosen), chosen.response)

    def proxy_lost(self, proxy: str, now: float) -> None:
        """A proxy is away."""
        for branch in list(self._branches):
            branch.proxy_lost(proxy, now)

    # -- ends ----------------------------------------------------------------------------------

    def _rang_enough(self, now: float) -> None:
        self.finish(480, now, "no answer")

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
        self._give_up_branches(now)
        tag = self._board.new_token() if self._tags or not self.tx.tag else self.tx.tag
        self.caller = Party(self._caller_leg(tag), self.call)
        self.caller.invited = self.tx
        self._board.enter(self.caller)
        self._ring(now)

    def _ring(self, now: float) -> None:
        """180, and again: "MUST send a non-100 provisional response at every minute, to handle the
        possibility of lost provisional responses" (RFC 3261 §13.3.1.1)."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._board.deadlines.at(now + RING_AGAIN_SECONDS, self._ring)
        assert self.caller is not None
        meeting.ring(self._board, self.caller, now)

    def join(self, party: Party, now: float) -> None:
        """The callback is here: the two INVITEs answer each other."""
        assert self.caller is not None
        self._end_setup()
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
    ) -> None:
        """End the call unanswered: the final answer, CANCEL to who still rings, the record."""
        if self.call.value.state is not CallState.SETUP:
            return
        self._end_setup()
        board, tx = self._board, self.tx
        tx.context = None
        if self.caller is not None:
            board.leave(self.caller)
            self.call.gone(reason, now)
        phrase = response.reason if response and response.status == status else ""
        if response is not None:
            self._pass(response, status, tx.tag or "", now)
        else:
            board.layer.reply(tx, status, now, headers=headers)
        self._give_up_branches(now)
        board.close(self.call)
        records.ended(board, self.call, status, phrase or reason_phrase(status), reason)

    def _give_up_branches(self, now: float) -> None:
        branches, self._branches = self._branches, []
        for branch in branches:
            branch.give_up(now)

    def _end_setup(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self.call.setup = None

    def _pass(self, response: Response, status: int, tag: str, now: float) -> None:
        """Pass a response on to the caller, under our own dialog."""
        same = status == response.status
        lines = response_headers(
            response,
            contact=self._board.contact if status < 300 else None,
            record_route=self._record_routes if status < 300 else [],
            strip=() if same else STRIPPED,
        )
        reason = response.reason if same else None
        answer = response_to(
            self.tx.request, status, reason, tag=tag, headers=lines, body=response.body
        )
        answer.unsized = True
        self._board.layer.respond(self.tx, answer, now)


def breadth_of(request: Request) -> int:
    """Max-Breadth (RFC 5393 §5.3.3): how many branches this request may still become."""
    got = request.number("max-breadth")
    return DEFAULT_BREADTH if got is None else got
