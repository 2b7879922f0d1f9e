"""What all handlers work with, put together once by `app.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.appserver.config import AppServerConfig
from services.appserver.domain.authentication import Authenticator
from services.appserver.domain.domains import Domains
from services.appserver.domain.location import LocationTable
from services.appserver.domain.ownership import Ownership
from services.appserver.domain.proxies import Proxies
from services.appserver.handlers.accounts import AccountCache
from services.appserver.handlers.programs import ProgramCache
from tandem.bus.ports import Publisher
from tandem.sip.deadlines import Deadlines

if TYPE_CHECKING:
    from tandem.runtime.telemetry import Tracing


@dataclass(slots=True)
class Counters:
    """What happened, for metrics and tests."""

    received: int = 0
    malformed: int = 0
    """Messages that were answered 400 or dropped."""
    errors: int = 0
    """Exceptions that the last-resort guard caught: each is a fault of this program."""
    registered: int = 0
    refreshed: int = 0
    repeated: int = 0
    """REGISTERs that came again and got their answer again."""
    challenged: int = 0
    refused: int = 0
    overload: int = 0
    """Requests answered 503 because too many waited."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Dependencies of the handlers."""

    config: AppServerConfig
    domains: Domains
    accounts: AccountCache
    programs: ProgramCache
    authenticator: Authenticator
    table: LocationTable
    ownership: Ownership
    proxies: Proxies
    publisher: Publisher
    deadlines: Deadlines
    send: Callable[[bytes, str], None]
    """Puts a message on the link, to a peer."""
    send_outside: Callable[[bytes, str], None]
    """The same for a message that belongs to no call."""
    tell: Callable[[bytes, str], None]
    """Puts on the link what is for a proxy itself, and for nobody who watches a customer."""
    clock: Callable[[], float]
    """The steady clock of the deadlines."""
    wall: Callable[[], float]
    """Unix seconds."""
    new_token: Callable[[], str]
    """Random text for tags and branches."""
    tracing: Tracing | None = None
    """Set when calls are traced."""
    counters: Counters = field(default_factory=Counters)
    answers: list[int] = field(default_factory=lambda: [0] * 7)
    """What was answered without a transaction, by the first digit of the status."""
