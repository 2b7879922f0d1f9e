"""The fast path: what nearly all messages look like, forwarded by a few searches and one join.

A message that it does not recognise in full gets None and goes the general way (`inbound.py`,
`responses.py`), which forwards any legal spelling. For what both take, both write the same.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from services.proxy.domain.appservers import Appservers
from services.proxy.domain.dispatch import CALL_METHODS, Dispatch
from services.proxy.domain.edge import MARK, SPECIAL_METHODS, Edge
from services.proxy.domain.known import Inward
from services.proxy.domain.methods import OTHER, method_counts
from services.proxy.domain.peer import Peer

# Via is the first header, alone in its line, its only parameters branch and rport; then without
# a gap the headers that every request has, in one of the orders that phones write them in. What
# is matched in one piece needs no second look. Max-Forwards may also come later.
_START_RE: Final = re.compile(
    rb"([A-Z]{2,20}) ([!-~]+) SIP/2\.0\r\n"
    rb"Via: SIP/2\.0/[A-Z]{2,3} ((?:[A-Za-z0-9.\-]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]{1,5})?+)"
    rb"(;rport)?;branch=z9hG4bK([A-Za-z0-9\-.!%*_+`'~]{1,100})(;rport)?\r\n"
    rb"(?:Contact: [^\r]++\r\n)?+(?:Max-Forwards: ([0-9]++)\r\n)?+(?:Contact: [^\r]++\r\n)?+"
    rb"(?:From: [^\r]++\r\nTo|To: [^\r]++\r\nFrom): [^\r]++\r\n"
    rb"(?:Contact: [^\r]++\r\n)?+(?:CSeq: [^\r]++\r\nCall-ID: ([^ \t\r]++)"
    rb"|Call-ID: ([^ \t\r]++)\r\nCSeq: [^\r]++)(?=\r\n)"
)
# What the general way must look at, in any spelling: folded lines need no look, for none of
# the values that are read here can be continued unnoticed.
_SPECIAL_RE: Final = re.compile(
    rb"\r\n[RrPp](?:[Oo][Uu][Tt][Ee]|[Rr][Oo][Xx][Yy]-[Rr][Ee][Qq][Uu][Ii][Rr][Ee]"
    rb"|[Ee][Pp][Ll][Aa][Cc][Ee][Ss])[ \t]*:"
)
_VERSION_LENGTH: Final = len(b" SIP/2.0\r\n")
_OWN_BRANCH: Final = MARK[7:]

_ROUTES_RE: Final = re.compile(rb"(?:Route: [^\r]++\r\n)++")
# A response to what we sent: our Via alone or before a comma, with what RFC 3261 §18.2.1 and
# RFC 3581 let its receiver put in, then the appserver's.
_STAMPS: Final = rb"(?:;r(?:port|eceived)(?:=[0-9A-Fa-f.:\[\]]*+)?+)*+"
_ANSWER_RE: Final = re.compile(
    rb"SIP/2\.0 [1-6][0-9][0-9] [^\r]*+\r\n"
    rb"Via: (SIP/2\.0/[A-Z]{2,3} "
    rb"(?:[A-Za-z0-9.\-]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]{1,5})?+" + _STAMPS
    + rb";branch=z9hG4bK-t-([A-Za-z0-9_\-]+)\.([0-9a-f]{8})\.([A-Za-z0-9_\-]{12})"
    + rb"\.([A-Za-z0-9\-.!%*_+`'~]+)" + _STAMPS + rb"(?:, ?|\r\nVia: ))SIP/2\.0/"
)  # fmt: skip
_BLANKS: Final = b" \t"

LESS_ONE: Final = {b"%d" % hops: b"%d" % (hops - 1) for hops in range(1, 256)}
"""Max-Forwards as it comes, to as it goes. 0 has no entry: it needs an answer."""


class FastPath:
    """Takes bytes and a peer, gives bytes and where to."""

    def __init__(self, edge: Edge, appservers: Appservers, dispatch: Dispatch) -> None:
        self.methods = method_counts()
        """Requests that took this way."""
        self._edge = edge
        self._seed = edge.loop_seed
        self._signed = edge.signed
        self._pick = appservers.pick
        self._prefer = appservers.prefer
        self._call = dispatch.call
        self._inward = edge.known.inward
        self._own_via = b"Via: SIP/2.0/UDP %s;branch=%s" % (edge.link.encode(), MARK)

    def in_dialog(self, data: bytes, peer: Peer) -> tuple[bytes, str] | None:
        """A request from outside whose only Route lines are ours, and were read before."""
        at = data.find(b"\r\nRoute: ", 0, data.find(b"\r\n\r\n") + 2) + 2
        match = _ROUTES_RE.match(data, at) if at > 1 else None
        if match is None or data[match.end()] in _BLANKS:
            return None
        known = self._inward.get(match[0])
        if known is None:
            return None
        return self.request(data[:at] + data[match.end() :], peer, known)

    def request(
        self, data: bytes, peer: Peer, known: Inward | None = None
    ) -> tuple[bytes, str] | None:
        """A request from outside, for an appserver; `known` is what its Routes said that were
        taken away before."""
        match = _START_RE.match(data)
        if match is None:
            return None
        method, uri, sent_by, rport, branch, late_rport, hops, late_call, call_id = match.groups()
        find, at = data.find, match.end()
        end = find(b"\r\n\r\n", at)
        if hops is not None:
            hops_at, hops_end = match.span(7)
        else:
            hops_at = find(b"\r\nMax-Forwards: ", at, end) + 16
            hops_end = find(b"\r\n", hops_at) if hops_at > 15 else hops_at
            hops = data[hops_at:hops_end]
        less = LESS_ONE.get(hops)
        if (
            end < 0
            or less is None
            or find(MARK, at, end) >= 0
            or branch[:3] == _OWN_BRANCH
            or _SPECIAL_RE.search(data, at, end + 2) is not None
            or (method == b"OPTIONS" and b"@" not in uri)
        ):
            return None
        if rport or late_rport:
            stamp, (cut, rest) = peer.rport, match.span(4 if rport else 6)
        elif sent_by == peer.sent_by:
            stamp, cut, rest = peer.received, match.end(5), match.end(5)
        else:
            return None
        loop = zlib.crc32(uri, self._seed)
        extra = b""
        if known is not None:
            loop = zlib.crc32(known.text, loop)
            appserver = self._prefer(known.owner, call_id or late_call)
        else:
            if method in CALL_METHODS:
                appserver = self._call(method, branch, call_id or late_call, uri, data, peer)
            else:
                appserver = self._pick(call_id or late_call)
            if method in SPECIAL_METHODS and appserver is not None:
                kept = peer.extras.get((method, appserver))
                extra = kept or self._edge.extra(peer, method, appserver)
        if appserver is None:
            return None
        try:
            self.methods[method] += 1
        except KeyError:
            self.methods[OTHER] += 1
        via_at = match.end(2) + _VERSION_LENGTH
        return b"".join((
            data[:via_at], peer.via_in, b"%08x." % loop, branch, b"\r\n",
            extra, data[via_at:cut], stamp, data[rest:hops_at], less, data[hops_end:],
        )), appserver  # fmt: skip

    def response(self, data: bytes) -> tuple[bytes, bytes] | None:
        """A response from the link: what to send, and the reference of the peer to send it to."""
        at = data.find(b"\r\n") + 2
        own_via = self._own_via
        if not data.startswith(own_via, at):
            return None
        end = data.find(b"\r\n", at)
        ref_at = at + len(own_via)
        if data.find(b",", ref_at, end) >= 0 or data[end + 2 : end + 3] in b" \t":
            return None
        return data[:at] + data[end + 2 :], data[ref_at : data.find(b".", ref_at, end)]

    def answer(self, data: bytes) -> tuple[bytes, str] | None:
        """A response from outside, for an appserver."""
        match = _ANSWER_RE.match(data)
        if match is None or data.find(b"\r\n\r\n", match.end()) < 0:
            return None
        appserver = self._signed(*match.group(2, 3, 4, 5))
        if appserver is None:
            return None
        return data[: match.start(1)] + data[match.end(1) :], appserver
