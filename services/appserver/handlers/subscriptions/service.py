"""Subscriptions as the rest of an appserver sees them: requests, what the bus brings, and ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from services.appserver.domain.subscriptions.subscription import Package
from services.appserver.handlers.forward import Forwarder
from services.appserver.handlers.planner import Planner
from services.appserver.handlers.subscriptions.lines import LineWatch
from services.appserver.handlers.subscriptions.notifier import Notifier
from services.appserver.handlers.subscriptions.summaries import Summaries
from services.appserver.handlers.tools import Tools
from tandem.bus.lines import LinesKnown, LinesWanted, SummariesWanted, SummaryKnown
from tandem.bus.nodes import Nodes
from tandem.bus.ports import Bus, Envelope, Topic
from tandem.runtime.metrics import Metrics
from tandem.sip.transaction import ServerTransaction, TransactionLayer

logger = logging.getLogger(__name__)


class Subscriptions:
    """`attach` completes it. `arm()` is called when something was done from outside of the path of
    messages: deadlines may have been added."""

    def __init__(self, tools: Tools, contact: str, arm: Callable[[], None]) -> None:
        self.contact = contact
        """The header line that names this appserver."""
        self.lines = LineWatch(tools, self._changed)
        self.summaries = Summaries(tools, self._changed)
        self.notifier = Notifier(tools, self.lines, self.summaries, contact, self._alone)
        self._tools = tools
        self._arm = arm
        self._nodes: Nodes | None = None
        tools.table.on_change = self._bindings_changed

    def attach(self, layer: TransactionLayer, planner: Planner, forwarder: Forwarder) -> None:
        """What needs the core to be made."""
        self._planner = planner
        self.notifier.attach(layer, planner)
        self.summaries.attach(layer, forwarder)

    def join(self, nodes: Nodes) -> None:
        """Follow the other appservers."""
        self._nodes = nodes
        nodes.listeners.append(self.lines.node_changed)

    def listen(self, bus: Bus) -> None:
        """Hear them from now on."""
        bus.subscribe(Topic.LINES, self.take, name=f"{self._tools.config.node_id}-lines")
        bus.on_resumed(self._resumed)

    def _alone(self) -> bool:
        return self._nodes is None or len(self._nodes.alive("appserver")) < 2

    # -- requests ------------------------------------------------------------------------------

    def notify(self, tx: ServerTransaction, event: str, now: float) -> bool:
        """Take a NOTIFY outside of a dialog if it is a message-waiting indication."""
        if event != Package.MESSAGE_SUMMARY:
            return False
        self._planner.identify(tx, self.summaries.receive, now)
        return True

    # -- what changes --------------------------------------------------------------------------

    def _changed(self, account: str) -> None:
        self.notifier.changed(account)

    def _bindings_changed(self, account: str) -> None:
        """By a REGISTER, or by what the bus brings: then nobody arms the timer but us."""
        self.lines.bindings_changed(account)
        if self.notifier.registry.of_account(account):
            self.notifier.changed(account)
            self._arm()

    async def take(self, batch: Sequence[Envelope]) -> None:
        """The subscriber of Topic.LINES."""
        for envelope in batch:
            try:
                self._take(envelope.payload, envelope.node)
            except Exception:
                self._tools.counters.errors += 1
                logger.exception("what another node says of a line could not be taken")
        self._arm()

    def _take(self, said: object, node: str) -> None:
        if isinstance(said, LinesWanted):
            self.lines.asked(said, node)
        elif isinstance(said, LinesKnown):
            self.lines.told(said, node)
        elif isinstance(said, SummaryKnown):
            self.summaries.told(said)
        elif isinstance(said, SummariesWanted):
            self.summaries.asked(said, node)

    def _resumed(self) -> None:
        self.lines.say_wanted()
        self.notifier.resumed()

    def register(self, metrics: Metrics) -> None:
        """Show what there is, and what happened."""
        metrics.counters("tandem_subscriptions", self.notifier.counters, "Subscriptions of phones")
        for package in Package:
            metrics.gauge(
                "tandem_subscriptions",
                partial(self.notifier.registry.of_package, package),
                "Subscriptions of phones",
                {"package": package.value},
            )
        metrics.gauge("tandem_watched_lines", lambda: len(self.lines), "Lines watched from here")
        metrics.gauge("tandem_told_lines", lambda: len(self.lines.calls), "Lines told of from here")
        metrics.gauge("tandem_mailboxes", lambda: len(self.summaries), "Mailboxes known")
