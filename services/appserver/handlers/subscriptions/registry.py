"""The subscriptions of one appserver, by all that they are looked for."""

from __future__ import annotations

from collections import Counter

from services.appserver.domain.subscriptions.subscription import Package
from services.appserver.handlers.subscriptions.delivery import Subscriber
from tandem.bus.directory import DirectoryChanged
from tandem.sip.message import Request

Set = dict[Subscriber, None]
"""In the order in which they came."""


class Registry:
    """Subscriptions that live."""

    def __init__(self) -> None:
        self._dialogs: dict[tuple[str, str], Subscriber] = {}
        self._accounts: dict[str, Set] = {}
        self._flows: dict[str, Set] = {}
        self._watchers: dict[str, Set] = {}
        self._packages: Counter[Package] = Counter()

    def __len__(self) -> int:
        return len(self._dialogs)

    def __contains__(self, subscriber: Subscriber) -> bool:
        return self._dialogs.get(subscriber.leg.key) is subscriber

    def add(self, subscriber: Subscriber) -> None:
        """One more."""
        self._dialogs[subscriber.leg.key] = subscriber
        self._accounts.setdefault(subscriber.account, {})[subscriber] = None
        self._flows.setdefault(subscriber.flow, {})[subscriber] = None
        self._watchers.setdefault(subscriber.watcher, {})[subscriber] = None
        self._packages[subscriber.package] += 1

    def remove(self, subscriber: Subscriber) -> None:
        """It has ended."""
        del self._dialogs[subscriber.leg.key]
        _take(self._accounts, subscriber.account, subscriber)
        _take(self._flows, subscriber.flow, subscriber)
        self._packages[subscriber.package] -= 1
        _take(self._watchers, subscriber.watcher, subscriber)

    def find(self, request: Request) -> Subscriber | None:
        """The one in whose dialog this request is."""
        found = self._dialogs.get((request.to_tag or "", request.from_tag or ""))
        if found is not None and found.leg.dialog.call_id == request.call_id:
            return found
        return None

    def all(self) -> list[Subscriber]:
        """Every one."""
        return list(self._dialogs.values())

    def of_account(self, account: str) -> list[Subscriber]:
        """Those who watch this account."""
        return list(self._accounts.get(account, ()))

    def of_flow(self, token: str) -> list[Subscriber]:
        """Those who subscribed over this flow."""
        return list(self._flows.get(token, ()))

    def of_watcher(self, account: str) -> int:
        """How many this account has."""
        return len(self._watchers.get(account, ()))

    def of_either(self, account: str) -> list[Subscriber]:
        """Those who watch this account, and those that it has."""
        return list(self._accounts.get(account, {}) | self._watchers.get(account, {}))

    def touched(self, change: DirectoryChanged) -> set[str]:
        """The accounts at their ends that a change may be about."""
        ends = self._accounts.keys() | self._watchers.keys()
        if change.kind == "sip-account":
            return {account for account in ends if account.lower() == change.key.lower()}
        if change.kind == "domain":
            return {a for a in ends if a.rpartition("@")[2].lower() == change.key.lower()}
        owner = change.key if change.kind == "customer" else None
        owned = (s for s in self._dialogs.values() if s.owner == owner)
        return {account for s in owned for account in (s.account, s.watcher)}

    def of_package(self, package: Package) -> int:
        """How many there are of a package."""
        return self._packages[package]

    def accounts(self, package: Package) -> list[str]:
        """The accounts that somebody watches with this package."""
        return sorted({s.account for s in self._dialogs.values() if s.package is package})


def _take(index: dict[str, Set], key: str, subscriber: Subscriber) -> None:
    members = index[key]
    del members[subscriber]
    if not members:
        del index[key]
