"""All events, by their types: one class each, with its payload, its scope and its documentation.

An event's `owners` are the customers who may see it (their user names); an event with no owner is
for administrators alone. `text()` is the line that a console shows. No event holds a secret.
"""

from __future__ import annotations

from typing import Final

from tandem.bus import (
    call_events,
    callback_events,
    dialplan_events,
    node_events,
    phone_events,
    provider_events,
    transfer_events,
    web_events,
)
from tandem.bus.event import Event

EVENT_TYPES: Final[dict[str, type[Event]]] = {
    cls.type: cls
    for cls in (
        *phone_events.ALL,
        *provider_events.ALL,
        *call_events.ALL,
        *transfer_events.ALL,
        *callback_events.ALL,
        *dialplan_events.ALL,
        *node_events.ALL,
        *web_events.ALL,
    )
}
