"""application/simple-message-summary: whether messages wait, and how many (RFC 3842)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tandem.sip.errors import BadMessage

MAX_BODY: Final = 4096
"""Bytes of a summary: a dozen lines are some hundred."""
MAX_NUMBER: Final = 10**6
"""Messages counted: more are told as so many."""
MAX_URI: Final = 256
"""Characters of the mailbox's URI."""
CLASSES: Final = (
    "voice-message", "video-message", "fax-message", "pager-message", "multimedia-message",
    "text-message", "none",
)  # fmt: skip
"""message-context-class (RFC 3458 §3.2): what else is counted is not passed on."""

# msg-status-line = "Messages-Waiting" HCOLON msg-status ; msg-status = "yes" / "no"
_STATUS_RE: Final = re.compile(r"messages-waiting[ \t]*:[ \t]*(yes|no)[ \t]*", re.IGNORECASE)
# msg-account = "Message-Account" HCOLON Account-URI
_ACCOUNT_RE: Final = re.compile(r"message-account[ \t]*:[ \t]*([^\s<>\"]+)[ \t]*", re.IGNORECASE)
# msg-summary-line = message-context-class HCOLON newmsgs SLASH oldmsgs
#                    [ LPAREN new-urgentmsgs SLASH old-urgentmsgs RPAREN ]
_COUNT_RE: Final = re.compile(
    r"([a-z\-]{1,30})[ \t]*:[ \t]*(\d{1,9})[ \t]*/[ \t]*(\d{1,9})[ \t]*"
    r"(?:\([ \t]*(\d{1,9})[ \t]*/[ \t]*(\d{1,9})[ \t]*\)[ \t]*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Count:
    """The messages of one class."""

    kind: str
    """One of CLASSES."""
    new: int
    old: int
    urgent: tuple[int, int] | None = None
    """New and old ones that are urgent; None: it was not said."""

    def __str__(self) -> str:
        urgent = "" if self.urgent is None else " ({}/{})".format(*self.urgent)
        return f"{self.kind.title()}: {self.new}/{self.old}{urgent}"


@dataclass(frozen=True, slots=True)
class MessageSummary:
    """A mailbox."""

    waiting: bool = False
    account: str = ""
    """The URI to call for the messages, "" for none."""
    counts: tuple[Count, ...] = ()

    @classmethod
    def parse(cls, body: bytes) -> MessageSummary:
        """Read what a NOTIFY brought; lines that we don't know are left out. Raises BadMessage for
        one that does not say whether messages wait."""
        if len(body) > MAX_BODY:
            raise BadMessage("Message summary too large", 413)
        lines = body.decode("utf-8", "replace").splitlines()
        waiting = _first(_STATUS_RE, lines)
        if waiting is None:
            raise BadMessage("No Messages-Waiting in the message summary")
        account = _first(_ACCOUNT_RE, lines) or ""
        counts: dict[str, Count] = {}
        for match in filter(None, map(_COUNT_RE.fullmatch, lines)):
            if (kind := match[1].lower()) in CLASSES:
                counts.setdefault(kind, _count(kind, match))
        return cls(waiting.lower() == "yes", account[:MAX_URI], tuple(counts.values()))

    def __str__(self) -> str:
        lines = [f"Messages-Waiting: {'yes' if self.waiting else 'no'}"]
        if self.account:
            lines.append(f"Message-Account: {self.account}")
        lines += map(str, self.counts)
        return "\r\n".join([*lines, ""])


def _first(pattern: re.Pattern[str], lines: list[str]) -> str | None:
    return next((match[1] for line in lines if (match := pattern.fullmatch(line))), None)


def _count(kind: str, match: re.Match[str]) -> Count:
    new, old, *urgent = (min(int(n), MAX_NUMBER) for n in match.groups()[1:] if n is not None)
    return Count(kind, new, old, (urgent[0], urgent[1]) if urgent else None)
