"""The topmost Via as bytes: read it, and put in where its request came from (RFC 3581)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from services.proxy.domain.peer import Peer
from services.proxy.domain.scan import Edit, Head

_LWS: Final = rb"(?:[ \t]|\r\n[ \t])*+"
# A version that we don't speak is answered, 505, and not dropped for its Via.
_SENT_BY_RE: Final = re.compile(
    rb"SIP" + _LWS + rb"/" + _LWS + rb"[0-9.]+" + _LWS + rb"/" + _LWS + rb"([A-Za-z0-9.\-]+)(?=\s)"
    + _LWS + rb"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)"
    + rb"(?:" + _LWS + rb":" + _LWS + rb"(?P<port>[0-9]{1,5}))?",
    re.IGNORECASE,
)  # fmt: skip
_PARAM_RE: Final = re.compile(
    _LWS + rb";" + _LWS + rb"(?P<name>[A-Za-z0-9\-.!%*_+`'~]+)"
    rb"(?:" + _LWS + rb"=" + _LWS + rb'(?P<value>"(?:[^"\\]|\\.)*+"|[^;,\s]*+))?',
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class TopVia:
    """One Via value: where it ends, what it says, where its parameters are."""

    host: str
    port: int | None
    params: dict[str, tuple[int, int, bytes]]
    """Lower-case name to the span (with its semicolon) and the value."""
    end: int

    @property
    def branch(self) -> bytes | None:
        """The branch, None when there is none."""
        found = self.params.get("branch")
        return found[2] if found and found[2] else None

    def value(self, name: str) -> str | None:
        """The value of a parameter as text."""
        found = self.params.get(name)
        return found[2].decode("ascii", "replace") if found else None


def read_via(head: Head) -> TopVia | None:
    """The topmost Via; None when it is missing or malformed."""
    items = head.items("via")
    return read_via_at(head.data, items[0][0], items[0][1]) if items else None


def read_via_at(data: bytes, start: int, end: int) -> TopVia | None:
    """The Via value in this span; None when it is malformed."""
    match = _SENT_BY_RE.match(data, start, end)
    if match is None:
        return None
    params: dict[str, tuple[int, int, bytes]] = {}
    at = match.end()
    while (param := _PARAM_RE.match(data, at, end)) is not None:
        params.setdefault(param["name"].decode().lower(), (*param.span(), param["value"] or b""))
        at = param.end()
    if data[at:end].strip(b" \t\r\n;"):
        return None
    port = int(match["port"]) if match["port"] else None
    return TopVia(match["host"].decode().strip("[]").lower(), port, params, end)


def stamp(via: TopVia, peer: Peer) -> list[Edit]:
    """The edits that write the true source into it. `received` is always written, beyond what
    RFC 3261 §18.2.1 asks for: appservers read the source there."""
    edits: list[Edit] = []
    if "received" in via.params:
        start, end, _ = via.params["received"]
        edits.append((start, end, b""))
    if "rport" in via.params:
        start, end, _ = via.params["rport"]
        return [*edits, (start, end, peer.rport)]
    return [*edits, (via.end, via.end, peer.received)]


def reply_port(via: TopVia, peer: Peer) -> int:
    """The port that a UDP response goes to (RFC 3581 §4, RFC 3261 §18.2.2). A client behind a
    NAT that knows no rport (its sent-by is another address) gets its answers where it sent from,
    for at the port that it names nobody could be reached."""
    name = peer.name
    if "rport" in via.params:
        return name.port
    if via.host != name.host and via.host.replace(".", "").replace(":", "").isdigit():
        return name.port
    return via.port or 5060
