"""Calls that routing refuses: whoever owns an end of one sees why it failed, and has its record.

What only strangers have a part in (no account was proven or found) is not recorded: who scans for
numbers must not be able to fill the log.
"""

from __future__ import annotations

from services.appserver.domain.best_response import Failure, end_reason
from services.appserver.domain.routing import Refusal
from services.appserver.handlers.tools import Tools
from tandem.bus.call_events import CallEnded, CallRecord, CallStarted
from tandem.bus.event import Event
from tandem.bus.ports import Topic
from tandem.rpc.directory import Account
from tandem.sip.message import Request


def record_refusal(
    tools: Tools,
    request: Request,
    source: str,
    caller: Account | None,
    callee: Account | None,
    refusal: Refusal,
) -> None:
    """Publish the events and the record of an INVITE from `source` that was answered with
    `refusal`."""
    owners = tuple(dict.fromkeys(a.owner for a in (caller, callee) if a is not None))
    if not owners or request.method != "INVITE":
        return
    reason = end_reason(Failure(refusal.status, None))
    record = _record(tools, request, source, owners, "out" if caller else "in", refusal, reason)
    events: tuple[Event, ...] = (
        CallStarted(
            owners=owners,
            call_id=record.call_id,
            direction=record.direction,
            caller=record.caller,
            destination=record.destination,
            source=record.source,
            sip_call_id=record.sip_call_id,
        ),
        CallEnded(
            owners=owners,
            call_id=record.call_id,
            status=refusal.status,
            reason=reason,
            duration=0.0,
        ),
        record,
    )
    for event in events:
        tools.publisher.publish(Topic.EVENTS, event)


def _record(
    tools: Tools,
    request: Request,
    source: str,
    owners: tuple[str, ...],
    direction: str,
    refusal: Refusal,
    reason: str,
) -> CallRecord:
    now = tools.wall()
    return CallRecord(
        owners=owners,
        call_id=tools.new_token(),
        direction=direction,
        caller=str(request.from_.uri),
        caller_name=request.from_.display,
        destination=request.uri,
        source=source,
        sip_call_id=request.call_id,
        answered_by="",
        created_at=now,
        progress_at=None,
        progress_status=None,
        answered_at=None,
        ended_at=now,
        status=refusal.status,
        status_reason=refusal.reason,
        end_reason=reason,
        duration=0.0,
        ring_duration=0.0,
        legs=0,
    )
