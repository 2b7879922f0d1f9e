"""Next-call hints as they travel: "the next call for this user is mine" (DESIGN §5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_USERS: Final = 1_000
"""User parts of one hint: more accounts than a customer has."""
MAX_DOTS: Final = 8
"""Dots of a user part that are looked behind for `anything.username`."""
MAX_CALLER: Final = 256
"""Characters of a caller's user part: a longer one is no number and no name, and fits nothing."""
NAMELESS: Final = "anonymous"
"""The user part of a caller who withholds its number (RFC 3323 §4.1.1.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """An appserver waits for a call. Each live proxy keeps it until it expires or is withdrawn."""

    id: str
    """Unique among all hints of all nodes."""
    node: str
    """The appserver that waits."""
    appserver: str
    """Its end of the internal link, `host:port`."""
    customer: str
    """The user name of the customer whose call waits."""
    users: tuple[str, ...]
    """Lower-case user parts of the Request-URI that the call may be addressed to: all accounts and
    provider contacts of the customer, also in their `anything.username` form."""
    domains: tuple[str, ...] = ()
    """Hosts of the Request-URI that it may be addressed to, lower case; empty: any."""
    pattern: str = ""
    """What the caller's user part (From, else P-Asserted-Identity) must look like: `?` is one
    character, `*` any number of them, a leading + counts for nothing; "": anybody."""
    expires_at: float
    """Unix time in seconds."""


@dataclass(frozen=True, slots=True)
class HintAcknowledged:
    """A proxy has the hint, and its next INVITE will find it."""

    hint: str
    proxy: str
    """The proxy's node id."""


@dataclass(frozen=True, slots=True)
class HintWithdrawn:
    """The hint holds no longer. `reason`: `matched`, `timeout`, `caller gone`, `stopped`."""

    hint: str
    reason: str


@dataclass(frozen=True, slots=True)
class HintsWanted:
    """A proxy starts, or was cut off from the broker: appservers publish their live hints anew."""

    proxy: str


def pattern_matches(pattern: str, user: str) -> bool:
    """Whether a caller's user part looks like `pattern` (see `Hint.pattern`). Proxies and
    appservers ask the same function, so that they agree. Its cost is bounded by the product of
    the lengths, and those are: no pattern makes it explode."""
    wanted, text = normal(pattern), normal(user)
    if not wanted:
        return True
    if len(text) > MAX_CALLER:
        return False
    first, *rest = wanted.split("*")
    if not rest:
        return len(first) == len(text) and _fits(first, text, 0)
    *middle, last = rest
    end = len(text) - len(last)
    at = len(first)
    if at > end or not _fits(first, text, 0) or not _fits(last, text, end):
        return False
    for part in middle:  # the leftmost place is the best one: it leaves the most to the others
        while at + len(part) <= end and not _fits(part, text, at):
            at += 1
        at += len(part)
        if at > end:
            return False
    return True


Rank = tuple[bool, int, bool, float, str]


def rank(hint: Hint) -> Rank:
    """Of several hints that a call fits, the least is the call's: the most specific pattern, then
    who waited first. It follows from what travels in the hint alone, so that the proxies and the
    appserver agree, whatever they heard first."""
    pattern = normal(hint.pattern)
    literal = len(pattern) - pattern.count("*") - pattern.count("?")
    vague = "*" in pattern or not pattern
    return (vague, -literal, not hint.domains, hint.expires_at, hint.id)


def normal(user: str) -> str:
    """A user part or pattern as they are compared."""
    return user.strip().lower().removeprefix("+")


def _fits(part: str, text: str, at: int) -> bool:
    """Whether `text` has `part` at this place; `?` stands for any character."""
    if "?" not in part:
        return text.startswith(part, at)
    return all(p in ("?", t) for p, t in zip(part, text[at : at + len(part)], strict=True))
