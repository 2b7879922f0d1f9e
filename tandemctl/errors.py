"""What can go wrong, as one line and an exit status."""

from __future__ import annotations

from typing import Final

import grpc

FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
NOT_ALLOWED: Final = 4
INTERRUPTED: Final = 130

_STATUSES: Final = {
    grpc.StatusCode.NOT_FOUND: NOT_FOUND,
    grpc.StatusCode.UNAUTHENTICATED: NOT_ALLOWED,
    grpc.StatusCode.PERMISSION_DENIED: NOT_ALLOWED,
    grpc.StatusCode.INVALID_ARGUMENT: USAGE,
}
TRANSIENT: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
)
"""After these another attempt may go well."""


class Problem(Exception):
    """A command failed; the text is the line to show."""

    def __init__(self, text: str, status: int = FAILED) -> None:
        super().__init__(text)
        self.status = status


def problem_of(error: grpc.aio.AioRpcError, where: str) -> Problem:
    """What to say of a call to `where` that failed."""
    code = error.code()
    status = _STATUSES.get(code, FAILED)
    said = " ".join((error.details() or "").split())
    if code is grpc.StatusCode.UNAVAILABLE:
        text = f"{where} does not answer" + (f": {said}" if said else "")
    elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
        text = f"{where} did not answer in time"
    elif code is grpc.StatusCode.UNIMPLEMENTED:
        text = f"{where} does not serve this: give --server, or --events for calls and events"
    elif code is grpc.StatusCode.UNAUTHENTICATED:
        text = f"{said or 'not logged in'} (tandemctl login, or --token)"
    else:
        text = said or code.name.lower().replace("_", " ")
    return Problem(text, status)
