"""A call as a value: who calls whom, when what happened, and its two legs once it is up."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from services.appserver.domain.leg import Leg
from services.appserver.domain.session import Session


class CallState(StrEnum):
    """SETUP until a 2xx, UP until somebody ends it."""

    SETUP = "setup"
    UP = "up"
    ENDED = "ended"


@dataclass(slots=True)
class Call:
    """One call. Times are Unix seconds. An established one can be rebuilt from `to_dict`."""

    id: str
    """Tandem's own id, one for all legs."""
    direction: str
    owners: tuple[str, ...]
    caller: str
    """The URI in the caller's From."""
    caller_name: str
    destination: str
    """The Request-URI that was dialled."""
    source: str
    sip_call_id: str
    """The Call-ID of the caller's leg."""
    created_at: float
    max_seconds: int = 0
    """Longest duration after the answer; 0: no limit."""
    state: CallState = CallState.SETUP
    progress_at: float | None = None
    progress_status: int | None = None
    answered_at: float | None = None
    answered_by: str = ""
    legs: int = 0
    """Legs placed so far, the caller's not counted."""
    session: Session | None = None
    """The session timer that the ends agreed on."""
    a: Leg | None = None
    b: Leg | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON types only."""
        data: dict[str, Any] = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NESTED
        }
        data["owners"] = list(self.owners)
        data["session"] = asdict(self.session) if self.session else None
        data["a"] = self.a.to_dict() if self.a else None
        data["b"] = self.b.to_dict() if self.b else None
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Call:
        """The inverse of `to_dict`."""
        values = dict(data)
        values["owners"] = tuple(values["owners"])
        values["state"] = CallState(values["state"])
        values["session"] = Session(**values["session"]) if values["session"] else None
        values["a"] = Leg.from_dict(values["a"]) if values["a"] else None
        values["b"] = Leg.from_dict(values["b"]) if values["b"] else None
        return cls(**values)


_NESTED = frozenset({"session", "a", "b", "owners"})
