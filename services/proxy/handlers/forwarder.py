"""The way of a message through the proxy: from a socket to a verdict, from a verdict to a socket.

public ──► rate limit ──► fast path ──► link          link ──► fast path ──► public
                      └─► inbound / responses.from_public   └─► outbound / responses.from_link
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from services.proxy.domain import outbound, responses
from services.proxy.domain.answers import build_answer
from services.proxy.domain.appservers import Appservers
from services.proxy.domain.dispatch import Dispatch
from services.proxy.domain.edge import Edge
from services.proxy.domain.fast import FastPath
from services.proxy.domain.fast_out import FastOut
from services.proxy.domain.inbound import Inbound
from services.proxy.domain.limiter import Limiter
from services.proxy.domain.methods import class_counts, count_method, method_counts
from services.proxy.domain.peer import Peer
from services.proxy.domain.verdict import Answer, Back, Drop, ToAppserver
from services.proxy.handlers.drops import Drops
from services.proxy.handlers.pending import Pending
from services.proxy.ports import Peers, Probes
from tandem.siptransport.flowtoken import FlowName
from tandem.siptransport.link import CONTROL, BatchLink

logger = logging.getLogger(__name__)

MAX_LOGGED_ERRORS: Final = 100
"""Exceptions logged with their trace; the counter counts all."""
PROBE_REF: Final = b"probe"
"""The reference in the branch of our own OPTIONS to appservers."""
FLOW_FAILED: Final = Answer(430)
UNREACHABLE: Final = Answer(503, "Connection failed")
_KEEPALIVE: Final = CONTROL + b"KEEPALIVE "


class Forwarder:
    """Takes what the sockets and the link deliver. Never raises, never waits."""

    def __init__(
        self,
        edge: Edge,
        appservers: Appservers,
        dispatch: Dispatch,
        limiter: Limiter,
        link: BatchLink,
        peers: Peers,
        probes: Probes,
        drops: Drops,
        pending: Pending | None,
        counters: Counter[str],
        clock: Callable[[], float],
    ) -> None:
        """`pending` keeps requests of connections over a link that may lose them."""
        self._edge = edge
        self._limiter = limiter
        self._link = link
        self._peers = peers
        self._probes = probes
        self._drops = drops
        self._pending = pending
        if pending is not None:
            pending.route, pending.answer = self._route, self.answer
        self._counters = counters
        self._clock = clock
        # one subscript each, and no total beside them
        self.classes_in = class_counts()
        self.classes_out = class_counts()
        self.methods_out = method_counts()
        self._general_methods = method_counts()
        self._inbound = Inbound(edge, appservers, dispatch)
        self._fast = fast = FastPath(edge, appservers, dispatch)
        self._fast_request = fast.request
        self._fast_response = fast.response
        self._fast_in_dialog = fast.in_dialog
        self._fast_answer = fast.answer
        self._fast_out = FastOut(edge)

    @property
    def methods_in(self) -> dict[bytes, int]:
        """Requests from outside that were forwarded, by method."""
        return {name: n + self._general_methods[name] for name, n in self._fast.methods.items()}

    # -- from outside ----------------------------------------------------------------------

    def datagrams(
        self,
        datagrams: list[bytes],
        sources: list[bytes],
        known: dict[bytes, Peer],
        new: Callable[[bytes], Peer],
    ) -> None:
        """A batch of a UDP socket; `known` are its peers by packed address."""
        self._link.hold()
        try:
            self._batch(datagrams, sources, known, new)
        finally:
            self._link.flush()

    def _batch(
        self,
        datagrams: list[bytes],
        sources: list[bytes],
        known: dict[bytes, Peer],
        new: Callable[[bytes], Peer],
    ) -> None:
        fast, send = self._fast_request, self._link.send
        for data, source in zip(datagrams, sources, strict=True):
            peer = known.get(source) or new(source)
            bucket = peer.bucket
            if bucket.left < 1 and not self._limiter.refill(bucket, self._clock()):
                self._drops.drop("rate_limit", peer.name.host)
                continue
            bucket.left -= 1
            hit = fast(data, peer)
            if hit is None:
                self._guarded(data, peer)
            else:
                send(hit[0], hit[1])
        self._counters["received"] += len(datagrams)

    def message(self, data: bytes, peer: Peer) -> None:
        """One message of a connection."""
        self._counters["received"] += 1
        bucket = peer.bucket
        if bucket.left < 1 and not self._limiter.refill(bucket, self._clock()):
            self._drops.drop("rate_limit", peer.name.host)
            return
        bucket.left -= 1
        hit = self._fast_request(data, peer)
        if hit is None:
            self._guarded(data, peer)
        else:
            self._link.send(*hit)
            if self._pending is not None:
                self._pending.sent(data, peer, *hit)

    def _guarded(self, data: bytes, peer: Peer) -> None:
        """The last resort: a fault of this program costs one message, and not those that came
        with it."""
        try:
            self._general(data, peer)
        except Exception:
            self._drops.drop("error", peer.name.host)
            if self._counters["dropped_error"] <= MAX_LOGGED_ERRORS:
                logger.exception("a message could not be handled")

    def _general(self, data: bytes, peer: Peer) -> None:
        """What the fast path left: a response, a keep-alive, or a request that is out of the
        ordinary."""
        if data[:4].upper() == b"SIP/":
            self._response_in(data, peer)
        elif not data.strip(b"\r\n\0"):
            self._counters["keepalives"] += 1
            if data == b"\r\n\r\n":  # RFC 5626 §3.5.1; over UDP some phones do the same
                peer.sender(b"\r\n", peer.address)
        else:
            self._request_in(data.lstrip(b"\r\n"), peer)

    def _response_in(self, data: bytes, peer: Peer) -> None:
        hit = self._fast_answer(data)
        if hit is None:
            verdict = responses.from_public(self._edge, data)
            if isinstance(verdict, Drop):
                self._drops.drop(verdict.reason, peer.name.host)
                return
            hit = verdict.data, verdict.appserver
        peer.bucket.left += 1  # it answers what we sent: it costs its sender nothing
        self.classes_in[data[8]] += 1
        self._link.send(hit[0], hit[1])

    def _request_in(self, data: bytes, peer: Peer) -> None:
        hit = self._fast_in_dialog(data, peer)
        if hit is None:
            self._general_in(data, peer)
            return
        self._link.send(hit[0], hit[1])
        if peer.waiting is not None and self._pending is not None:
            self._pending.sent(data, peer, *hit)

    def _general_in(self, data: bytes, peer: Peer) -> None:
        verdict = self._inbound.request(data, peer)
        if isinstance(verdict, ToAppserver):
            count_method(self._general_methods, data[: data.find(b" ")])
            self._link.send(verdict.data, verdict.appserver)
            if self._pending is not None:
                self._pending.sent(data, peer, verdict.data, verdict.appserver)
        elif isinstance(verdict, Drop):
            self._drops.drop(verdict.reason, peer.name.host)
        else:
            self.answer(data, verdict, peer)

    def _route(self, data: bytes, peer: Peer) -> ToAppserver | Answer | Drop:
        """Where a request goes as things are now."""
        hit = self._fast_request(data, peer) or self._fast_in_dialog(data, peer)
        return self._inbound.request(data, peer) if hit is None else ToAppserver(*hit)

    def answer(self, data: bytes, verdict: Answer, peer: Peer) -> None:
        """Answer a request of a peer outside (never an ACK)."""
        response = build_answer(data, verdict, peer)
        if response is None:
            self._drops.drop("unanswerable", peer.name.host)
            return
        self._counters[f"answered_{verdict.status}"] += 1
        if verdict.status != 200:
            self._drops.drop(f"refused_{verdict.status}", peer.name.host)
        peer.sender(response, peer.address)

    # -- from the link ---------------------------------------------------------------------

    def from_link(self, data: bytes, appserver: str) -> None:
        """One message or control line of an appserver."""
        hit = self._fast_response(data)
        if hit is not None:
            out, ref = hit
            peer = self._peers.refs.get(ref)
            if peer is not None:
                peer.sender(out, peer.address)
                self.classes_out[data[8]] += 1
                return
        if data[:4] == b"SIP/":
            self._response_out(data, appserver)
        elif data[:1] == CONTROL:
            self._control(data)
        else:
            self._request_out(data, appserver)

    def _response_out(self, data: bytes, appserver: str) -> None:
        verdict = responses.from_link(self._edge, data)
        if isinstance(verdict, Drop):
            self._drops.drop(verdict.reason, appserver)
        elif verdict.ref == PROBE_REF:
            self._probes.answered(appserver, int(data[8:11]) if data[8:11].isdigit() else 0)
        else:
            self._back(verdict, appserver)

    def _back(self, verdict: Back, appserver: str) -> None:
        peer = self._peers.find(verdict.ref)
        if peer is None and verdict.fallback is not None:
            peer = self._peers.reach(verdict.fallback)
        if peer is None:
            self._drops.drop("response_flow_gone", appserver)
            return
        self.classes_out[verdict.data[8]] += 1
        peer.sender(verdict.data, peer.address)

    def _control(self, data: bytes) -> None:
        if not data.startswith(_KEEPALIVE):
            return
        name = self._edge.key.open_flow(data[len(_KEEPALIVE) :].strip().decode("ascii", "replace"))
        peer = self._peers.reach(name) if name is not None else None
        if peer is not None:
            self._counters["keepalives_out"] += 1
            self._peers.keepalive(peer)

    def _request_out(self, data: bytes, appserver: str) -> None:
        passage = self._fast_out.plan(data)
        if passage is not None:
            to = self._peers.reach(passage.destination)
            if to is not None:
                out = self._fast_out.write(passage, to, appserver)
                self._sent(out, to, passage.method, data, appserver)
                return
        plan = outbound.plan(self._edge, data)
        if isinstance(plan, Drop):
            self._drops.drop(plan.reason, appserver)
        elif isinstance(plan, Answer):
            self.answer_link(data, plan, appserver)
        else:
            self._send_out(plan, data, appserver)

    def _send_out(self, plan: outbound.Plan, data: bytes, appserver: str) -> None:
        peer = self._peers.reach(plan.destination)
        if peer is None:
            failed = FLOW_FAILED if isinstance(plan.destination, FlowName) else UNREACHABLE
            self.answer_link(data, failed, appserver)
            return
        out = outbound.write(self._edge, plan, peer, appserver)
        if out is None:
            self._drops.drop("link_unparseable", appserver)
            return
        self._sent(out, peer, plan.method, data, appserver)

    def _sent(self, out: bytes, peer: Peer, method: bytes, request: bytes, appserver: str) -> None:
        """Send it; `request` is what the appserver gave, to be answered when that fails."""
        count_method(self.methods_out, method)
        if peer.sender(out, peer.address) is False:
            self.answer_link(request, UNREACHABLE, appserver)
        elif method != b"ACK" and peer.name.transport != "udp":
            self._peers.expect(peer, request, appserver)

    def answer_link(self, data: bytes, verdict: Answer, appserver: str) -> None:
        """Answer a request of an appserver (never an ACK)."""
        response = build_answer(data, verdict, None)
        if response is not None:
            self._counters[f"answered_{verdict.status}"] += 1
            self._link.send(response, appserver)
