"""Requests that pass inward as OpenTelemetry spans: INVITEs and REGISTERs outside of dialogs.

The proxy keeps no state for it in its own work: this stands between the forwarder and the link,
and only where there is tracing. A span ends with the final response that passes back, or when
none has come for LONGEST_SECONDS.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from opentelemetry.trace import Span, Status, StatusCode

from services.proxy.domain.caller import has_to_tag
from services.proxy.domain.edge import MARK
from services.proxy.domain.peer import Peer
from services.proxy.domain.scan import Head, scan
from services.proxy.domain.viaedit import read_via
from tandem.runtime.telemetry import Tracing, peer_attributes, request_attributes
from tandem.siptransport.link import BatchLink, Receiver

MAX_KEPT: Final = 20_000
"""Requests kept in mind, those that are answered included: a retransmission makes no span."""
LONGEST_SECONDS: Final = 190.0
"""Longer than anything rings."""

_TRACED: Final = (b"INVITE ", b"REGISTER ")
_STATUS_RE: Final = re.compile(rb"SIP/2\.0 ([2-6][0-9][0-9]) ?([^\r\n]*)", re.IGNORECASE)
_METHOD_RE: Final = re.compile(rb"[0-9]+\s+([A-Za-z]+)")

FindPeer = Callable[[bytes], Peer | None]
"""The peer that a reference in our branch names."""


class RequestSpans:
    """The spans by branch; None: it has ended. `clock` is monotonic."""

    def __init__(self, tracing: Tracing, find: FindPeer, clock: Callable[[], float]) -> None:
        self._tracing = tracing
        self._find = find
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, Span | None]] = OrderedDict()

    def request(self, data: bytes, appserver: str) -> None:
        """A message leaves for an appserver."""
        if not data.startswith(_TRACED):
            return
        head = scan(data)
        via = read_via(head) if head is not None else None
        if head is None or via is None or not via.branch or has_to_tag(head):
            return
        now = self._clock()
        self._forget(now)
        if via.branch not in self._kept:
            self._kept[via.branch] = (now, self._begin(head, via.branch, appserver))

    def response(self, data: bytes) -> None:
        """A message came from an appserver."""
        status = _STATUS_RE.match(data)
        head = scan(data) if status is not None else None
        via = read_via(head) if head is not None else None
        if status is None or head is None or via is None or via.branch is None:
            return
        since, span = self._kept.get(via.branch, (0.0, None))
        method = _METHOD_RE.match(head.value("cseq") or b"")
        # the answer to a CANCEL comes with the branch of its INVITE
        if span is None or method is None or method[1].upper() == b"CANCEL":
            return
        self._kept[via.branch] = (since, None)
        span.set_attribute("sip.response.status_code", int(status[1]))
        span.set_attribute("sip.response.reason", _text(status[2]))
        if status[1] >= b"500":
            span.set_status(Status(StatusCode.ERROR, _text(status[2])))
        span.end()

    def close(self) -> None:
        """End what is open."""
        while self._kept:
            self._drop()

    def _begin(self, head: Head, branch: bytes, appserver: str) -> Span:
        method, uri, _ = head.data[: head.first_line_end].split(b" ", 2)
        call_id = _text(head.value("call-id") or b"")
        attributes = request_attributes(
            method.decode(),
            _text(uri),
            call_id,
            cseq=_text(head.value("cseq") or b""),
            user_agent=_text(head.value("user-agent") or b""),
        )
        attributes["tandem.appserver"] = appserver
        peer = self._find(branch[len(MARK) :].partition(b".")[0])
        if peer is not None:
            attributes |= peer_attributes(peer.name.transport, peer.name.host, peer.name.port)
        return self._tracing.passage(method.decode(), call_id, branch.decode(), attributes)

    def _forget(self, now: float) -> None:
        while self._kept:
            since, _ = next(iter(self._kept.values()))
            if now - since < LONGEST_SECONDS and len(self._kept) < MAX_KEPT:
                return
            self._drop()

    def _drop(self) -> None:
        _, (_, span) = self._kept.popitem(last=False)
        if span is not None:
            span.set_status(Status(StatusCode.ERROR, "no final response"))
            span.end()


class TracedLink:
    """A link whose traffic is looked at. `receiver` is to be set here."""

    def __init__(self, link: BatchLink, spans: RequestSpans) -> None:
        self.address = link.address
        self.reliable = link.reliable
        self.receiver: Receiver = lambda data, peer: None
        self.hold = link.hold
        self.flush = link.flush
        self._send = link.send
        self._spans = spans
        link.receiver = self._receive

    def send(self, data: bytes, peer: str) -> None:
        """See `Link`."""
        self._spans.request(data, peer)
        self._send(data, peer)

    def _receive(self, data: bytes, peer: str) -> None:
        self.receiver(data, peer)
        self._spans.response(data)


def _text(value: bytes) -> str:
    return " ".join(value.decode("utf-8", "replace").split())
