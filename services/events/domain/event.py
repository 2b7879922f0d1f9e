"""An event on its way from the bus into the log, and as the log keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.events.domain.clean import clean_object, clean_text
from services.events.domain.times import rfc3339
from tandem.bus.event import Event
from tandem.bus.node_events import NodeLost
from tandem.bus.ports import Envelope
from tandem.rpc.sessions import Principal

MAX_MESSAGE: Final = 2000
"""Characters of the line that people read."""
MAX_NAME: Final = 255
"""Characters of ids and names, as wide as their columns."""

CALL_RECORD: Final = "call.record"
SIP_TRACE: Final = "sip.trace"


@dataclass(frozen=True, slots=True)
class Draft:
    """An event that has no place in the order yet."""

    envelope_id: str
    time: float
    node: str
    service: str
    type: str
    owners: tuple[str, ...]
    call_id: str | None
    message: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event in the log. `id` orders all events of all nodes; ids grow, and may leave holes."""

    id: int
    time: float
    node: str
    service: str
    type: str
    owners: tuple[str, ...]
    call_id: str | None
    message: str
    data: Mapping[str, Any]

    def document(self, viewer: Principal) -> dict[str, Any]:
        """What the API shows to `viewer`."""
        return {
            "id": self.id,
            "time": rfc3339(self.time),
            "node": self.node,
            "service": self.service,
            "type": self.type,
            "owner": shown_owner(self.owners, viewer),
            "call_id": self.call_id,
            "message": self.message,
            "data": self.data,
        }


def shown_owner(owners: tuple[str, ...], viewer: Principal) -> str | None:
    """A customer sees himself alone: who else had a part in his call is not his business."""
    if not viewer.admin:
        return viewer.username
    return ",".join(owners) or None


def draft(envelope: Envelope) -> Draft:
    """Read an envelope with an Event in it. Raises what the event's own methods raise."""
    event: Event = envelope.payload
    return Draft(
        envelope_id=clean_text(_id(envelope.id, event), MAX_NAME),
        time=envelope.time,
        node=clean_text(envelope.node, MAX_NAME),
        service=event.told_by(),
        type=event.type,
        owners=tuple(clean_text(owner, MAX_NAME) for owner in event.owners if owner),
        call_id=clean_text(event.call_id, MAX_NAME) if event.call_id else None,
        message=clean_text(event.text(), MAX_MESSAGE),
        data=clean_object(event.data()),
    )


def _id(envelope_id: str, event: Event) -> str:
    """Several nodes find the same one lost; it is told once."""
    if isinstance(event, NodeLost):
        return f"lost-{event.lost}-{event.incarnation}-{event.times}"
    return envelope_id
