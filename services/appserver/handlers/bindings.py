"""Changes of the location table by this node, told to the others and to people; and what keeps
bindings alive or ends them: NAT keep-alives, expiry, closed flows, accounts that went."""

from __future__ import annotations

from typing import Final

from services.appserver.domain.location import flow_token, proxy_of
from services.appserver.domain.registration import Outcome
from services.appserver.handlers.tools import Tools
from tandem.bus.events import RegistrationAdded, RegistrationRefreshed, RegistrationRemoved
from tandem.bus.location import Binding, BindingRemoved, BindingStored
from tandem.bus.ports import Topic
from tandem.rpc.directory import Account
from tandem.siptransport.link import CONTROL

TICK_SECONDS: Final = 0.25
"""How often keep-alives go out: a slice each time, so that no tick holds the loop for long."""
EVENT_SECONDS: Final = 30.0
"""Refreshes of one binding that follow sooner make no event of their own."""

_KEEPALIVE: Final = CONTROL + b"KEEPALIVE "


class Bindings:
    """The bindings that this node answers for."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._table = tools.table
        self._publish = tools.publisher.publish
        size = max(1, int(tools.config.keepalive_seconds / TICK_SECONDS))
        self._slices: list[set[str]] = [set() for _ in range(size)]
        self._at = 0

    # -- by REGISTER ---------------------------------------------------------------------------

    def change(self, outcome: Outcome, account: Account) -> None:
        """Do what was decided, all of it."""
        for binding, reason in outcome.removed:
            self.end(binding, reason)
        for binding in outcome.added:
            self._store(binding, account)
            self._publish(Topic.EVENTS, _event(RegistrationAdded, binding))
        for binding in outcome.refreshed:
            old = self._store(binding, account)
            if old is None or binding.registered_at - old.registered_at >= EVENT_SECONDS:
                self._publish(Topic.EVENTS, _event(RegistrationRefreshed, binding))
        self._tools.counters.registered += len(outcome.added)
        self._tools.counters.refreshed += len(outcome.refreshed)

    def refresh(self, old: Binding, new: Binding) -> None:
        """The same binding for another while."""
        self._table.renew(old, new)
        self._publish(Topic.LOCATION, BindingStored(new, renewed=True))
        self._tools.counters.refreshed += 1
        if new.registered_at - old.registered_at >= EVENT_SECONDS:
            self._publish(Topic.EVENTS, _event(RegistrationRefreshed, new))

    def _store(self, binding: Binding, account: Account) -> Binding | None:
        old = self._table.put(binding)
        self._publish(Topic.LOCATION, BindingStored(binding))
        part = self._slices[hash(binding.aor) % len(self._slices)]
        if not account.send_keepalives:
            part.discard(binding.aor)
        elif self._wants_keepalives(binding):
            part.add(binding.aor)
        return old

    # -- by other causes -----------------------------------------------------------------------

    def end(self, binding: Binding, reason: str) -> None:
        """Take a binding away and say so."""
        if self._table.remove(binding, self._tools.wall()):
            self._say_ended(binding, reason)

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
            self.end(binding, "flow closed")

    def account_removed(self, aor: str) -> None:
        """The account is gone or disabled: its bindings that this node took are, too."""
        for binding in self._table.bindings(aor):
            if binding.node == self._tools.config.node_id:
                self.end(binding, "account removed")

    # -- by other nodes ------------------------------------------------------------------------

    def heard(self, payload: object) -> None:
        """Take a payload of Topic.LOCATION; what this node said itself is no news."""
        wall = self._tools.wall()
        if (
            isinstance(payload, BindingStored)
            and payload.binding.node != self._tools.config.node_id
        ):
            self._table.learn(payload, wall)
        elif isinstance(payload, BindingRemoved):
            if payload.binding.node != self._tools.config.node_id:
                self._table.forget(payload, wall)

    def restore(self, snapshot: list[Binding]) -> None:
        """Take over the durable copy at the start. Keep-alives of our own bindings go on."""
        wall = self._tools.wall()
        for binding in snapshot:
            self._table.learn(BindingStored(binding), wall)
            if self._wants_keepalives(binding):
                self._slices[hash(binding.aor) % len(self._slices)].add(binding.aor)

    # -- by time -------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin to tick."""
        self._tools.deadlines.at(now + TICK_SECONDS, self._tick)

    def _tick(self, now: float) -> None:
        self._tools.deadlines.at(now + TICK_SECONDS, self._tick)
        self._send_keepalives()
        for binding in self._table.expire(self._tools.wall()):
            # each replica lets a binding expire by itself; one of them says so
            if binding.node == self._tools.config.node_id:
                self._say_ended(binding, "expired")

    def _send_keepalives(self) -> None:
        """The slice whose turn it is: each AOR in it has, or had, a binding that wants them."""
        part = self._slices[self._at]
        self._at = (self._at + 1) % len(self._slices)
        for aor in list(part):
            wanting = [b for b in self._table.bindings(aor) if self._wants_keepalives(b)]
            for binding in wanting:
                line = _KEEPALIVE + flow_token(binding).encode()
                self._tools.send(line, proxy_of(binding.path[0]))
            if not wanting:
                part.discard(aor)

    def _wants_keepalives(self, binding: Binding) -> bool:
        return (
            binding.node == self._tools.config.node_id
            and binding.received.startswith("udp:")
            and _is_natted(binding)
            and flow_token(binding) != ""
        )


def _is_natted(binding: Binding) -> bool:
    """Whether a NAT stands before a UDP phone: its Contact is not where it sends from."""
    address = binding.contact.partition(";")[0].partition("?")[0].lower()
    address = address.rpartition("@")[2] if "@" in address else address.partition(":")[2]
    if ":" not in address or address.endswith("]"):
        address += ":5060"
    return address != binding.received[4:]


def _event(kind: type[RegistrationAdded], binding: Binding) -> RegistrationAdded:
    return kind(
        owners=(binding.owner,),
        aor=binding.aor,
        contact=binding.contact,
        received=binding.received,
        expires=round(binding.expires_at - binding.registered_at),
        user_agent=binding.user_agent,
    )
