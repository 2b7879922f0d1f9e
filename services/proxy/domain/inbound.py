"""Requests from outside, in any legal spelling: RFC 3261 §16.3 to §16.6 without state."""

from __future__ import annotations

import re
from typing import Final

from services.proxy.domain.appservers import Appservers
from services.proxy.domain.dispatch import CALL_METHODS, Dispatch
from services.proxy.domain.edge import MARK, SPECIAL_METHODS, Edge
from services.proxy.domain.fast import LESS_ONE
from services.proxy.domain.learn import learn_inward
from services.proxy.domain.peer import Peer
from services.proxy.domain.routes import OwnRoutes, is_own, own_routes, read_uri, routes_text
from services.proxy.domain.scan import Edit, Head, drop_items, scan, splice
from services.proxy.domain.verdict import Answer, Drop, ToAppserver
from services.proxy.domain.viaedit import TopVia, read_via, read_via_at, reply_port, stamp
from tandem.sip.limits import MAX_VIAS

Verdict = ToAppserver | Answer | Drop

_REQUEST_LINE_RE: Final = re.compile(
    rb"([A-Za-z0-9\-.!%*_+`'~]+) ([^ \t\r\n]+) (SIP/[0-9]+\.[0-9]+)", re.IGNORECASE
)
_MANDATORY: Final = ("from", "to", "call-id", "cseq")
DEFAULT_HOPS: Final = b"70"
"""Max-Forwards where there was none (RFC 3261 §16.6 step 3)."""
RETRY_AFTER: Final = "Retry-After: 5"
"""Seconds until another try while no appserver is active: probes find one again within 2."""


class Inbound:
    """Decides on requests from outside."""

    def __init__(self, edge: Edge, appservers: Appservers, dispatch: Dispatch) -> None:
        self._edge = edge
        self._appservers = appservers
        self._dispatch = dispatch

    def request(self, data: bytes, peer: Peer) -> Verdict:
        """What is to be done with a request of this peer."""
        head = scan(data, torn=True)
        if head is None:
            return Drop("unparseable")
        via = read_via(head)
        if via is None:
            return Drop("no_via")
        line = _REQUEST_LINE_RE.fullmatch(data, 0, head.first_line_end)
        if line is None:
            return Answer(400, "Malformed request line")
        method, uri, version = line.groups()
        if data.startswith(b"\r\n\r\n", head.end):
            verdict = self._refuse(head, method, uri, version)
        else:
            verdict = Answer(400, "No end of headers")
        if verdict is None:
            verdict = self._forward(head, via, method, uri, peer)
        if method == b"ACK" and isinstance(verdict, Answer):
            return Drop(f"ack_{verdict.status}")
        return verdict

    def _refuse(self, head: Head, method: bytes, uri: bytes, version: bytes) -> Verdict | None:
        """§16.3: all reasons not to forward, None when there is none."""
        if version.upper() != b"SIP/2.0":
            return Answer(505)
        for key in _MANDATORY:
            if not head.value(key):
                return Answer(400, f"Missing {key}")
        if len(head.items("via")) > MAX_VIAS:
            return Answer(400, "Too many Via values")
        for_us = method == b"OPTIONS" and self._is_for_us(uri)
        hops = head.value("max-forwards")
        if hops is not None and _number(hops) is None:
            return Answer(400, "Malformed Max-Forwards")
        if hops is not None and _number(hops) == 0 and not for_us:
            return Answer(483)
        if self._looped(head, uri):
            return Answer(482)
        required = head.value("proxy-require")
        if required is not None:
            # "Unsupported" lists what we don't understand: we understand no extension here
            return Answer(420, headers=(f"Unsupported: {_text(required)}",))
        if for_us and not head.lines.get("route"):
            return Answer(200, headers=CAPABILITIES)
        return None

    def _is_for_us(self, uri: bytes) -> bool:
        target = read_uri(uri)
        return target is not None and not target.user and is_own(self._edge, target)

    def _looped(self, head: Head, uri: bytes) -> bool:
        """RFC 5393 §4.2.1: a Via of ours whose hash is that of the request as it is now. Where
        the Route differs, because it went through our own, it is a spiral."""
        if head.data.find(MARK, 0, head.end) < 0:
            return False
        now = self._edge.loop_hash(uri, routes_text(head))
        for start, end, _ in head.items("via"):
            via = read_via_at(head.data, start, end)
            branch = via.branch if via is not None else None
            if branch is not None and branch.startswith(MARK):
                parts = branch.split(b".")
                if len(parts) > 1 and parts[1] == now:
                    return True
        return False

    def _forward(self, head: Head, via: TopVia, method: bytes, uri: bytes, peer: Peer) -> Verdict:
        routes = own_routes(self._edge, head)
        if routes.dst is not None or (routes.flow is not None and routes.owner is None):
            # only appservers may say where we send to, and they aren't out there
            return Answer(403, "Route not allowed")
        tail = self._edge.tail(via.branch, without_branch(head, uri))
        appserver = self._choose(head, routes, method, tail, uri, peer)
        if appserver is None:
            return Answer(503, headers=(RETRY_AFTER,))
        learn_inward(self._edge, head, routes)
        edits = [*stamp(via, peer), *hop_edits(head), *drop_items(head, "route", routes.count)]
        lines = self._via_line(head, via, uri, tail, peer)
        if method in SPECIAL_METHODS and routes.owner is None:
            lines += self._edge.extra(peer, method, appserver)
        at = head.first_line_end + 2
        return ToAppserver(splice(head.data, [(at, at, lines), *edits]), appserver)

    def _choose(
        self,
        head: Head,
        routes: OwnRoutes,
        method: bytes,
        tail: bytes,
        uri: bytes,
        peer: Peer,
    ) -> str | None:
        """(1) The owner that our Route names, while it lives; (2) who got this INVITE before, or
        waits for it (DESIGN §5); (3) the Call-ID's, of the call that it replaces if it does: who
        made that sent an INVITE with it, too, and only its appserver knows its other end."""
        call_id = head.value("call-id") or b""
        if routes.owner is not None:
            return self._appservers.prefer(routes.owner, call_id)
        if method in CALL_METHODS:
            replaced = _replaced(head) if method == b"INVITE" else b""
            return self._dispatch.call(method, tail, call_id, uri, head.data, peer, replaced)
        return self._appservers.pick(call_id)

    def _via_line(self, head: Head, via: TopVia, uri: bytes, tail: bytes, peer: Peer) -> bytes:
        edge = self._edge
        loop = edge.loop_hash(uri, routes_text(head))
        via_in = peer.via_in
        if peer.name.transport == "udp":
            port = reply_port(via, peer)
            if port != peer.name.port:
                ref = edge.ref(peer.name, port)
                via_in = b"%s%s." % (via_in[: -len(peer.ref) - 1], ref)
        return b"%s%s.%s\r\n" % (via_in, loop, tail)


