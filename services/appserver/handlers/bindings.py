"""Changes of the location table: by this node, which tells the others and people; by others, whose
word is taken; and by what ends bindings: expiry, closed flows, accounts and proxies that went.

Each end is told once: by the node that a REGISTER came to, else by the one that answers for the
binding (`ownership`). The others let it go in silence.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from services.appserver.domain.location import proxy_of
from services.appserver.domain.registration import Outcome
from services.appserver.domain.versions import key
from services.appserver.handlers.accounts import Miss
from services.appserver.handlers.keepalives import TICK_SECONDS, Keepalives
from services.appserver.handlers.tools import Tools
from tandem.bus.location import Binding, BindingRemoved, BindingStored
from tandem.bus.phone_events import RegistrationAdded, RegistrationRefreshed, RegistrationRemoved
from tandem.bus.ports import Topic
from tandem.rpc.directory import Account

CLOCKS: Final = 60.0
"""Seconds by which another node's clock may be ahead before we keep its bindings to our own."""
EVENT_SECONDS: Final = 30.0
"""Refreshes of one binding that follow sooner make no event of their own."""


class Bindings:
    """The location table's only writer but for refreshes."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._table = tools.table
        self._publish = tools.publisher.publish
        self._keepalives = Keepalives(tools)
        self._started = tools.wall()

    # -- by REGISTER ---------------------------------------------------------------------------

    def change(self, outcome: Outcome, account: Account) -> None:
        """Do what was decided, all of it."""
        for binding, reason in outcome.removed:
            self.end(binding, reason)
        for binding in outcome.added:
            self._store(binding, account)
            self._publish(Topic.EVENTS, self._event(RegistrationAdded, binding))
        for binding in outcome.refreshed:
            old = self._store(binding, account)
            if old is None or binding.registered_at - old.registered_at >= EVENT_SECONDS:
                self._publish(Topic.EVENTS, self._event(RegistrationRefreshed, binding))
        self._tools.counters.registered += len(outcome.added)
        self._tools.counters.refreshed += len(outcome.refreshed)

    def refresh(self, old: Binding, new: Binding) -> None:
        """The same binding for another while."""
        self._table.renew(old, new)
        self._publish(Topic.LOCATION, BindingStored(new, renewed=True))
        self._tools.counters.refreshed += 1
        if new.registered_at - old.registered_at >= EVENT_SECONDS:
            self._publish(Topic.EVENTS, self._event(RegistrationRefreshed, new))

    def _store(self, binding: Binding, account: Account) -> Binding | None:
        old = self._table.put(binding)
        if old is not None and old.call_id != binding.call_id:
            self._table.supersede(old, self._tools.wall())
        self._publish(Topic.LOCATION, BindingStored(binding))
        self._keepalives.stored(binding, account)
        return old

    def _event(self, kind: type[RegistrationAdded], binding: Binding) -> RegistrationAdded:
        return kind(
            owners=(binding.owner,),
            aor=binding.aor,
            contact=binding.contact,
            received=binding.received,
            expires=round(binding.expires_at - self._tools.wall()),
            user_agent=binding.user_agent,
        )

    # -- by other causes -----------------------------------------------------------------------

    def end(self, binding: Binding, reason: str) -> None:
        """Take a binding away and say so."""
        if self._table.remove(binding, self._tools.wall()):
            self._say_ended(binding, reason)

    def _end_or_drop(self, binding: Binding, reason: str) -> None:
        """Take a binding away, of which every node knows by itself; one says so."""
        if self._tools.ownership.owns(binding):
            self.end(binding, reason)
        else:
            self._table.remove(binding, self._tools.wall())

    def _say_ended(self, binding: Binding, reason: str) -> None:
        self._publish(Topic.LOCATION, BindingRemoved(binding, reason))
        self._publish(
            Topic.EVENTS,
            RegistrationRemoved(
                owners=(binding.owner,),
                aor=binding.aor,
                contact=binding.contact,
                received=binding.received,
                reason=reason,
            ),
        )

    def flow_closed(self, token: str) -> None:
        """The connection behind this token is gone, and what was registered over it."""
        for binding in self._table.of_flow(token):
            self._end_or_drop(binding, "flow closed")

    def proxy_ended(self, proxy: str, before: float) -> None:
        """The proxy's process has ended, and its connections with it: what was registered over
        them before this time is gone. Phones on UDP are still where they were."""
        for binding in list(self._table.all()):
            if (
                binding.registered_at < before
                and not binding.received.startswith("udp:")
                and proxy_of(binding.path[0] if binding.path else "") == proxy
            ):
                self._end_or_drop(binding, "flow closed")

    def account_removed(self, aor: str) -> None:
        """The account is gone or disabled, and its bindings with it."""
        for binding in self._table.bindings(aor):
            if self._tools.ownership.owns(binding):
                self.end(binding, "account removed")

    # -- by other nodes ------------------------------------------------------------------------

    def heard(self, payload: object, node: str, time: float) -> None:
        """Take a payload of Topic.LOCATION that `node` published at this time. What this process
        said itself is no news."""
        if node == self._tools.config.node_id and time >= self._started:
            return
        wall = self._tools.wall()
        if isinstance(payload, BindingStored):
            binding = self._bounded(payload.binding, wall)
            news, old = self._table.learn(BindingStored(binding), wall)
            if news:
                self._keepalives.stored(binding)
                if old is None:
                    self._limit(binding.aor)
        elif isinstance(payload, BindingRemoved):
            self._table.forget(payload, wall)

    def _limit(self, aor: str) -> None:
        """Two nodes may each have taken a phone for the last place of an account: all agree on
        who gives way, and the node that answers for that one ends it."""
        live = self._table.live(aor, self._tools.wall())
        if len(live) < 2 or not any(self._tools.ownership.owns(b) for b in live):
            return
        username, _, domain = aor.rpartition("@")
        account = self._tools.accounts.get(username, domain, self._tools.clock())
        if account is Miss.UNKNOWN:
            self._tools.accounts.wait(username, domain, partial(self._limit, aor))
        if not isinstance(account, Account) or not 0 < account.max_bindings < len(live):
            return
        live.sort(key=lambda b: (b.registered_at, b.node, key(b)))
        for binding in live[: len(live) - account.max_bindings]:
            if self._tools.ownership.owns(binding):
                self.end(binding, "limit")

    def _bounded(self, binding: Binding, wall: float) -> Binding:
        """A clock that is far ahead must not leave bindings that nothing ends."""
        latest = wall + self._tools.config.max_expires + CLOCKS
        return binding if binding.expires_at <= latest else replace(binding, expires_at=latest)

    def restore(self, snapshot: list[Binding]) -> None:
        """Take over the durable copy. Keep-alives of our own bindings go on."""
        wall = self._tools.wall()
        for stored in snapshot:
            binding = self._bounded(stored, wall)
            if self._table.learn(BindingStored(binding), wall)[0]:
                self._keepalives.stored(binding)

    def review_keepalives(self) -> None:
        """Other appservers came or went."""
        self._keepalives.review()

    # -- by time -------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin to tick."""
        self._tools.deadlines.at(now + TICK_SECONDS, self._tick)

    def _tick(self, now: float) -> None:
        self._tools.deadlines.at(now + TICK_SECONDS, self._tick)
        self._keepalives.tick(now)
        for binding in self._table.expire(self._tools.wall()):
            # each replica lets a binding expire by itself; one of them says so
            if self._tools.ownership.owns(binding):
                self._say_ended(binding, "expired")
