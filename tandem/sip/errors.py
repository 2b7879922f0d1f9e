"""The error tree of the SIP core.

    SipError
    ├── RemoteFault      the other side sent what it must not; carries the status to answer with
    │   ├── BadMessage       400, the message as a whole or one of its headers is malformed
    │   ├── TooLarge         513 (or a closed stream), a limit of limits.py is exceeded
    │   └── UnsupportedVersion  505
    └── LocalFault       we were asked for what can't be done (a programming or set-up error)

A `RemoteFault` never reaches the event loop: whoever received the message turns it into a
response, an event or a counted drop.
"""

from __future__ import annotations

from typing import ClassVar


class SipError(Exception):
    """Whatever goes wrong in the SIP core."""


class RemoteFault(SipError):
    """The fault of the message's sender; `status` and `reason` are what to answer it with."""

    usual_status: ClassVar[int] = 400
    """Of a class of faults; one fault may have its own."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status: int = status or self.usual_status


class BadMessage(RemoteFault):
    """Malformed: RFC 3261 §21.4.1 says 400, with a reason phrase that names the problem."""


class TooLarge(RemoteFault):
    """A limit is exceeded: RFC 3261 §21.5.7."""

    usual_status: ClassVar[int] = 513


class UnsupportedVersion(RemoteFault):
    """Neither SIP/2.0 nor anything that we could speak: RFC 3261 §21.5.6."""

    usual_status: ClassVar[int] = 505


class LocalFault(SipError):
    """The fault of the caller of this package."""