def without_branch(head: Head, uri: bytes) -> bytes:
    """What §16.11 makes a branch of when the client gave none: equal for the retransmission,
    the ACK and the CANCEL of a request, whose To tag and method differ."""
    cseq = (head.value("cseq") or b"").split(None, 1)[:1]
    parts = [head.value("from") or b"", head.value("call-id") or b"", uri, *cseq]
    return b"\n".join(parts)


def hop_edits(head: Head) -> list[Edit]:
    """One hop less, or DEFAULT_HOPS where there was no Max-Forwards."""
    value = head.value("max-forwards")
    if value is None:
        return [(head.end, head.end, b"\r\nMax-Forwards: " + DEFAULT_HOPS)]
    line = head.lines["max-forwards"][0]
    number = _number(value)
    less = LESS_ONE.get(b"%d" % (number or 0), b"0")
    return [(line.value, line.end, less)]


def _number(value: bytes) -> int | None:
    """Max-Forwards as a number, None outside 0 to 255 (§20.22)."""
    digits = value.lstrip(b"0") or value[-1:]  # 1*DIGIT: zeros may lead
    if not value.isdigit() or len(digits) > 3 or int(digits) > 255:
        return None
    return int(digits)


def _text(value: bytes) -> str:
    return " ".join(value.decode("utf-8", "replace").split())


def _replaced(head: Head) -> bytes:
    """The Call-ID in Replaces (RFC 3891 §6.1), empty without one."""
    return (head.value("replaces") or b"").partition(b";")[0].strip()


CAPABILITIES: Final = (
    "Accept: application/sdp",
    "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, SUBSCRIBE, NOTIFY, REFER, INFO, "
    "MESSAGE, UPDATE, PRACK",
    "Supported: path, outbound, replaces, timer, 100rel",
)
"""What the proxy says for itself and the appservers behind it (RFC 3261 §11.2)."""
