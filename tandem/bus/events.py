"""The events: one class each, with its payload, its scope and its documentation.

An event's `owners` are the customers who may see it (their user names); an event with no owner is
for administrators alone. `text()` is the line that a console shows. No event holds a secret.
"""

from __future__ import annotations

from dataclasses import dataclass

from tandem.bus import dialplan_events, provider_events, transfer_events
from tandem.bus.event import Event as Event


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationAdded(Event):
    """A phone registered a contact that was not there."""

    service = "appserver"
    type = "registration.added"
    aor: str
    contact: str
    received: str
    expires: int
    user_agent: str

    def text(self) -> str:
        return f"{self.aor} registered from {self.received} for {self.expires} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationRefreshed(RegistrationAdded):
    """A phone renewed a contact."""

    type = "registration.refreshed"

    def text(self) -> str:
        return f"{self.aor} renewed from {self.received} for {self.expires} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationRemoved(Event):
    """A contact is gone; `reason` as in BindingRemoved."""

    service = "appserver"
    type = "registration.removed"
    aor: str
    contact: str
    received: str
    reason: str

    def text(self) -> str:
        return f"{self.aor} at {self.received} is no longer registered: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationFailed(Event):
    """A REGISTER was refused (a first challenge is not a refusal)."""

    service = "appserver"
    type = "registration.failed"
    aor: str
    source: str
    status: int
    reason: str

    def text(self) -> str:
        return f"REGISTER for {self.aor} from {self.source} refused: {self.status} {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationFailed(Event):
    """Wrong credentials on a request other than REGISTER."""

    service = "appserver"
    type = "security.authentication_failed"
    account: str
    source: str
    method: str
    reason: str

    def text(self) -> str:
        return f"{self.method} as {self.account} from {self.source} refused: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionAdded(Event):
    """A phone subscribed to the state of an account; that it renews this is not told."""

    service = "appserver"
    type = "subscription.added"
    package: str
    """`dialog`, `presence` or `message-summary`."""
    account: str
    """The account that is watched."""
    watcher: str
    """The account that subscribed."""
    source: str
    expires: int

    def text(self) -> str:
        return f"{self.watcher} at {self.source} watches {self.account} ({self.package})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionEnded(Event):
    """A subscription is over."""

    service = "appserver"
    type = "subscription.ended"
    package: str
    account: str
    watcher: str
    source: str
    reason: str
    """`unsubscribed`, `expired`, `no answer to NOTIFY`, `flow closed`, `account removed` …"""

    def text(self) -> str:
        who = f"{self.watcher} at {self.source}"
        return f"{who} no longer watches {self.account} ({self.package}): {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted(Event):
    """An INVITE was accepted for processing."""

    service = "appserver"
    type = "call.started"
    direction: str
    """`out` from one of the owner's accounts, `in` to one of them."""
    caller: str
    """The URI in From."""
    destination: str
    """The Request-URI."""
    source: str
    sip_call_id: str

    def text(self) -> str:
        return f"Call from {self.caller} to {self.destination}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForwarded(Event):
    """A leg was placed."""

    service = "appserver"
    type = "call.forwarded"
    leg: int
    target: str
    next_hop: str
    sip_call_id: str

    def text(self) -> str:
        return f"Leg {self.leg} to {self.target} by {self.next_hop}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallProgress(Event):
    """A leg answered provisionally (above 100), or with `leg` 0 a dialplan told the caller so."""

    service = "appserver"
    type = "call.progress"
    leg: int
    status: int
    reason: str

    def text(self) -> str:
        who = f"Leg {self.leg}" if self.leg else "To the caller"
        return f"{who}: {self.status} {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LegFailed(Event):
    """A leg ended without an answer; `status` 408 or 503 may be our own finding."""

    service = "appserver"
    type = "call.leg_failed"
    leg: int
    status: int
    reason: str

    def text(self) -> str:
        return f"Leg {self.leg} failed: {self.status} {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAnswered(Event):
    """A leg answered and the call is up."""

    service = "appserver"
    type = "call.answered"
    leg: int
    target: str

    def text(self) -> str:
        return f"Answered by {self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallChanged(Event):
    """A request inside the call was passed on: hold, resume, INFO, a refresh."""

    service = "appserver"
    type = "call.changed"
    method: str
    from_leg: int
    status: int
    """What the other end answered."""

    def text(self) -> str:
        return f"{self.method} from leg {self.from_leg} answered {self.status}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded(Event):
    """A call is over, answered or not."""

    service = "appserver"
    type = "call.ended"
    status: int
    """The final status that the caller got; 200 for an answered call."""
    reason: str
    """Why it ended: `caller hung up`, `callee hung up`, `cancelled`, `no answer`, `busy` …"""
    duration: float
    """Seconds from the answer to the end; 0 for one that was not answered."""

    def text(self) -> str:
        return f"Call ended: {self.reason}" + (
            f" after {self.duration:.0f} s" if self.duration else ""
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord(Event):
    """The call record: exactly one for each call, whatever its end. Times are Unix seconds."""

    service = "appserver"
    type = "call.record"
    direction: str
    caller: str
    caller_name: str
    destination: str
    source: str
    sip_call_id: str
    answered_by: str
    created_at: float
    progress_at: float | None
    progress_status: int | None
    answered_at: float | None
    ended_at: float
    status: int
    status_reason: str
    end_reason: str
    duration: float
    ring_duration: float
    legs: int

    def text(self) -> str:
        ends = f"{self.caller} → {self.destination}"
        return f"{ends}: {self.status}, {self.end_reason}, {self.duration:.1f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDropped(Event):
    """A proxy dropped or refused what it could not take (at most one event a second and source)."""

    service = "proxy"
    type = "proxy.dropped"
    source: str
    reason: str
    count: int

    def text(self) -> str:
        return f"{self.count} message(s) from {self.source} dropped: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted(Event):
    """A node began to serve."""

    service = "appserver"
    type = "node.started"
    what: str
    """The kind of node, as `service`; which one it is, its envelope says."""
    version: str

    def told_by(self) -> str:
        return self.what

    def text(self) -> str:
        return f"{self.what} {self.version} started"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStopped(Event):
    """A node ended in good order."""

    service = "appserver"
    type = "node.stopped"
    what: str

    def told_by(self) -> str:
        return self.what

    def text(self) -> str:
        return f"{self.what} stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDraining(Event):
    """A node takes no new calls, or takes part again."""

    service = "appserver"
    type = "node.draining"
    what: str
    draining: bool

    def told_by(self) -> str:
        return self.what

    def text(self) -> str:
        return f"{self.what} {'takes no new calls' if self.draining else 'takes calls again'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLost(Event):
    """A node fell silent without a good-bye."""

    service = "events"
    type = "node.lost"
    what: str
    lost: str
    """The id of the node that is lost."""
    incarnation: int
    calls: int
    """Calls that it had, as far as is known; their records follow."""
    times: int = 0
    """How often this incarnation was found lost before: it may only have been cut off."""

    def text(self) -> str:
        return f"{self.what} {self.lost} is lost, and {self.calls} calls with it"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesLost(Event):
    """A node could not hand messages to the broker and had to give them up."""

    service = "appserver"
    type = "bus.lost"
    topic: str
    count: int
    reason: str
    """`outbox full`, `too old` or `can not be encoded`."""

    def text(self) -> str:
        return f"{self.count} message(s) on {self.topic} lost: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackWaiting(Event):
    """A call waits for a provider to call back."""

    service = "appserver"
    type = "call.callback_waiting"
    hint: str
    users: tuple[str, ...]
    pattern: str
    seconds: float
    """How long it waits at most."""

    def text(self) -> str:
        return f"Waiting {self.seconds:.0f} s for a call to {', '.join(self.users)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackTriggered(Event):
    """The provider was asked to call back."""

    service = "appserver"
    type = "call.callback_triggered"
    host: str
    """Whom we asked."""
    status: int
    """The HTTP status; 0: none came."""
    silent_proxies: tuple[str, ...]
    """Proxies that had not acknowledged the hint by then."""
    acknowledged_ms: float
    """Milliseconds from publishing the hint to the last acknowledgement that was waited for."""

    def text(self) -> str:
        silent = f"; silent: {', '.join(self.silent_proxies)}" if self.silent_proxies else ""
        return f"Asked {self.host} to call back: {self.status or 'no answer'}{silent}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackMatched(Event):
    """The call that was waited for came, and is joined to the caller."""

    service = "appserver"
    type = "call.callback_matched"
    hint: str
    caller: str
    sip_call_id: str
    waited: float
    """Seconds from the trigger to the match."""

    def text(self) -> str:
        return f"Called back by {self.caller} after {self.waited:.1f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackFailed(Event):
    """The wait for a callback ended without one."""

    service = "appserver"
    type = "call.callback_failed"
    reason: str

    def text(self) -> str:
        return f"No callback: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SipTrace(Event):
    """A SIP message, in full but for credentials: while somebody watches its customer, and the
    last messages of a call that failed."""

    service = "appserver"
    type = "sip.trace"
    direction: str
    """`in` or `out`."""
    remote: str
    """Where it came from or went to, `udp:203.0.113.7:5060` where that is known."""
    sip_call_id: str
    at: float
    """Unix time in seconds when it passed."""
    message: str

    def text(self) -> str:
        first = self.message.partition("\r\n")[0]
        return f"{'From' if self.direction == 'in' else 'To'} {self.remote}: {first}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOrdered(Event):
    """A program asked to start, transfer or join calls. Not `call.…`: it is no part of what
    an appserver tells of a call, and may be refused before there is one."""

    service = "provisioning"
    type = "callmanager.ordered"
    order: str
    """`webcallback`, `connect`, `blindtransfer`, `transfer` or `dualtransfer`."""
    destination: str
    source: str
    """The address of the program."""
    by: str
    """Whose key it showed; "": none, for a method that is open."""
    outcome: str
    """`begun`, or why not."""

    def text(self) -> str:
        who = f"{self.by} from {self.source}" if self.by else f"{self.source}, without a key,"
        return f"{who} asked for {self.order} {self.destination}".rstrip() + f": {self.outcome}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginFailed(Event):
    """Somebody gave a wrong web password."""

    service = "provisioning"
    type = "security.login_failed"
    username: str
    source: str

    def text(self) -> str:
        return f"Login as {self.username} from {self.source} refused"


EVENT_TYPES: dict[str, type[Event]] = {
    cls.type: cls
    for cls in (
        *provider_events.ALL,
        RegistrationAdded, RegistrationRefreshed, RegistrationRemoved, RegistrationFailed,
        SubscriptionAdded, SubscriptionEnded,
        AuthenticationFailed, CallStarted, CallForwarded, CallProgress, LegFailed, CallAnswered,
        CallChanged, CallEnded, CallRecord, MessageDropped, NodeStarted, LoginFailed,
        NodeStopped, NodeDraining, NodeLost, MessagesLost, CallbackWaiting, CallbackTriggered,
        CallbackMatched, CallbackFailed, SipTrace, CallOrdered,
        transfer_events.TransferStarted, transfer_events.TransferCompleted,
        transfer_events.TransferFailed, transfer_events.TransferRefused,
        dialplan_events.DialplanStarted, dialplan_events.DialplanLog,
        dialplan_events.DialplanDialled, dialplan_events.DialplanLegFailed,
        dialplan_events.DialplanAsked,
        dialplan_events.DialplanFailed, dialplan_events.DialplanEnded,
    )
}  # fmt: skip
