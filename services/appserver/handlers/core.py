"""The core: takes what comes over the link, and hands each request to whom it concerns.

bytes ──► REGISTER: the registrar (no transaction)
      ──► control line: bindings
      ──► all else: the transaction layer ──► on_request
            in a dialog: calls, subscriptions
            outside: planner ──► calls, forward, subscriptions
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from services.appserver.domain.plan import SELF, CallPlan
from services.appserver.domain.recent import Recent
from services.appserver.domain.routing import BAD_SCHEME, NOT_SERVICED
from services.appserver.domain.subscriptions.subscription import ALLOW_EVENTS, BAD_EVENT
from services.appserver.handlers.bindings import Bindings
from services.appserver.handlers.forward import Copy, Forwarder
from services.appserver.handlers.planner import Planner
from services.appserver.handlers.registrar import Registrar
from services.appserver.handlers.registrations.attempt import Attempt
from services.appserver.handlers.subscriptions import Subscriptions
from services.appserver.handlers.subscriptions.delivery import Notification
from services.appserver.handlers.tools import Tools
from services.appserver.handlers.traces import Traces
from services.appserver.ports import Calls, Judge
from tandem.sip.build import response_to
from tandem.sip.errors import RemoteFault
from tandem.sip.message import MalformedRequest, Request, Response, parse_message
from tandem.sip.transaction import ClientTransaction, Hop, ServerTransaction, TransactionLayer, hop
from tandem.siptransport.link import CONTROL

logger = logging.getLogger(__name__)

ALLOW: Final = (
    "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, MESSAGE, NOTIFY, REFER, SUBSCRIBE"
)
SUPPORTED: Final = frozenset({"100rel", "timer", "replaces", "path", "outbound", "norefersub"})
"""Option tags that a request may Require: ours, and those that pass between the legs."""
MERGE_SECONDS: Final = 32.0
"""How long a request is remembered to know its twin by (RFC 3261 §8.2.2.2): 64*T1."""
MAX_MERGE: Final = 50_000
"""Requests in each generation, about 300 bytes each."""
MAX_LOGGED_ERRORS: Final = 100
"""Exceptions logged with their trace; the counter counts all."""

COUNTED: Final = frozenset(ALLOW.split(", ")) | {"PUBLISH"}
"""Methods that are counted by name: anybody can invent more."""

_REGISTER: Final = b"REGISTER "
_OPTIONS: Final = b"OPTIONS "
_FLOW_CLOSED: Final = CONTROL + b"FLOW-CLOSED "
_IN_DIALOG_ONLY: Final = frozenset({"BYE", "INFO", "PRACK", "UPDATE"})


class Core:
    """The transaction user of an appserver. `attach` completes it before the first message."""

    def __init__(
        self,
        tools: Tools,
        bindings: Bindings,
        traces: Traces,
        link_reliable: bool,
        subscriptions: Subscriptions,
    ) -> None:
        self._tools = tools
        self._subscriptions = subscriptions
        self._notifier = subscriptions.notifier
        self._traces = traces
        self._bindings = bindings
        self.register: Callable[[bytes, str, float], None] = Registrar(tools, bindings).receive
        """What takes each REGISTER."""
        self._link_reliable = link_reliable
        self.draining = False
        """Whether probes are told that we take no new calls."""
        self.requests: Counter[str] = Counter()
        """Requests by method, without ACK and CANCEL; those that come again count for REGISTER
        alone."""
        self._seen: Recent[str, str] = Recent(MERGE_SECONDS, MAX_MERGE)
        self._allow = (f"Allow: {ALLOW}",)
        self._capable = (
            f"Allow: {ALLOW}",
            "Accept: application/sdp",
            ALLOW_EVENTS,
            f"Supported: {', '.join(sorted(SUPPORTED))}",
            f"Server: {tools.config.server_name}",
        )
        self._methods = {
            "INVITE": self._on_invite,
            "MESSAGE": self._on_message,
            "NOTIFY": self._on_notify,
            "OPTIONS": self._on_options,
            "SUBSCRIBE": self._on_subscribe,
            "REFER": self._on_refer,
        }

    def attach(self, layer: TransactionLayer, planner: Planner, calls: Calls, judge: Judge) -> None:
        """What needs this core to be made."""
        self._layer = layer
        self._planner = planner
        self._calls = calls
        contact = self._subscriptions.contact
        self._forwarder = Forwarder(layer, self._link_reliable, judge, contact)
        self._subscriptions.attach(layer, planner, self._forwarder)

    # -- from the link -------------------------------------------------------------------------

    def receive(self, data: bytes, peer: str, now: float) -> None:
        """Take one message or control line. Never raises."""
        self._tools.counters.received += 1
        try:
            if data.startswith(_REGISTER):
                self.requests["REGISTER"] += 1
                self._traces.heard_outside(data, peer)
                self.register(data, peer, now)
            elif data.startswith(CONTROL):
                self._control(data, now)
            else:
                self._receive(data, peer, now)
        except RemoteFault as fault:
            self._malformed(data, peer, fault)
        except Exception:
            self._failed(data, peer)

    def _receive(self, data: bytes, peer: str, now: float) -> None:
        message = parse_message(data)
        message.check()
        if peer == SELF:  # the traces saw it leave
            self._layer.receive(message, hop(SELF, True), now)
            return
        if data.startswith(_OPTIONS) and isinstance(message, Request) and len(message.vias) == 1:
            self._on_probe(message, peer, now)
            return
        self._traces.heard(message.call_id, data, peer)
        reliable = self._link_reliable and _outer_transport(message) != "UDP"
        self._layer.receive(message, hop(peer, reliable), now)

    def _on_probe(self, request: Request, peer: str, now: float) -> None:
        """A proxy itself (no Via but its own) asks whether we take calls. No transaction is made:
        one that starts anew uses the branches of its last life again."""
        self._tools.proxies.heard(peer, now)
        status, reason = (503, "Draining") if self.draining else (200, "OK")
        answer = response_to(request, status, reason, tag=self._tools.new_token())
        self._tools.tell(answer.to_bytes(), peer)

    def _control(self, data: bytes, now: float) -> None:
        if data.startswith(_FLOW_CLOSED):
            token = data[len(_FLOW_CLOSED) :].strip().decode("ascii", "replace")
            self._bindings.flow_closed(token)
            self._calls.flow_closed(token, now)
            self._notifier.flow_closed(token, now)

    def _malformed(self, data: bytes, peer: str, fault: RemoteFault) -> None:
        """Answer where it can be answered; drop and count in any case."""
        self._tools.counters.malformed += 1
        request = fault.request if isinstance(fault, MalformedRequest) else _try_parse(data)
        if request is not None:
            self._tools.answers[fault.status // 100] += 1
            self._answer_statelessly(request, peer, fault.status, fault.reason)

    def _failed(self, data: bytes, peer: str) -> None:
        """The last resort: a fault of this program costs one message, with an answer."""
        counters = self._tools.counters
        counters.errors += 1
        if counters.errors <= MAX_LOGGED_ERRORS:
            logger.exception("a message could not be handled")
        request = _try_parse(data)
        if request is not None:
            self._tools.answers[5] += 1
            self._answer_statelessly(request, peer, 500, "Server Internal Error")

    def _answer_statelessly(self, request: Request, peer: str, status: int, reason: str) -> None:
        if request.method == "ACK":
            return
        try:
            answer = response_to(request, status, reason, tag=self._tools.new_token())
            if any(line[:1] in "Vv" for line in answer.lines):
                self._tools.send(answer.to_bytes(), peer)
        except RemoteFault:
            return

    # -- the transaction user ------------------------------------------------------------------

    def on_request(self, tx: ServerTransaction, now: float) -> None:
        """A new request that is neither REGISTER, ACK nor CANCEL."""
        request = tx.request
        self.requests[request.method if request.method in COUNTED else "other"] += 1
        if request.to_tag:
            if request.method != "SUBSCRIBE" or not self._notifier.in_dialog(tx, now):
                self._calls.in_dialog(tx, now)
            return
        handler = self._methods.get(request.method)
        if handler is None:
            self._refuse_method(tx, now)
        elif request.request_uri.scheme not in ("sip", "sips", "tel"):
            self._layer.reply(tx, BAD_SCHEME.status, now, BAD_SCHEME.reason)
        elif unknown := request.tokens("require") - SUPPORTED:
            unsupported = f"Unsupported: {', '.join(sorted(unknown))}"
            self._layer.reply(tx, 420, now, headers=(unsupported,))
        else:
            handler(tx, now)

    def _refuse_method(self, tx: ServerTransaction, now: float) -> None:
        if tx.request.method in _IN_DIALOG_ONLY:
            self._layer.reply(tx, 481, now)
        else:
            self._layer.reply(tx, 405, now, headers=self._allow)

    def on_ack(self, ack: Request, hop: Hop, now: float) -> None:
        """The ACK of a 2xx."""
        self._calls.on_ack(ack, hop, now)

    def on_cancel(self, tx: ServerTransaction, cancel: Request, now: float) -> None:
        """An INVITE was cancelled, perhaps while it still waited for its plan."""
        if not self._planner.cancel(tx, now):
            self._calls.on_cancel(tx, cancel, now)

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """A response to a copy of ours or to a request of the calls."""
        if isinstance(tx.context, Copy):
            self._forwarder.on_response(tx.context, response, now)
        elif isinstance(tx.context, Attempt):
            tx.context.on_response(tx, response, now)
        elif isinstance(tx.context, Notification):
            tx.context.on_response(response, now)
        else:
            self._calls.on_response(tx, response, now)

    def on_client_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """No response."""
        if isinstance(tx.context, Copy):
            self._forwarder.on_failure(tx.context, status, now)
        elif isinstance(tx.context, Attempt):
            tx.context.on_failure(tx, status, now)
        elif isinstance(tx.context, Notification):
            tx.context.on_failure(status, now)
        else:
            self._calls.on_client_failure(tx, status, now)

    def on_stray_response(self, response: Response, hop: Hop, now: float) -> None:
        """A response of no transaction."""
        self._calls.on_stray_response(response, hop, now)

    def on_server_timeout(self, tx: ServerTransaction, now: float) -> None:
        """No ACK. A refusal that the core gave itself needs none."""
        self._calls.on_server_timeout(tx, now)

    # -- methods outside of a dialog -----------------------------------------------------------

    def _on_invite(self, tx: ServerTransaction, now: float) -> None:
        if self._may_go_on(tx, now):
            self._planner.plan(tx, self._start_call, now)

    def _start_call(self, tx: ServerTransaction, plan: CallPlan, now: float) -> None:
        if self._is_first(tx, now):
            self._calls.start(tx, plan, now)

    def _on_message(self, tx: ServerTransaction, now: float) -> None:
        if self._may_go_on(tx, now):
            self._planner.plan(tx, self._forward, now)

    def _forward(self, tx: ServerTransaction, plan: CallPlan, now: float) -> None:
        if self._is_first(tx, now):
            self._forwarder.start(tx, plan, now)

    def _on_notify(self, tx: ServerTransaction, now: float) -> None:
        """A keep-alive of a phone is answered; of the rest a message-waiting indication may come
        from anybody, and any other event from who may tell these phones what to do."""
        event = (tx.request.first("event") or "").partition(";")[0].strip().lower()
        if event == "keep-alive":
            self._layer.reply(tx, 200, now)
        elif self._may_go_on(tx, now) and not self._subscriptions.notify(tx, event, now):
            self._planner.plan(tx, self._forward_notify, now)

    def _forward_notify(self, tx: ServerTransaction, plan: CallPlan, now: float) -> None:
        """`check-sync`, for one, restarts phones."""
        caller, callee = plan.caller, plan.callee
        if callee is not None and (caller is None or caller.owner != callee.owner):
            self._layer.reply(tx, BAD_EVENT.status, now, BAD_EVENT.reason, BAD_EVENT.headers)
        else:
            self._forward(tx, plan, now)

    def _on_options(self, tx: ServerTransaction, now: float) -> None:
        """A question for what we can: to us or to a domain of ours."""
        uri = tx.request.request_uri
        if uri.user and self._tools.domains.serviced(uri.host, uri.port) is None:
            self._layer.reply(tx, NOT_SERVICED.status, now, NOT_SERVICED.reason)
        else:
            self._layer.reply(tx, 200, now, headers=self._capable)

    def _on_subscribe(self, tx: ServerTransaction, now: float) -> None:
        if self._may_go_on(tx, now) and self._is_first(tx, now):
            self._notifier.subscribe(tx, now)

    def _on_refer(self, tx: ServerTransaction, now: float) -> None:
        self._layer.reply(tx, 403, now, "REFER outside of a dialog")

    # -- checks --------------------------------------------------------------------------------

    def _may_go_on(self, tx: ServerTransaction, now: float) -> bool:
        if tx.request.max_forwards == 0:
            self._layer.reply(tx, 483, now)
            return False
        return True

    def _is_first(self, tx: ServerTransaction, now: float) -> bool:
        """§8.2.2.2: the same request by another way, since somebody before us forked: 482."""
        request = tx.request
        if not request.from_tag:
            return True
        name = f"{request.from_tag} {request.call_id} {request.cseq} {request.uri}"
        branch = self._seen.get(name, now)
        if branch is not None and branch != request.top[0]:
            self._layer.reply(tx, 482, now)
            return False
        self._seen.put(name, request.top[0], now)
        return True


def _outer_transport(message: Request | Response) -> str:
    """The transport of the client behind the proxy: the Via below the proxy's."""
    return "" if isinstance(message, Response) else message.second_transport


def _try_parse(data: bytes) -> Request | None:
    try:
        message = parse_message(data)
    except RemoteFault:
        return None
    return message if isinstance(message, Request) else None
