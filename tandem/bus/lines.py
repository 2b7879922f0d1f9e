"""What appservers tell each other of lines and mailboxes that phones watch (RFC 4235, RFC 3842).

An account's calls may run on another appserver than the one that has the subscription. So who has
subscriptions says for which accounts, and says it again; the others tell what they have of these,
at once and at each change. Each time it is all that they have, so nothing depends on hearing it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WANT_SECONDS: Final = 30.0
"""Between two announcements of what is wanted."""
HOLD_SECONDS: Final = 95.0
"""How long one holds: three of them may be lost."""
MAX_ACCOUNTS: Final = 500
"""Accounts of one message, so that none is larger than some tens of kB."""


@dataclass(frozen=True, slots=True)
class LinesWanted:
    """An appserver has subscriptions to these accounts; repeated while it has. Every appserver
    answers with a LinesKnown."""

    accounts: tuple[str, ...]
    """`user@domain` each."""
    until: float
    """Unix time in seconds when to stop telling unless it is said again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An account's part in one call that is not over."""

    account: str
    """`user@domain`."""
    call_id: str
    """Tandem's id of the call."""
    outgoing: bool
    """Whether the account calls, or is called."""
    state: str
    """`trying`, `early` or `confirmed` (RFC 4235 §3.7.1)."""
    remote: str
    """The URI of the other end as the call was asked for; "" where that is not known yet."""


@dataclass(frozen=True, slots=True)
class LinesKnown:
    """All that an appserver has of these accounts: who has no line here has no call there."""

    accounts: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class SummariesWanted:
    """An appserver has the first subscription to the mailboxes of these accounts, or was cut off:
    who knows of one tells it with a SummaryKnown."""

    accounts: tuple[str, ...]
    """`user@domain` each."""


@dataclass(frozen=True, slots=True)
class SummaryKnown:
    """What an account's mailbox holds: a NOTIFY told it, or was remembered to have."""

    account: str
    """`user@domain`."""
    summary: str
    """An application/simple-message-summary (RFC 3842)."""
    at: float
    """Unix time in seconds of the NOTIFY: the latest holds."""
