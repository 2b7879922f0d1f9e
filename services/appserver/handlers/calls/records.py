"""What the calls tell the world: their events, and one call record for each."""

from __future__ import annotations

from collections.abc import Sequence

from services.appserver.domain.best_response import Failure
from services.appserver.domain.call import Call, CallState
from services.appserver.domain.leg import Leg
from services.appserver.domain.plan import CallPlan
from services.appserver.domain.transfers import Order
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.live import LiveCall
from services.appserver.handlers.sources import source_of
from tandem.bus.call_events import (
    CallAnswered,
    CallChanged,
    CallEnded,
    CallForwarded,
    CallProgress,
    CallRecord,
    CallStarted,
    LegFailed,
)
from tandem.bus.transfer_events import (
    TransferCompleted,
    TransferFailed,
    TransferRefused,
    TransferStarted,
)
from tandem.rpc.directory import Account
from tandem.sip.address import Address
from tandem.sip.build import reason_phrase
from tandem.sip.message import Request, Response

QUIET: frozenset[str] = frozenset({"OPTIONS", "PRACK"})
"""Methods inside calls that are of no interest to anybody who watches."""


def new_call(board: Board, request: Request, plan: CallPlan) -> Call:
    """The value of a call that begins with this INVITE. Raises BadMessage."""
    caller = request.from_
    return Call(
        id=board.new_token(),
        direction=plan.direction,
        owners=plan.owners,
        caller=str(caller.uri),
        caller_name=caller.display,
        destination=request.uri,
        source=plan.looped.source if plan.looped else source_of(request).text,
        sip_call_id=request.call_id,
        created_at=board.wall(),
        max_seconds=plan.max_seconds,
    )


def new_dialout(board: Board, account: Account) -> Call:
    """The value of a call that we begin ourselves, with the phones of this account."""
    return Call(
        id=board.new_token(),
        direction="out",
        owners=(account.owner,),
        caller=f"sip:{account.aor}",
        caller_name="",
        destination=f"sip:{account.aor}",
        source="",
        sip_call_id="",
        created_at=board.wall(),
        max_seconds=account.max_call_seconds,
    )


def new_connect(board: Board, owner: str, first: str) -> Call:
    """The value of a call that we begin ourselves for a customer, with whoever is there first."""
    return Call(
        id=board.new_token(),
        direction="out",
        owners=(owner,),
        caller=first,
        caller_name="",
        destination="",
        source="",
        sip_call_id="",
        created_at=board.wall(),
    )


def new_transfer(board: Board, old: Call, stayer: Leg, destination: str) -> Call:
    """The value of a call that an end of another is to go on in. A limit on the
    old call's duration goes on, too: nobody talks longer by a transfer."""
    who = Address.parse(stayer.far_end)
    spent = board.wall() - old.answered_at if old.answered_at is not None else 0.0
    return Call(
        id=board.new_token(),
        direction=old.direction,
        owners=old.owners,
        caller=str(who.uri),
        caller_name=who.display,
        destination=destination,
        source=stayer.text,
        sip_call_id="",  # until it has left the old call, to which its messages belong
        created_at=board.wall(),
        max_seconds=max(1, old.max_seconds - int(spent)) if old.max_seconds else 0,
    )


def transfer_started(board: Board, old: Call, new: Call, order: Order, leg: int) -> None:
    """A leg is to leave its call."""
    board.publish(
        TransferStarted(
            owners=old.owners,
            call_id=old.id,
            new_call_id=new.id,
            kind=order.kind,
            by=order.by,
            leg=leg,
            destination=new.destination,
        )
    )


def transfer_refused(board: Board, call: Call, order: Order, status: int, reason: str) -> None:
    """None is begun for this REFER."""
    board.publish(
        TransferRefused(
            owners=call.owners,
            call_id=call.id,
            kind=order.kind,
            by=order.by,
            status=status,
            reason=reason,
        )
    )


