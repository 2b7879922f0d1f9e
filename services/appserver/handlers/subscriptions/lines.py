"""The lines of watched accounts, wherever their calls run: `tandem.bus.lines`.

a subscription ─► watch ─► LinesWanted ─► every other appserver: CallLines.want
LinesKnown ◄─ at once, at each change, and whenever it is wanted again ◄─┘
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from services.appserver.domain.subscriptions.lines import CallLines, Contact
from services.appserver.handlers.tools import Tools
from tandem.bus.lines import HOLD_SECONDS, MAX_ACCOUNTS, WANT_SECONDS, Line, LinesKnown, LinesWanted
from tandem.bus.nodes import NodeAnnounced, NodeState
from tandem.bus.ports import Topic
from tandem.sip.errors import BadMessage
from tandem.sip.uri import Uri

SAY_SECONDS: Final = 0.02
"""What changes within this is said in one message: a call that is set up changes often."""
MAX_OTHERS: Final = 200_000
"""Accounts that other nodes watch and that are told of, about 400 bytes each."""


class LineWatch:
    """`changed(account)` is called when the lines of a watched account may have changed."""

    def __init__(self, tools: Tools, changed: Callable[[str], None]) -> None:
        self.calls = CallLines(self._account_of, self._own_changed)
        self._tools = tools
        self._node = tools.config.node_id
        self._changed = changed
        self._watched: Counter[str] = Counter()
        """Subscriptions of this node, by account."""
        self._others: dict[str, float] = {}
        """Until when other nodes want an account told."""
        self._heard: dict[str, dict[str, tuple[Line, ...]]] = {}
        """By account, then node."""
        self._new: dict[str, None] = {}
        self._dirty: dict[str, None] = {}
        self._saying = False

    def __len__(self) -> int:
        """Accounts that this node watches."""
        return len(self._watched)

    def __contains__(self, account: str) -> bool:
        return account in self._watched

    def start(self, now: float) -> None:
        """Repeat what is wanted from now on."""
        self._tools.deadlines.at(now + WANT_SECONDS, self._tick)

    def _tick(self, now: float) -> None:
        self._tools.deadlines.at(now + WANT_SECONDS, self._tick)
        self.say_wanted()
        wall = self._tools.wall()
        for account in [name for name, until in self._others.items() if until <= wall]:
            del self._others[account]
            self._let_go(account)

    # -- for subscriptions ---------------------------------------------------------------------

    def watch(self, account: str) -> None:
        """One more subscription needs this account's lines."""
        self._watched[account] += 1
        if self._watched[account] == 1:
            self.calls.want({account: self._contacts(account)})
            self._new[account] = None
            self._say_soon()

    def unwatch(self, account: str) -> None:
        """One less does."""
        self._watched[account] -= 1
        if not self._watched[account]:
            del self._watched[account]
            self._heard.pop(account, None)
            self._let_go(account)

    def of(self, account: str) -> tuple[Line, ...]:
        """The lines of a watched account, those of calls of this node first."""
        heard = self._heard.get(account, {})
        return (*self.calls.of(account), *(line for lines in heard.values() for line in lines))

    def bindings_changed(self, account: str) -> None:
        """Phones of this account came or went."""
        if account in self.calls:
            self.calls.moved(account, self._contacts(account))

    def _let_go(self, account: str) -> None:
        if account not in self._watched and account not in self._others:
            self.calls.forget(account)

    def _contacts(self, account: str) -> list[Contact]:
        return [(b.contact, b.received) for b in self._tools.table.bindings(account)]

    def _account_of(self, uri: str) -> str:
        try:
            caller = Uri.parse(uri)
        except BadMessage:
            return ""
        domain = self._tools.domains.serviced(caller.host, caller.port)
        return f"{caller.unescaped_user}@{domain}".lower() if domain else ""

    # -- saying --------------------------------------------------------------------------------

    def say_wanted(self) -> None:
        """Say all that is wanted, now."""
        until = self._tools.wall() + HOLD_SECONDS
        for accounts in _parts(self._watched):
            self._tools.publisher.publish(Topic.LINES, LinesWanted(accounts, until))

    def _own_changed(self, account: str) -> None:
        if account in self._watched:
            self._changed(account)
        if account in self._others:
            self._dirty[account] = None
            self._say_soon()

    def _say_soon(self) -> None:
        if not self._saying:
            self._saying = True
            self._tools.deadlines.at(self._tools.clock() + SAY_SECONDS, self._say)

    def _say(self, now: float) -> None:
        self._saying = False
        new, self._new = self._new, {}
        until = self._tools.wall() + HOLD_SECONDS
        for accounts in _parts(new):
            self._tools.publisher.publish(Topic.LINES, LinesWanted(accounts, until))
        dirty, self._dirty = self._dirty, {}
        for accounts in _parts(dirty):
            self._tell(accounts)

    def _tell(self, accounts: tuple[str, ...]) -> None:
        lines = tuple(line for account in accounts for line in self.calls.of(account))
        self._tools.publisher.publish(Topic.LINES, LinesKnown(accounts, lines))

    # -- hearing -------------------------------------------------------------------------------

    def asked(self, wanted: LinesWanted, node: str) -> None:
        """Another node wants accounts told."""
        if node == self._node:
            return
        for account in wanted.accounts:
            if account in self._others or len(self._others) < MAX_OTHERS:
                self._others[account] = max(wanted.until, self._others.get(account, 0.0))
        known = tuple(account for account in wanted.accounts if account in self._others)
        new = [account for account in known if account not in self.calls]
        self.calls.want({account: self._contacts(account) for account in new})
        self._tell(known)

    def told(self, known: LinesKnown, node: str) -> None:
        """Another node tells all that it has."""
        if node == self._node:
            return
        for account in known.accounts:
            if account in self._watched:
                self._hear(account, node, tuple(a for a in known.lines if a.account == account))

    def _hear(self, account: str, node: str, lines: tuple[Line, ...]) -> None:
        heard = self._heard.setdefault(account, {})
        if heard.get(node, ()) == lines:
            return
        if lines:
            heard[node] = lines
        else:
            del heard[node]
        self._changed(account)

    def node_changed(self, now: NodeAnnounced, before: NodeAnnounced | None) -> None:
        """An appserver that went, or started anew, has no calls any more; one that came, or was
        only cut off, is asked for those that it has."""
        if now.kind != "appserver" or now.node == self._node:
            return
        there = now.state not in _GONE
        was_there = before is not None and before.state not in _GONE
        anew = before is not None and now.incarnation != before.incarnation
        if not there or anew:
            for account, heard in list(self._heard.items()):
                if now.node in heard:
                    self._hear(account, now.node, ())
        if there and (anew or not was_there) and self._watched:
            self.say_wanted()


_GONE: Final = frozenset({NodeState.LOST, NodeState.STOPPED})


def _parts(accounts: Iterable[str]) -> Iterator[tuple[str, ...]]:
    names = iter(accounts)
    while part := tuple(islice(names, MAX_ACCOUNTS)):
        yield part
