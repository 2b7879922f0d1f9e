"""What becomes of the calls of an appserver that is gone.

A call is ended here only when two things agree: the list of nodes says that the process which ran
it is no more, and the log says so too. An event that tells of the loss has passed through the same
queue as all that the node had published, so what the log does not hold by then will not come,
except what another events node has in hand; for that, and for a node that was only cut off, we
wait a while longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from services.events.domain.calls import LiveCall
from services.events.domain.event import Draft, draft
from tandem.bus.call_events import CallEnded, CallRecord
from tandem.bus.nodes import Known, NodeState
from tandem.bus.ports import Envelope

SERVER_LOST: Final = "server lost"
"""The end reason of such a call."""
SETTLE_SECONDS: Final = 5.0
"""For events that other events nodes have in hand when a node is known to be gone."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What the list of nodes says of a node's calls."""

    before: float
    """Calls that started before this, Unix seconds, are gone."""
    wait: float
    """Seconds until that is believed."""


def fate(known: Known | None, *, listening: bool, lost_seconds: float) -> Fate:
    """`known`: the node, if it was heard of; `listening`: whether we would have heard of it."""
    if known is None:
        return Fate(math.inf if listening else 0.0, lost_seconds)
    if known.state == NodeState.LOST:
        return Fate(math.inf, lost_seconds)
    settle = min(SETTLE_SECONDS, lost_seconds)
    if known.state == NodeState.STOPPED:
        return Fate(math.inf, settle)
    return Fate(known.said.incarnation / 1000.0, settle)


def lost_call_drafts(call: LiveCall, now: float) -> list[Draft]:
    """The events that end a lost call, its record included. Their envelope ids are the same
    whichever node writes them."""
    ended = min(max(call.heard_at, call.lost_at or 0.0), max(now, call.heard_at))
    talked = max(0.0, ended - call.answered_at) if call.answered_at is not None else 0.0
    status, reason = _status(call)
    ring_end = call.answered_at if call.answered_at is not None else ended
    rang = max(0.0, ring_end - call.progress_at) if call.progress_at is not None else 0.0
    facts = {name: str(call.facts.get(name) or "") for name in _FACTS}
    end = CallEnded(
        owners=call.owners, call_id=call.id, status=status, reason=SERVER_LOST, duration=talked
    )
    record = CallRecord(
        owners=call.owners,
        call_id=call.id,
        **facts,
        caller_name="",
        answered_by=call.answered_by or "",
        created_at=call.started_at,
        progress_at=call.progress_at,
        progress_status=call.progress_status,
        answered_at=call.answered_at,
        ended_at=ended,
        status=status,
        status_reason=reason,
        end_reason=SERVER_LOST,
        duration=talked,
        ring_duration=rang,
        legs=len(call.legs),
    )
    # of the lost node, as all events of its calls are
    return [
        draft(Envelope(f"lost-{call.id}-ended", now, call.node, end)),
        draft(Envelope(f"lost-{call.id}-record", now, call.node, record)),
    ]


def _status(call: LiveCall) -> tuple[int, str]:
    """The last status that the caller is known to have got."""
    if call.answered_at is not None:
        return 200, "OK"
    return (call.progress_status, call.progress_reason) if call.progress_status else (100, "Trying")


_FACTS: Final = ("direction", "caller", "destination", "source", "sip_call_id")
