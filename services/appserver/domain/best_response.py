"""The final answer that the caller gets when no leg answered: RFC 3261 §16.7 step 6, with what a
B2BUA changes in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tandem.sip.message import Response


@dataclass(frozen=True, slots=True)
class Failure:
    """How one leg ended; `response` is None for what we found ourselves (408, 503)."""

    status: int
    response: Response | None
    provisional: bool = False
    """Whether the leg had answered provisionally."""


# "the proxy SHOULD give preference to responses that provide information affecting resubmission
# of this request, such as 401, 407, 415, 420, and 484"; a caller can't answer 401 and 407 of a
# phone that it doesn't talk to, so these come late. 486 tells more than "no answer".
_RANK: Final = {
    415: 0, 420: 0, 422: 0, 484: 0, 488: 1, 486: 2, 480: 3,
    401: 6, 407: 6, 487: 7, 408: 8, 430: 8,
}  # fmt: skip
_ORDINARY: Final = 4

_PASSED_AS: Final = {
    # the challenge is for a client that can answer it: the caller can't
    401: 403,
    407: 403,
    # the flow to a phone is gone: for the caller the phone is just not there
    430: 480,
    # "if the only response that was received is a 503, the proxy SHOULD generate a 500"
    503: 500,
}

STRIPPED: Final = frozenset({"retry-after"})
"""What an answer loses that is passed on under another status."""


def best(failures: Sequence[Failure]) -> Failure:
    """The one to pass on: a 6xx if any, else the lowest class, the most telling within it."""
    return min(failures, key=_order)


def _order(failure: Failure) -> tuple[int, int]:
    status = failure.status
    if status >= 600:
        return (0, status)
    return (status // 100, _RANK.get(status, _ORDINARY))


def passed_status(status: int) -> int:
    """The status under which it is passed on."""
    return _PASSED_AS.get(status, status)


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
