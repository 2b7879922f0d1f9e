"""What came of a dial that nobody answered: the same for a call and for a dry run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tandem.dialplan.failover import TIMED_OUT
from tandem.dialplan.world import DialStatus, LegResult, Outcome
from tandem.sip.build import reason_phrase
from tandem.sip.forking import order, passed_status

NO_ANSWER: Final = (480, "No answer")


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt of which some leg rang."""

    legs: tuple[LegResult, ...]
    timed_out: bool = False
    """Whether it was given up at the end of its ring time."""

    @property
    def verdict(self) -> int:
        """What failover is decided by: a 6xx is an answer for all, else that nobody answered in
        time, else what the caller would hear."""
        status = best(self.legs).status if self.legs else TIMED_OUT
        return TIMED_OUT if self.timed_out and status < 600 else status


def best(legs: Sequence[LegResult]) -> LegResult:
    """The failure that counts (RFC 3261 §16.7)."""
    return min(legs, key=lambda leg: order(leg.status))


def outcome(
    last: Failed | None, nowhere: Sequence[LegResult], legs: Sequence[LegResult]
) -> Outcome:
    """What the caller gets if the script does nothing else. `last` is the last attempt that rang;
    when none did, it is said why the legs of the last attempt, `nowhere`, lead nowhere (RFC 3261
    §16.7: 480 of one who isn't there tells more than 404 of one who doesn't exist)."""
    results = tuple(legs)
    if last is None:
        why = best(nowhere)
        return Outcome(DialStatus.FAILED, why.status, why.reason, results)
    if last.verdict in (TIMED_OUT, 408):  # the ring time of a leg ends with 408
        return Outcome(DialStatus.NO_ANSWER, *NO_ANSWER, results)
    chosen = best(last.legs)
    status = passed_status(chosen.status)
    reason = chosen.reason if status == chosen.status else reason_phrase(status)
    return Outcome(DialStatus.FAILED, status, reason, results)
