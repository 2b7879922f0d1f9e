"""What the worlds of all runs have in common."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from services.appserver.handlers.callbacks import Callbacks
from services.appserver.handlers.dialplans.dialer import Dialer
from services.appserver.handlers.dialplans.lookups import Lookups
from services.appserver.handlers.programs import ProgramCache
from services.appserver.handlers.shares import Shares
from services.appserver.handlers.tools import Tools
from services.appserver.ports import Calls, Mailer, Moves, Resolver, Signals, Steering, Web

MAILS_AN_HOUR: Final = 60
"""Mails of one customer's dialplans, from one appserver."""
MAX_ENUMS: Final = 4
"""ENUM look-ups of one customer at once: each holds a task and a socket while DNS is silent."""
HOUR: Final = 3_600.0


class MailQuota:
    """Mails of each customer within the last hour."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sent: deque[tuple[float, str]] = deque()
        self._count: Counter[str] = Counter()

    def take(self, customer: str) -> bool:
        """Whether one more may be sent; then it is counted."""
        now = self._clock()
        while self._sent and self._sent[0][0] <= now - HOUR:
            _, whose = self._sent.popleft()
            self._count[whose] -= 1
            if not self._count[whose]:
                del self._count[whose]
        if self._count[customer] >= MAILS_AN_HOUR:
            return False
        self._sent.append((now, customer))
        self._count[customer] += 1
        return True


@dataclass(frozen=True, slots=True)
class Services:
    """Dependencies of `LiveWorld`."""

    tools: Tools
    calls: Calls
    steering: Steering
    moves: Moves
    lookups: Lookups
    dialer: Dialer
    programs: ProgramCache
    callbacks: Callbacks
    signals: Signals
    web: Web
    resolver: Resolver
    arm: Callable[[], None]
    mailer: Mailer | None = None
    """None: no mails are sent."""
    quota: MailQuota | None = None
    enums: Shares = field(default_factory=lambda: Shares(MAX_ENUMS))
    """ENUM look-ups under way."""

    def may_mail(self, customer: str) -> bool:
        """Whether a customer may send one more."""
        return self.quota is None or self.quota.take(customer)
