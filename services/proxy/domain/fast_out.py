"""The fast path of appservers' requests: as they write them, to where was sent to before.

What it does not recognise in full goes the general way (`outbound.py`), which writes the same
bytes and teaches it.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from services.proxy.domain.edge import DIALOG_METHODS, Edge
from services.proxy.domain.fast import LESS_ONE
from services.proxy.domain.known import Outward
from services.proxy.domain.peer import Peer
from services.proxy.domain.verdict import Destination

# Via, Route, and then without a gap the headers that every request has.
_START_RE: Final = re.compile(
    rb"([A-Z]{2,20}) ([!-~]+) SIP/2\.0\r\n"
    rb"Via: SIP/2\.0/[A-Z]{2,3} (?:[A-Za-z0-9.\-]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]{1,5})?+"
    rb";branch=z9hG4bK([A-Za-z0-9\-.!%*_+`'~]{1,100})\r\n"
    rb"((?:Route: [^\r]++\r\n)++)?+(?:Max-Forwards: ([0-9]++)\r\n)?+"
    rb"From: [^\r]++\r\nTo: [^\r]++\r\nCall-ID: [^\r]++\r\nCSeq: [^\r]++\r\n"
    rb"(?:Max-Forwards: ([0-9]++)\r\n)?+"
)
_ROUTE_RE: Final = re.compile(rb"\r\n[Rr][Oo][Uu][Tt][Ee][ \t]*:")
_VERSION_LENGTH: Final = len(b" SIP/2.0\r\n")


class Passage:
    """A request that can be sent once the peer at its destination is found."""

    __slots__ = ("data", "destination", "known", "match", "method")

    def __init__(self, data: bytes, match: re.Match[bytes], known: Outward) -> None:
        self.data = data
        self.match = match
        self.known = known
        self.method: bytes = match[1]
        self.destination: Destination = known.destination


class FastOut:
    """In two steps as the general way, for between them the peer must be found."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._seed = edge.loop_seed
        self._uris = edge.known.uris
        self._outward = edge.known.outward

    def plan(self, data: bytes) -> Passage | None:
        """Recognise a request that came over the link."""
        match = _START_RE.match(data)
        if match is None:
            return None
        uri, route, early, late = match.group(2, 4, 5, 6)
        known = self._uris.get(uri) if route is None else self._outward.get(route)
        end = data.find(b"\r\n\r\n", match.end() - 2)
        if (
            known is None
            or end < 0
            or (early or late) not in LESS_ONE
            or (early is not None and late is not None)
            or data[match.end()] in b" \t"
            or _ROUTE_RE.search(data, match.end() - 2, end) is not None
        ):
            return None
        return Passage(data, match, known)

    def write(self, passage: Passage, peer: Peer, appserver: str) -> bytes:
        """The request as it goes to `peer`."""
        edge, data, match, known = self._edge, passage.data, passage.match, passage.known
        loop = zlib.crc32(known.text, zlib.crc32(match[2], self._seed))
        lines = edge.via_out(peer, appserver, b"%08x" % loop, match[3])
        if passage.method in DIALOG_METHODS and not known.in_dialog:
            lines += edge.record_route_out(peer, appserver)
        number = 6 if match[5] is None else 5
        hops_at, hops_end = match.span(number)
        via_at, route_at = match.end(2) + _VERSION_LENGTH, match.end(3) + 2
        route_end = route_at if match[4] is None else match.end(4)
        return b"".join((
            data[:via_at], lines, data[via_at:route_at], known.rest, data[route_end:hops_at],
            LESS_ONE[match[number]], data[hops_end:],
        ))  # fmt: skip
