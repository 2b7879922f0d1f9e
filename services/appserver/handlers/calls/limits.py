"""What bounds calls. Every limit has its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.appserver.config import AppServerConfig

MAX_LEGS: Final = 20
"""Legs that one call may ring: more phones than a household has, no flood."""

STEERED_SECONDS: Final = 900.0
"""Longest that a steered call goes without an answer, all forks and what its pilot does between
them included: five that ring to the end. A pilot that never comes back holds no caller longer."""

DEFAULT_BREADTH: Final = 60
"""Max-Breadth of a request without one (RFC 5393 §5.3.3)."""

MAX_FLOW_FAILURES: Final = 3
"""Probes in a row that may find the flow to a phone gone: it may come back by another."""

GLARE_RETRY_SECONDS: Final = 10
"""Retry-After of a 500 to an overlapping INVITE is random up to this (RFC 3261 §14.2)."""

GLARE_SECONDS: Final = 3.0
"""Before an INVITE of ours that met one of theirs is sent again: between 2.1 and 4 s for who made
the dialog (RFC 3261 §14.1)."""

GLARE_TRIES: Final = 5
"""How often an INVITE of ours that joins two ends is sent anew after a glare, or put off because
another is under way: somebody waits in silence."""

BUSY_SECONDS: Final = 0.5
"""Before it is looked again whether the INVITE that was under way is over."""

OFFER_SECONDS: Final = 30.0
"""Longest that an end which is told of another may take to say yes or no. Nobody rings for it: what
only says that it does may be a phone that asks its user, and two wait in silence meanwhile."""

RING_AGAIN_SECONDS: Final = 60.0
"""Between two 180s to a caller who waits for a callback."""

NOTIFY_SECONDS: Final = 0.1
"""From the 202 to a REFER to the first NOTIFY: over UDP it might overtake, and some phones drop a
NOTIFY of a transfer that they don't know to be taken on yet."""

TOLD_SECONDS: Final = 2.0
"""Longest that the BYE to who asked for a transfer waits for him to have heard that it is done."""

OVERLOAD_RETRY_SECONDS: Final = 5
"""Retry-After of a 503 when there are too many calls."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How many calls, and how long what may take."""

    max_calls: int = 5_000
    """Calls under way in this appserver; about 12 kB each."""
    ring_seconds: float = 180
    """Longest that a call may ring (ORIGINAL §1.1)."""
    min_se: int = 90
    """The least session interval that is let through (RFC 4028 §4)."""
    probe_seconds: float = 60
    """Between in-dialog OPTIONS to each end of a call without a session timer: a phone that
    vanished is noticed after this and 32 s."""

    @classmethod
    def of(cls, config: AppServerConfig) -> CallLimits:
        """The limits that the settings name."""
        return cls(
            max_calls=config.max_calls,
            ring_seconds=config.ring_seconds,
            min_se=config.min_session_seconds,
            probe_seconds=config.probe_seconds,
        )
