"""What a SUBSCRIBE asks for, and whether it can be had: RFC 6665 §4.2.1."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from services.appserver.domain.routing import Refusal
from tandem.sip.address import parse_params
from tandem.sip.errors import BadMessage
from tandem.sip.message import Request

MIN_EXPIRES: Final = 60
"""Seconds; who asks for less gets 423 (ORIGINAL §1.5)."""
MAX_EXPIRES: Final = 3600
"""Seconds; who asks for more, or for nothing, gets this."""


class Package(StrEnum):
    """The event packages that are served."""

    DIALOG = "dialog"
    """Which calls a line has (RFC 4235): busy lamps."""
    PRESENCE = "presence"
    """Whether somebody can be reached (RFC 3856)."""
    MESSAGE_SUMMARY = "message-summary"
    """What a mailbox holds (RFC 3842)."""

    @property
    def content_type(self) -> str:
        """Of its notifications."""
        return _CONTENT_TYPES[self]


_CONTENT_TYPES: Final = {
    Package.DIALOG: "application/dialog-info+xml",
    Package.PRESENCE: "application/pidf+xml",
    Package.MESSAGE_SUMMARY: "application/simple-message-summary",
}

ALLOW_EVENTS: Final = f"Allow-Events: {', '.join(sorted(Package))}"
BAD_EVENT: Final = Refusal(489, "Bad Event", (ALLOW_EVENTS,))
TOO_BRIEF: Final = Refusal(423, "Interval Too Brief", (f"Min-Expires: {MIN_EXPIRES}",))

_EVENT_ID_RE: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]{1,64}")
"""A token, as what we repeat in each NOTIFY must be; a longer one is no counter of a phone's."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A SUBSCRIBE that can be served."""

    package: Package
    event: str
    """The value of Event in its notifications: with the id that the subscriber gave it."""
    expires: int
    """Seconds that are granted; 0: only the present state, or the end."""


def asked(request: Request) -> Asked | Refusal:
    """Read a SUBSCRIBE. Raises BadMessage for a malformed Expires or Event."""
    value = request.first("event") or ""
    name, semicolon, _ = value.partition(";")
    try:
        package = Package(name.strip().lower())
    except ValueError:
        return BAD_EVENT
    if not _accepts(request, package.content_type):
        return Refusal(406, "Not Acceptable", (f"Accept: {package.content_type}",))
    event = package + _id(value[len(name) :] if semicolon else "")
    expires = request.number("expires")
    if expires is not None and 0 < expires < MIN_EXPIRES:
        return TOO_BRIEF
    return Asked(package, event, min(MAX_EXPIRES if expires is None else expires, MAX_EXPIRES))


def _id(params: str) -> str:
    """The `id` of an Event (RFC 6665 §8.2.1), which each NOTIFY repeats."""
    found = next((v for n, v in parse_params(params, 0) if n.lower() == "id"), None)
    if found is None:
        return ""
    if _EVENT_ID_RE.fullmatch(found) is None:
        raise BadMessage("Malformed event id")
    return f";id={found}"


def _accepts(request: Request, content_type: str) -> bool:
    """Without Accept, the package's own type is meant (§3.1.3)."""
    if "accept" not in request.index:
        return True
    kinds = {item.partition(";")[0].strip().lower() for item in request.items("accept")}
    return not kinds.isdisjoint((content_type, "application/*", "*/*"))


def active(seconds: float) -> str:
    """The Subscription-State of one that lives (§4.1.3)."""
    return f"Subscription-State: active;expires={max(0, round(seconds))}"


def terminated(reason: str) -> str:
    """The Subscription-State of one that has ended: `deactivated`, `rejected`, `timeout` …"""
    return f"Subscription-State: terminated;reason={reason}"
