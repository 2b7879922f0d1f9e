"""The final answer that the caller gets when no leg answered: RFC 3261 §16.7 step 6, with what a
B2BUA changes in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tandem.sip.forking import order
from tandem.sip.forking import passed_status as passed_status
from tandem.sip.message import Response


@dataclass(frozen=True, slots=True)
class Failure:
    """How one leg ended; `response` is None for what we found ourselves (408, 503)."""

    status: int
    response: Response | None
    provisional: bool = False
    """Whether the leg had answered provisionally."""


STRIPPED: Final = frozenset({"retry-after"})
"""What an answer loses that is passed on under another status."""


def best(failures: Sequence[Failure]) -> Failure:
    """The one to pass on."""
    return min(failures, key=lambda failure: order(failure.status))


_END_REASONS: Final = {
    486: "busy", 600: "busy", 603: "declined", 480: "not available", 487: "cancelled",
    404: "not found", 604: "not found", 410: "not found", 484: "not found",
    403: "refused", 401: "refused", 407: "refused", 488: "media not acceptable",
    606: "media not acceptable", 430: "not reachable",
}  # fmt: skip


def end_reason(failure: Failure) -> str:
    """The words of the call record."""
    if failure.status == 408:
        return "no answer" if failure.provisional else "not reachable"
    if 300 <= failure.status < 400:
        return "redirected"
    return _END_REASONS.get(failure.status, "failed")
