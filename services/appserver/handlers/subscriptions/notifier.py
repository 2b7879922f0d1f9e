"""Who subscribes to what: SUBSCRIBEs are admitted, renewed and ended (RFC 6665 §4.2.1).

SUBSCRIBE ─► read ─► the planner: who asks, about whom ─► same customer? room? ─► 200, NOTIFY
in the dialog ─► renewed, or ended by Expires: 0
expired, unanswered, flow closed, account gone, node drains ─► ended
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from services.appserver.domain.leg import Leg
from services.appserver.domain.routing import Refusal
from services.appserver.domain.subscriptions.subscription import (
    ALLOW_EVENTS,
    Asked,
    Package,
    asked,
)
from services.appserver.handlers.planner import Planner
from services.appserver.handlers.sources import source_of
from services.appserver.handlers.subscriptions.contents import NEEDS_LINES, Contents
from services.appserver.handlers.subscriptions.delivery import Counters, Delivery, Subscriber
from services.appserver.handlers.subscriptions.lines import LineWatch
from services.appserver.handlers.subscriptions.registry import Registry
from services.appserver.handlers.subscriptions.summaries import Summaries
from services.appserver.handlers.subscriptions.turns import Turns
from services.appserver.handlers.subscriptions.validity import NOT_YOURS, lapsed
from services.appserver.handlers.tools import Tools
from tandem.bus.phone_events import SubscriptionAdded, SubscriptionEnded
from tandem.bus.ports import Topic
from tandem.rpc.directory import Account, DirectoryChanged
from tandem.sip.build import record_routes, response_to
from tandem.sip.dialog import Dialog, DialogState, Order
from tandem.sip.errors import BadMessage
from tandem.sip.message import Request
from tandem.sip.transaction import ServerTransaction, TransactionLayer

ASK_SECONDS: Final = 0.25
"""How long who fetches the state of a line waits for what the other appservers have of it."""
MAX_FETCHES: Final = 1_000
"""Who waits so at a time; more are answered with what is known here."""
DRAIN_SECONDS: Final = 0.75
"""From the draining to the end of subscriptions: by then each proxy knows, by an announcement or by
its probe, so that phones that subscribe again find another appserver."""

STRANGER: Final = Refusal(403, "Subscriptions are for accounts")
NODE_FULL: Final = Refusal(503, "Too many subscriptions", ("Retry-After: 60",))
ACCOUNT_FULL: Final = Refusal(480, "Too many subscriptions of this account")


class Notifier:
    """All subscriptions of one appserver. `alone()` tells whether it is the only one."""

    def __init__(
        self,
        tools: Tools,
        lines: LineWatch,
        summaries: Summaries,
        contact: str,
        alone: Callable[[], bool],
    ) -> None:
        self.counters = Counters()
        self.registry = Registry()
        self._tools = tools
        self._lines = lines
        self._summaries = summaries
        self._contact = contact
        self._alone = alone
        self._contents = Contents(tools, lines, summaries)
        self._fetches = 0
        self._pokes = Turns(tools, self._poke)
        self._leaving = Turns(tools, self._leave)
        self._draining = 0

    def attach(self, layer: TransactionLayer, planner: Planner) -> None:
        """What needs the core to be made."""
        self._layer = layer
        self._planner = planner
        self._delivery = Delivery(
            self._tools, layer, self._contact, self._contents, self.counters, self._lost
        )

    # -- outside of a dialog -------------------------------------------------------------------

    def subscribe(self, tx: ServerTransaction, now: float) -> None:
        """A SUBSCRIBE without a To-tag."""
        wanted = self._read(tx, now)
        if wanted is not None:
            self._planner.identify(tx, partial(self._identified, wanted), now)

    def _read(self, tx: ServerTransaction, now: float) -> Asked | None:
        """What it asks for; None if that can't be had, which has been answered."""
        try:
            found = asked(tx.request)
        except BadMessage as fault:
            found = Refusal(fault.status, fault.reason)
        if isinstance(found, Asked):
            return found
        self._refuse(tx, found, now)
        return None

    def _identified(
        self,
        wanted: Asked,
        tx: ServerTransaction,
        watcher: Account | None,
        account: Account,
        now: float,
    ) -> None:
        refusal = self._objection(wanted, watcher, account)
        if refusal is not None or watcher is None:
            self._refuse(tx, refusal or STRANGER, now)
            return
        tx.tag = tx.tag or self._tools.new_token()
        try:
            dialog = Dialog.from_request(tx.request, tx.tag)
        except BadMessage as fault:
            self._refuse(tx, Refusal(fault.status, fault.reason), now)
            return
        dialog.state = DialogState.CONFIRMED
        subscriber = Subscriber(
            leg=_leg(tx, dialog, watcher),
            package=wanted.package,
            event=wanted.event,
            account=account.aor,
            entity=_entity(tx.request),
            owner=account.owner,
            expires_at=now + wanted.expires,
        )
        self._accept(tx, wanted.expires, now)
        if wanted.expires:
            self._add(subscriber, now)
        else:
            self._fetch(subscriber, now)

    def _objection(
        self, wanted: Asked, watcher: Account | None, account: Account
    ) -> Refusal | None:
        if watcher is None:
            return STRANGER
        if watcher.owner != account.owner:
            return NOT_YOURS
        if not wanted.expires:
            return None
        config = self._tools.config
        full = None
        if len(self.registry) >= config.max_subscriptions:
            full = NODE_FULL
        elif self.registry.of_watcher(watcher.aor) >= config.max_account_subscriptions:
            full = ACCOUNT_FULL
        self.counters.refused += full is not None
        return full

    def _refuse(self, tx: ServerTransaction, refusal: Refusal, now: float) -> None:
        self._layer.reply(tx, refusal.status, now, refusal.reason, refusal.headers)

    def _accept(self, tx: ServerTransaction, expires: int, now: float) -> None:
        """200, which the NOTIFY follows: both leave by the same way, in this order."""
        headers = [
            *record_routes(tx.request), self._contact, f"Expires: {expires}", ALLOW_EVENTS,
        ]  # fmt: skip
        self._layer.respond(tx, response_to(tx.request, 200, tag=tx.tag, headers=headers), now)

    def _add(self, subscriber: Subscriber, now: float) -> None:
        self.registry.add(subscriber)
        self._watch(subscriber)
        self._expire_later(subscriber)
        self.counters.added += 1
        self._publish(
            SubscriptionAdded(
                owners=(subscriber.owner,),
                package=subscriber.package.value,
                account=subscriber.account,
                watcher=subscriber.watcher,
                source=subscriber.leg.text,
                expires=round(subscriber.expires_at - now),
            )
        )
        self._delivery.poke(subscriber, now)

    def _watch(self, subscriber: Subscriber) -> None:
        if subscriber.package in NEEDS_LINES:
            self._lines.watch(subscriber.account)
        elif subscriber.account not in self._summaries and not self._alone():
            self._summaries.want((subscriber.account,))

    def _fetch(self, subscriber: Subscriber, now: float) -> None:
        """Expires: 0 without a subscription: one NOTIFY, and that is it (§4.4.3)."""
        self.counters.fetched += 1
        where = self._lines if subscriber.package in NEEDS_LINES else self._summaries
        known = subscriber.account in where
        self._watch(subscriber)
        if known or self._alone() or self._fetches >= MAX_FETCHES:
            self._fetched(subscriber, now)
            return
        self._fetches += 1

        def due(now: float) -> None:
            self._fetches -= 1
            self._fetched(subscriber, now)

        self._tools.deadlines.at(now + ASK_SECONDS, due)

    def _fetched(self, subscriber: Subscriber, now: float) -> None:
        self._delivery.last(subscriber, "timeout", now)
        self._unwatch(subscriber)
        subscriber.rest()

    # -- in its dialog -------------------------------------------------------------------------

    def in_dialog(self, tx: ServerTransaction, now: float) -> bool:
        """Take a SUBSCRIBE with a To-tag; False if its dialog is none of ours."""
        subscriber = self.registry.find(tx.request)
        if subscriber is None:
            return False
        dialog = subscriber.leg.dialog
        if dialog.receive(tx.request) is Order.OUT_OF_ORDER:
            self._layer.reply(tx, 500, now, "CSeq out of order")
            return True
        wanted = self._read(tx, now)
        if wanted is None:
            return True
        if wanted.event != subscriber.event:
            # one dialog, one subscription: RFC 6665 §4.5.2
            self._layer.reply(tx, 481, now)
        elif (refusal := lapsed(self._tools, subscriber, now)) is not None:
            self._refuse(tx, refusal, now)
            self._end(subscriber, "account removed", now, say="rejected")
        else:
            self._renew(tx, subscriber, wanted, now)
        return True

    def _renew(
        self, tx: ServerTransaction, subscriber: Subscriber, wanted: Asked, now: float
    ) -> None:
        try:
            subscriber.leg.dialog.refresh_target(tx.request)
        except BadMessage as fault:
            self._refuse(tx, Refusal(fault.status, fault.reason), now)
            return
        self._accept(tx, wanted.expires, now)
        if not wanted.expires:
            self._end(subscriber, "unsubscribed", now, say="timeout")
            return
        self.counters.refreshed += 1
        subscriber.expires_at = now + wanted.expires
        subscriber.urgent = True
        self._expire_later(subscriber)
        self._delivery.poke(subscriber, now)

    # -- changes -------------------------------------------------------------------------------

    def changed(self, account: str) -> None:
        """Something about this account has changed, maybe what its subscribers are told. They are
        told in a turn of their own: a message is being worked on now. A deadline may be added."""
        self._pokes.add(self.registry.of_account(account))

    def directory_changed(self, change: DirectoryChanged) -> None:
        """Accounts have changed: those that somebody watches, or watches with, are asked for, and
        judged when they are there."""
        for account in self.registry.touched(change):
            username, _, domain = account.rpartition("@")
            self._tools.accounts.wait(username, domain, partial(self._review, account))

    def _review(self, account: str) -> None:
        now = self._tools.clock()
        for subscriber in self.registry.of_either(account):
            if lapsed(self._tools, subscriber, now) is not None:
                self._end(subscriber, "account removed", now, say="rejected")

    def _poke(self, subscriber: Subscriber, now: float) -> None:
        self._delivery.poke(subscriber, now)

    def _leave(self, subscriber: Subscriber, now: float) -> None:
        self._end(subscriber, "node drains", now, say="deactivated")

    # -- ends ----------------------------------------------------------------------------------

    def _expire_later(self, subscriber: Subscriber) -> None:
        if subscriber.expiry is not None:
            subscriber.expiry.cancel()

        def expire(now: float) -> None:
            self._end(subscriber, "expired", now, say="timeout")

        subscriber.expiry = self._tools.deadlines.at(subscriber.expires_at, expire)

    def _end(self, subscriber: Subscriber, reason: str, now: float, *, say: str = "") -> None:
        """End it; `say` is the reason that a last NOTIFY gives, "" for none: nobody hears it."""
        if subscriber.over:
            return
        subscriber.rest()
        self.registry.remove(subscriber)
        self.counters.ended += 1
        self._publish(
            SubscriptionEnded(
                owners=(subscriber.owner,),
                package=subscriber.package.value,
                account=subscriber.account,
                watcher=subscriber.watcher,
                source=subscriber.leg.text,
                reason=reason,
            )
        )
        if say:
            self._delivery.last(subscriber, say, now)
        self._unwatch(subscriber)

    def _unwatch(self, subscriber: Subscriber) -> None:
        if subscriber.package in NEEDS_LINES:
            self._lines.unwatch(subscriber.account)

    def _lost(self, subscriber: Subscriber, reason: str, now: float) -> None:
        """It can't be told any more; one that has not been taken in (a fetch) just is not."""
        if subscriber in self.registry:
            self._end(subscriber, reason, now)

    def flow_closed(self, token: str, now: float) -> None:
        """The connection behind this token is gone, and whoever subscribed over it."""
        for subscriber in self.registry.of_flow(token):
            self._end(subscriber, "flow closed", now)

    def proxy_lost(self, proxy: str, now: float) -> None:
        """A proxy is away, and the connections that it held."""
        for subscriber in self.registry.all():
            if subscriber.leg.proxy == proxy and not subscriber.leg.movable:
                self._end(subscriber, "flow closed", now)

    def drain(self, draining: bool, now: float) -> None:
        """Have those who subscribe now do so elsewhere, or let them be. Who comes later, for want
        of another appserver, stays until `stop`."""
        self._draining += 1
        self._leaving.clear()
        if not draining:
            return
        number, leaving = self._draining, self.registry.all()

        def due(now: float) -> None:
            if number == self._draining:
                self._leaving.add(leaving)

        self._tools.deadlines.at(now + DRAIN_SECONDS, due)

    def stop(self, now: float) -> None:
        """The node ends, and with it all that is left."""
        for subscriber in self.registry.all():
            self._end(subscriber, "node stopped", now, say="deactivated")

    def resumed(self) -> None:
        """The broker was away: what was said meanwhile is asked for."""
        self._summaries.want(self.registry.accounts(Package.MESSAGE_SUMMARY))

    def _publish(self, event: SubscriptionAdded | SubscriptionEnded) -> None:
        self._tools.publisher.publish(Topic.EVENTS, event)


def _leg(tx: ServerTransaction, dialog: Dialog, watcher: Account) -> Leg:
    request: Request = tx.request
    return Leg(
        dialog=dialog,
        number=0,
        proxy=tx.hop.peer,
        reliable=tx.hop.reliable,
        pinned=True,
        account=watcher.aor,
        text=source_of(request).text,
    )


def _entity(request: Request) -> str:
    uri = request.request_uri
    return str(uri.bare() if uri.is_sip else uri)
