"""Message-waiting indications (RFC 3842): a NOTIFY from a provider or a voicemail is passed to all
phones of the account, and the last one is kept, for phones that subscribe.

Who sends one need not be known to us, as with a call: a stranger can light a lamp, and name whom
some phones call for the messages. Each appserver has the last one of each account, the latest wins;
none outlives them all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from services.appserver.domain.plan import CallPlan
from services.appserver.domain.routing import Refusal, plan, targets
from services.appserver.domain.subscriptions.subscription import Package
from services.appserver.domain.subscriptions.summary import MessageSummary
from services.appserver.handlers.forward import Forwarder
from services.appserver.handlers.tools import Tools
from tandem.bus.lines import MAX_ACCOUNTS, SummariesWanted, SummaryKnown
from tandem.bus.ports import Topic
from tandem.rpc.directory import Account
from tandem.sip.deadlines import Deadline
from tandem.sip.errors import BadMessage
from tandem.sip.message import Request
from tandem.sip.transaction import ServerTransaction, TransactionLayer

MAX_SUMMARIES: Final = 50_000
"""Accounts whose mailbox is remembered, under 1 kB each; the one that was told of longest ago gives
way."""
TICK: Final = 0.001
"""Seconds by which an indication is dated after the one that it follows."""
PASS_SECONDS: Final = 1.0
"""Between two indications that are passed to the phones of one account: the last one goes."""

UNSUPPORTED: Final = Refusal(
    415, "Unsupported Media Type", (f"Accept: {Package.MESSAGE_SUMMARY.content_type}",)
)


@dataclass(slots=True, eq=False)
class Box:
    """A mailbox."""

    account: str
    summary: MessageSummary
    at: float
    """Unix seconds."""


@dataclass(slots=True, eq=False)
class Passing:
    """What goes to the phones of one account, once it may."""

    due: Deadline
    tx: ServerTransaction | None = None
    caller: Account | None = None
    callee: Account | None = None


class Summaries:
    """`changed(account)` is called when a mailbox has changed."""

    def __init__(self, tools: Tools, changed: Callable[[str], None]) -> None:
        self._tools = tools
        self._changed = changed
        self._boxes: OrderedDict[str, Box] = OrderedDict()
        self._passing: dict[str, Passing] = {}
        """Accounts whose phones were told within PASS_SECONDS."""

    def attach(self, layer: TransactionLayer, forwarder: Forwarder) -> None:
        """What needs the core to be made."""
        self._layer = layer
        self._forwarder = forwarder

    def __len__(self) -> int:
        return len(self._boxes)

    def __contains__(self, account: str) -> bool:
        return account in self._boxes

    def of(self, account: str) -> MessageSummary:
        """What is known; nothing known: nothing waits."""
        box = self._boxes.get(account)
        return box.summary if box is not None else MessageSummary()

    # -- from outside --------------------------------------------------------------------------

    def receive(
        self, tx: ServerTransaction, caller: Account | None, callee: Account, now: float
    ) -> None:
        """Take a NOTIFY for this account: answered by us, whatever its phones say to it."""
        try:
            summary = _summary_of(tx.request)
        except BadMessage as fault:
            self._layer.reply(tx, fault.status, now, fault.reason)
            return
        if isinstance(summary, Refusal):
            self._layer.reply(tx, summary.status, now, summary.reason, summary.headers)
            return
        self._layer.reply(tx, 200, now)
        if summary is not None:
            box = Box(callee.aor, summary, self._dated(callee.aor))
            self._keep(box)
            self._tell(box)
        self._pass(tx, caller, callee, now)

    def _dated(self, account: str) -> float:
        """When what comes now has come: after all that is known, though by a clock that is behind
        that of the node which heard of it."""
        old = self._boxes.get(account)
        return max(self._tools.wall(), old.at + TICK if old is not None else 0.0)

    def _keep(self, box: Box) -> None:
        """Unless a later one is known."""
        old = self._boxes.get(box.account)
        if old is not None and old.at > box.at:
            return
        self._boxes[box.account] = box
        self._boxes.move_to_end(box.account)
        if len(self._boxes) > MAX_SUMMARIES:
            self._boxes.popitem(last=False)
        if old is None or old.summary != box.summary:
            self._changed(box.account)

    # -- to the phones -------------------------------------------------------------------------

    def _pass(
        self, tx: ServerTransaction, caller: Account | None, callee: Account, now: float
    ) -> None:
        passing = self._passing.get(callee.aor)
        if passing is not None:
            passing.tx, passing.caller, passing.callee = tx, caller, callee
            return

        def due(now: float) -> None:
            passed = self._passing.pop(callee.aor)
            if passed.tx is not None and passed.callee is not None:
                self._pass(passed.tx, passed.caller, passed.callee, now)

        self._passing[callee.aor] = Passing(self._tools.deadlines.at(now + PASS_SECONDS, due))
        made = self._plan(caller, callee, now)
        if made.targets:
            self._forwarder.start(tx, made, now)

    def _plan(self, caller: Account | None, callee: Account, now: float) -> CallPlan:
        live = self._tools.table.callable(callee.aor, self._tools.wall())
        return plan(caller, callee, targets(live, self._tools.proxies, now))

    # -- other nodes ---------------------------------------------------------------------------

    def _tell(self, box: Box) -> None:
        said = SummaryKnown(box.account, str(box.summary), box.at)
        self._tools.publisher.publish(Topic.LINES, said)

    def want(self, accounts: Sequence[str]) -> None:
        """Ask the others for these mailboxes."""
        for at in range(0, len(accounts), MAX_ACCOUNTS):
            said = SummariesWanted(tuple(accounts[at : at + MAX_ACCOUNTS]))
            self._tools.publisher.publish(Topic.LINES, said)

    def asked(self, wanted: SummariesWanted, node: str) -> None:
        """Another node asks."""
        for account in wanted.accounts if node != self._tools.config.node_id else ():
            if (box := self._boxes.get(account)) is not None:
                self._tell(box)

    def told(self, known: SummaryKnown) -> None:
        """Another node has heard of a mailbox."""
        try:
            summary = MessageSummary.parse(known.summary.encode("utf-8", "replace"))
        except BadMessage:
            return
        self._keep(Box(known.account, summary, known.at))


def _summary_of(request: Request) -> MessageSummary | Refusal | None:
    """What a NOTIFY brings; None for one without a body. Raises BadMessage."""
    if not request.body:
        return None
    kind = (request.first("content-type") or "").partition(";")[0].strip().lower()
    if kind != Package.MESSAGE_SUMMARY.content_type:
        return UNSUPPORTED
    return MessageSummary.parse(request.body)
