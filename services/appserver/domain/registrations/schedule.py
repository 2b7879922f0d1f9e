"""When the next REGISTER is due. All times are seconds; `chance` gives a random number below 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

Chance = Callable[[], float]

AHEAD_SECONDS: Final = 120.0
"""How long before its end a registration is renewed, if it lasts longer than twice that. The
original's 5 s leave a gap as soon as one server does not answer: to find that takes 32 s, and the
next try comes RETRY_SECONDS later. Shorter ones are renewed half-way."""
SPREAD: Final = 0.1
"""The part of that time by which renewals are brought forward at random, so that registrations that
were made at once, as at a start, do not come at once for ever."""
TAKEN_OVER_SECONDS: Final = 10.0
"""How much earlier where another node made the registration: by its clock, not by ours."""

RETRY_SECONDS: Final = 50.0
"""The first pause after a failure, and the least: "at least 50 s between attempts" (ORIGINAL §1.4),
since providers lock out those who knock more often. It doubles each time."""
SHORT_RETRY_SECONDS: Final = 5.0
"""The least where the registrar itself grants so little that it wants to hear of us more often: the
first pause is a quarter of that, so that one lost renewal does not cost the registration."""
MAX_RETRY_SECONDS: Final = 300.0
"""The longest: what the original waited at once. But most failures are a restart or a lost minute,
and until the next try the customer's number does not ring."""
DNS_SECONDS: Final = 5.0
"""The first pause when a name led nowhere, which costs the provider nothing; it doubles up to
MAX_RETRY_SECONDS. The original gave a provider up after the sixth: an hour without DNS would do."""
REFUSED_SECONDS: Final = 900.0
"""The first pause after wrong credentials: each further try looks like somebody who guesses, and a
provider that bans us bans all of its customers here. New settings are tried at once."""
MAX_REFUSED_SECONDS: Final = 3600.0
PROXY_SECONDS: Final = 1.0
"""Between two looks for a proxy of ours, while there is none."""
RETRY_SPREAD: Final = 0.2
"""The part that is added to each pause at random."""

FOR_GOOD: Final = frozenset({403, 404})
"""Refusals that time does not mend: the registration is given up (ORIGINAL §1.4)."""


class End(Enum):
    """How an attempt ended."""

    DONE = "2xx"
    REFUSED = "a final answer"
    SILENT = "no answer from any hop"
    NOWHERE = "DNS gave no hop"
    CREDENTIALS = "challenged with our credentials in hand"
    NO_PROXY = "no proxy of ours to send through"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt."""

    end: End
    status: int = 0
    """The final status, 0 for none."""
    reason: str = ""
    """In words for people, unless it is done."""
    seconds: float = 0.0
    """How long the registration lasts."""
    retry_after: float = 0.0
    """How long the registrar wants to be left alone at least."""

    @property
    def for_good(self) -> bool:
        """Whether it is of no use to try again."""
        return self.end is End.REFUSED and self.status in FOR_GOOD


def renewal(seconds: float, chance: Chance) -> float:
    """The time from now until a registration that lasts so long is renewed."""
    latest = seconds - AHEAD_SECONDS if seconds > 2 * AHEAD_SECONDS else seconds / 2
    return latest * (1.0 - SPREAD * chance())


def takeover(remaining: float, chance: Chance) -> float:
    """The same for one that another node made."""
    ahead = AHEAD_SECONDS + TAKEN_OVER_SECONDS
    latest = remaining - ahead if remaining > 2 * ahead else remaining / 2
    return max(0.0, min(latest * (1.0 - SPREAD * chance()), remaining - TAKEN_OVER_SECONDS))


def pause(outcome: Outcome, failures: int, chance: Chance, granted: float = 0.0) -> float:
    """The time until the next try after this failure, the so manieth in a row. `granted` is how
    long the registration lasted that the registrar gave last, 0 for none."""
    if outcome.end is End.NO_PROXY:
        return PROXY_SECONDS
    if outcome.end is End.NOWHERE:
        first, longest = DNS_SECONDS, MAX_RETRY_SECONDS
    elif outcome.end is End.CREDENTIALS:
        first, longest = REFUSED_SECONDS, MAX_REFUSED_SECONDS
    else:
        first, longest = RETRY_SECONDS, MAX_RETRY_SECONDS
        if granted > 0:
            first = min(first, max(granted / 4, SHORT_RETRY_SECONDS))
    doubled = min(first * 2.0 ** min(failures - 1, 16), longest)
    return max(doubled, outcome.retry_after) * (1.0 + RETRY_SPREAD * chance())
