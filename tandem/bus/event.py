"""What all events share."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, cast

_ENVELOPE = frozenset({"owners", "call_id"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events share."""

    service: ClassVar[str] = ""
    """Which service publishes it: proxy, appserver, provisioning or events."""
    type: ClassVar[str] = ""
    """`area.what_happened`: what consoles filter by."""

    owners: tuple[str, ...] = ()
    call_id: str | None = None
    """The id of the call it belongs to (Tandem's own, one for all its legs)."""

    def text(self) -> str:
        """One line for people."""
        raise NotImplementedError

    def told_by(self) -> str:
        """The service that consoles show it under."""
        return self.service

    def data(self) -> dict[str, Any]:
        """The payload for programs, JSON types only."""
        # the cast: a class is hashable, which mypy can't tell from its instances' __hash__
        names = _payload_names(cast(Hashable, type(self)))
        return {name: getattr(self, name) for name in names}


@cache
def _payload_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.name not in _ENVELOPE)
