"""Who is being watched, and how far the event log goes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interest:
    """Somebody watches the full SIP traces of a customer; repeated while they do."""

    customer: str
    """The customer's user name; `*`: everybody, and what belongs to nobody."""
    until: float
    """Unix time in seconds when to stop unless it is said again."""


@dataclass(frozen=True, slots=True)
class EventsStored:
    """An events node has stored events; the others read them from the log."""

    last: int
    """The id of the last event that is stored."""
