"""What subscribers are told: the state of an account at present, and its document."""

from __future__ import annotations

from services.appserver.domain.subscriptions.dialog_info import dialog_info
from services.appserver.domain.subscriptions.presence import Presence, pidf
from services.appserver.domain.subscriptions.subscription import Package
from services.appserver.domain.subscriptions.summary import MessageSummary
from services.appserver.handlers.subscriptions.lines import LineWatch
from services.appserver.handlers.subscriptions.summaries import Summaries
from services.appserver.handlers.tools import Tools
from tandem.bus.lines import Line

State = tuple[Line, ...] | Presence | MessageSummary
"""Of `dialog`, `presence`, `message-summary`. Equal states need not be told twice."""

NEEDS_LINES = frozenset({Package.DIALOG, Package.PRESENCE})
"""Packages that tell of calls."""


class Contents:
    """Reads bindings, lines and mailboxes."""

    def __init__(self, tools: Tools, lines: LineWatch, summaries: Summaries) -> None:
        self._tools = tools
        self._lines = lines
        self._summaries = summaries

    def state(self, package: Package, account: str) -> State:
        """The state of an account now."""
        if package is Package.MESSAGE_SUMMARY:
            return self._summaries.of(account)
        lines = self._lines.of(account)
        if package is Package.DIALOG:
            return lines
        bindings = self._tools.table.callable(account, self._tools.wall())
        return Presence.of(bool(bindings), lines)

    def body(self, entity: str, state: State, told: State | None, version: int) -> bytes:
        """The document of a state, for who was told another one before. `entity`: the URI of the
        account, as the subscriber has it."""
        if isinstance(state, MessageSummary):
            return str(state).encode()
        if isinstance(state, Presence):
            return pidf(entity, state)
        there = {line.call_id for line in state}
        before = told if isinstance(told, tuple) else ()
        return dialog_info(entity, version, state, (n for n in before if n.call_id not in there))
