"""What the handlers need of the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from services.events.domain.event import Draft, StoredEvent
from services.events.domain.view import View
from tandem.bus.ports import Later


@dataclass(frozen=True, slots=True)
class CallRecords:
    """A page of call records, newest first, and how many there are in all."""

    items: list[dict[str, Any]]
    total: int


@dataclass(frozen=True, slots=True)
class RecordQuery:
    """Which call records: those of `owner` (None: everybody's) and within all limits given."""

    owner: str | None = None
    since: float | None = None
    until: float | None = None
    """Unix seconds; `since` <= created_at < `until`."""
    status: int | None = None
    account: str | None = None
    """Part of the caller's, the destination's or the answering party's address."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did."""

    after: int
    """The id of the last event before it."""
    events: list[StoredEvent]
    """What was stored, in order; nobody else's event lies between. Empty if all was known."""


class StorageError(Later):
    """The database can't be opened or does not answer; one line for people."""


class Unusable(StorageError):
    """The setting names no database that could ever be opened."""


class Refused(StorageError):
    """The database works, and can't hold what it was given."""


class EventLog(Protocol):
    """The event log and the call records. All but `open` raise StorageError."""

    async def open(self) -> None:
        """Connect and bring the tables up to date. May be tried again, but after Unusable."""

    async def close(self) -> None:
        """Let go of all connections."""

    async def append(self, drafts: Sequence[Draft]) -> Appended:
        """Store in one transaction, in order; leaves out those whose envelope id is known, and
        call records of calls that have one. What it returns is durable. However many write, who
        has read an event never finds a smaller id later. Raises Refused for what it can't hold."""

    async def end_calls(self, drafts: Sequence[Draft]) -> Appended:
        """As `append`, and leaves out all events of calls that have a record."""

    async def bounds(self) -> tuple[int, int]:
        """The ids of the first event that is kept and of the last; (1, 0) when there never was
        one. Read after a page of events, it tells which of them may be missing."""

    async def read(self, view: View, after: int, until: int, limit: int) -> list[StoredEvent]:
        """At least all events with after < id <= until that `view` shows, oldest first, at most
        `limit`. It may return others too: `view.shows` decides."""

    async def follow(self, after: int, until: int, limit: int) -> list[StoredEvent]:
        """All events with after < id <= until, oldest first, at most `limit`: for who keeps up with
        the end of the log. It and `bounds` wait for nobody who looks back."""

    async def latest(self, view: View, before: int, limit: int) -> list[StoredEvent]:
        """As `read`, from `before` (not included) backwards: newest first."""

    async def of_call(self, call_id: str, limit: int) -> list[StoredEvent]:
        """The events of a call, oldest first."""

    async def last_before(self, time: float) -> int:
        """The id of the last event that is older than `time`, 0 for none."""

    async def remove_events(self, through: int) -> None:
        """Remove the events with id <= `through`, but never the last event. `bounds` tells of it
        before the first is removed."""

    async def remove_traces(self, before: float, keep: int) -> None:
        """Remove the SIP traces older than a time, and the oldest of more than `keep`."""

    async def records(self, query: RecordQuery, offset: int, count: int) -> CallRecords:
        """A page of call records."""

    async def record(self, call_id: str) -> dict[str, Any] | None:
        """One call record, with its `owners`."""

    async def remove_records(self, before: float) -> None:
        """Remove the call records that ended before a time."""
