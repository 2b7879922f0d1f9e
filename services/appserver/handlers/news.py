"""What the bus brings: bindings of other appservers, and changes of accounts, customers, domains;
and how a node that missed some of it catches up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from services.appserver.domain.routing import objection
from services.appserver.handlers.bindings import Bindings
from services.appserver.handlers.tools import Tools
from tandem.bus.ports import Envelope
from tandem.rpc.directory import Account, Directory, DirectoryChanged, DirectoryUnavailable

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 5.0
"""Between attempts to catch up while provisioning is away."""

OF_ACCOUNTS: Final = frozenset({"sip-account", "customer", "domain"})
"""Kinds of `DirectoryChanged` that say something about accounts."""

Spawn = Callable[[Coroutine[Any, Any, None]], object]


def _nobody(change: DirectoryChanged) -> None:
    """Nobody else wants to know of a change."""


class News:
    """Keeps the location table, the domains and the accounts current."""

    def __init__(
        self, tools: Tools, bindings: Bindings, directory: Directory, spawn: Spawn
    ) -> None:
        self._tools = tools
        self._bindings = bindings
        self._directory = directory
        self._spawn = spawn
        self.on_change: Callable[[DirectoryChanged], None] = _nobody
        """Called with each change of accounts, once they are to be asked for anew."""
        self.caught_up = False
        """Whether a snapshot was ever taken."""
        self._behind = False
        self._catching_up = False
        self._loading = False
        self._load_again = False

    async def snapshot(self) -> None:
        """Domains and bindings as provisioning has them. Raises DirectoryUnavailable."""
        self._tools.domains.load(await self._directory.domains())
        self._bindings.restore(await self._directory.bindings())
        self.caught_up = True

    def resumed(self) -> None:
        """Deliveries go on after they were cut off: what was said meanwhile may be lost."""
        self._tools.accounts.doubt()
        self._tools.programs.doubt()
        self.catch_up()

    def catch_up(self) -> None:
        """Take the snapshot (again), as soon as provisioning answers."""
        self._behind = True
        if not self._catching_up:
            self._catching_up = True
            self._spawn(self._catch_up())

    async def _catch_up(self) -> None:
        try:
            while self._behind:
                self._behind = False
                try:
                    await self.snapshot()
                except DirectoryUnavailable:
                    self._behind = True
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._catching_up = False

    # -- subscribers ---------------------------------------------------------------------------

    async def on_location(self, batch: Sequence[Envelope]) -> None:
        """The subscriber of Topic.LOCATION. A payload that can't be taken costs itself only: the
        rest must not come again for it."""
        for envelope in batch:
            try:
                self._bindings.heard(envelope.payload, envelope.node, envelope.time)
            except Exception:
                self._tools.counters.errors += 1
                logger.exception("a change of a binding could not be taken")

    async def on_directory(self, batch: Sequence[Envelope]) -> None:
        """The subscriber of Topic.DIRECTORY."""
        for envelope in batch:
            if isinstance(envelope.payload, DirectoryChanged):
                self._on_change(envelope.payload)

    def _on_change(self, change: DirectoryChanged) -> None:
        """Ask anew before the next use; and for who is registered here, ask at once."""
        self._tools.programs.invalidate(change.kind, change.key)
        if change.kind not in OF_ACCOUNTS:
            return
        self._tools.accounts.invalidate(change.kind, change.key)
        if change.kind == "domain":
            self._load_domains()
        for aor in self._registered(change):
            username, _, domain = aor.rpartition("@")
            self._tools.accounts.wait(username, domain, partial(self._review, aor))
        self.on_change(change)

    def _registered(self, change: DirectoryChanged) -> set[str]:
        table = self._tools.table
        if change.kind == "sip-account":
            return {b.aor for b in table.bindings(change.key)}
        return {b.aor for b in table.all() if change.key in (b.owner, b.aor.rpartition("@")[2])}

    def _review(self, aor: str) -> None:
        """An account that is gone or may not be used any more keeps no bindings; one of which a
        provider's contact is left is gone."""
        username, _, domain = aor.rpartition("@")
        account = self._tools.accounts.get(username, domain, self._tools.clock())
        if account is None or (isinstance(account, Account) and _keeps_none(account)):
            self._bindings.account_removed(aor)

    def _load_domains(self) -> None:
        self._load_again = True
        if not self._loading:
            self._loading = True
            self._spawn(self._keep_loading())

    async def _keep_loading(self) -> None:
        try:
            while self._load_again:
                self._load_again = False
                try:
                    self._tools.domains.load(await self._directory.domains())
                except DirectoryUnavailable:
                    self._load_again = True
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._loading = False


def _keeps_none(account: Account) -> bool:
    return account.contact_only or objection(account) is not None
