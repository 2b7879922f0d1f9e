"""A request of a connection that no appserver has answered yet: see `handlers/pending.py`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from services.proxy.domain.peer import Peer

T1: Final = 0.5
"""Seconds: the first interval of retransmissions (RFC 3261 §17.1.1.1)."""

Key = tuple[bytes, bytes]
"""The client's branch and the method: what makes a transaction of a connection (§17.2.3)."""

_BRANCH_RE: Final = re.compile(
    rb"\r\nv(?:ia)?[ \t]*+:[^\r\n]*?;[ \t]*+branch[ \t]*+=[ \t]*+([^;,\s]++)", re.IGNORECASE
)
_CSEQ_RE: Final = re.compile(rb"\r\ncseq[ \t]*+:[ \t]*+[0-9]++[ \t]++([^ \t\r\n]++)", re.IGNORECASE)


class Unanswered:
    """One such request."""

    __slots__ = (
        "appserver", "data", "deadline", "done", "interval", "invite", "key", "out", "peer",
    )  # fmt: skip

    def __init__(
        self, key: Key, data: bytes, peer: Peer, out: bytes, appserver: str, deadline: float
    ) -> None:
        self.key = key
        self.data = data
        """As it came."""
        self.peer = peer
        self.out = out
        """As it went to `appserver`."""
        self.appserver = appserver
        self.deadline = deadline
        self.interval = T1
        self.invite = key[1] == b"INVITE"
        self.done = False


def request_key(data: bytes) -> Key | None:
    """Of a request; None for an ACK, which nobody answers, and without a branch in a plain line."""
    branch = _BRANCH_RE.search(data)
    if branch is None or data.startswith(b"ACK "):
        return None
    return branch[1], data[: data.find(b" ")]


def response_key(data: bytes) -> Key | None:
    """Of a response to it, as the client gets it."""
    branch, method = _BRANCH_RE.search(data), _CSEQ_RE.search(data)
    return None if branch is None or method is None else (branch[1], method[1])