def transferred(board: Board, new: Call, olds: Sequence[str]) -> None:
    """It has: the new call is up, the old ones are over."""
    for old in olds:
        board.publish(TransferCompleted(owners=new.owners, call_id=old, new_call_id=new.id))


def not_transferred(board: Board, new: Call, olds: Sequence[str], status: int, reason: str) -> None:
    """It has not."""
    for old in olds:
        board.publish(
            TransferFailed(
                owners=new.owners, call_id=old, new_call_id=new.id, status=status, reason=reason
            )
        )


def started(board: Board, call: Call) -> None:
    """An INVITE was taken on."""
    board.publish(
        CallStarted(
            owners=call.owners,
            call_id=call.id,
            direction=call.direction,
            caller=call.caller,
            destination=call.destination,
            source=call.source,
            sip_call_id=call.sip_call_id,
        )
    )


def forwarded(board: Board, call: Call, leg: int, target: str, by: str, call_id: str) -> None:
    """A leg was placed, or placed anew by another way."""
    board.publish(
        CallForwarded(
            owners=call.owners,
            call_id=call.id,
            leg=leg,
            target=target,
            next_hop=by,
            sip_call_id=call_id,
        )
    )


def progressed(board: Board, call: Call, leg: int, response: Response) -> None:
    """A leg rings."""
    status, reason = response.status, response.reason
    if call.progress_at is None:
        call.progress_at = board.wall()
        call.progress_status = status
    board.publish(
        CallProgress(owners=call.owners, call_id=call.id, leg=leg, status=status, reason=reason)
    )


def leg_failed(board: Board, call: Call, leg: int, failure: Failure) -> None:
    """A leg ended unanswered."""
    response = failure.response
    reason = (response.reason if response else "") or reason_phrase(failure.status)
    board.publish(
        LegFailed(
            owners=call.owners, call_id=call.id, leg=leg, status=failure.status, reason=reason
        )
    )


def answered(board: Board, call: Call, leg: int, target: str) -> None:
    """The call is up."""
    call.state = CallState.UP
    call.answered_at = board.wall()
    call.answered_by = target
    board.publish(CallAnswered(owners=call.owners, call_id=call.id, leg=leg, target=target))


def changed(board: Board, call: Call, method: str, leg: int, status: int) -> None:
    """A request inside the call was answered."""
    if method not in QUIET:
        board.publish(
            CallChanged(
                owners=call.owners, call_id=call.id, method=method, from_leg=leg, status=status
            )
        )


def ended(board: Board, live: LiveCall, status: int, phrase: str, reason: str) -> None:
    """The call is over: the last event and the record."""
    call = live.value
    call.state = CallState.ENDED
    at = board.wall()
    since = call.answered_at
    duration = max(0.0, at - since) if since is not None else 0.0
    board.publish(
        CallEnded(
            owners=call.owners, call_id=call.id, status=status, reason=reason, duration=duration
        )
    )
    board.publish(_record(call, at, status, phrase, reason, duration))


def _record(
    call: Call, at: float, status: int, phrase: str, reason: str, duration: float
) -> CallRecord:
    rang_from = call.progress_at
    rang_to = call.answered_at if call.answered_at is not None else at
    return CallRecord(
        owners=call.owners,
        call_id=call.id,
        direction=call.direction,
        caller=call.caller,
        caller_name=call.caller_name,
        destination=call.destination,
        source=call.source,
        sip_call_id=call.sip_call_id,
        answered_by=call.answered_by,
        created_at=call.created_at,
        progress_at=rang_from,
        progress_status=call.progress_status,
        answered_at=call.answered_at,
        ended_at=at,
        status=status,
        status_reason=phrase,
        end_reason=reason,
        duration=duration,
        ring_duration=max(0.0, rang_to - rang_from) if rang_from is not None else 0.0,
        legs=call.legs,
    )
