"""What all registrations of a node work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.appserver.domain.registrations.schedule import Chance
from services.appserver.handlers.outside import Outside
from services.appserver.handlers.registrations.pace import Pace
from services.appserver.handlers.tools import Tools
from services.appserver.handlers.traces import Traces
from tandem.sip.transaction import TransactionLayer

if TYPE_CHECKING:
    from services.appserver.handlers.registrations.registration import Registration


@dataclass(slots=True)
class Counters:
    """What happened, for metrics."""

    sent: int = 0
    """REGISTERs, those with credentials after a challenge too."""
    granted: int = 0
    failed: int = 0
    """Attempts that ended otherwise."""
    unregistered: int = 0
    taken: int = 0
    """Leases got."""
    lost: int = 0
    """Leases that another node has now, without our giving them up."""
    unanswered: int = 0
    """Times that provisioning could not be asked for leases."""


@dataclass(slots=True)
class Means:
    """Put together once."""

    tools: Tools
    layer: TransactionLayer
    ways: Outside
    traces: Traces
    link_reliable: bool
    pace: Pace
    chance: Chance
    changed: Callable[[Registration], None]
    """To be called when a report of a registration would say something else, and when an attempt
    of it has ended."""
    counters: Counters = field(default_factory=Counters)
    under_way: int = 0
    """Attempts that have not ended."""
