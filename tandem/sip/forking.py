"""Of several failures of one fork the one that the caller hears (RFC 3261 §16.7 step 6), with what
a B2BUA changes in it."""

from __future__ import annotations

from typing import Final

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


def order(status: int) -> tuple[int, int]:
    """The lower, the better: a 6xx if any, else the lowest class, the most telling within it."""
    if status >= 600:
        return (0, status)
    return (status // 100, _RANK.get(status, _ORDINARY))


def passed_status(status: int) -> int:
    """The status under which it is passed on."""
    return _PASSED_AS.get(status, status)
