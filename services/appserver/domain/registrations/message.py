"""The REGISTER that we send, and what a registrar says to it: RFC 3261 §10.2."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from services.appserver.domain.registrations.settings import Settings
from tandem.sip.address import Address
from tandem.sip.digest_client import DigestClient
from tandem.sip.errors import RemoteFault
from tandem.sip.message import Request, Response
from tandem.sip.uri import Uri

MAX_GRANTED: Final = 86_400
"""Seconds: a registrar that grants, or demands, more than a day is believed no further."""
MAX_RETRY_AFTER: Final = 3_600
"""Seconds that a registrar can keep us away for: whatever it said, we look again then."""

_SECONDS_RE: Final = re.compile(r"\s*([0-9]{1,9})")


@dataclass(slots=True, eq=False)
class Session:
    """One Contact at one registrar, over all of its REGISTERs. "A UA SHOULD use the same Call-ID
    for all registrations", and count its CSeq up."""

    settings: Settings
    contact: Uri
    """With `rinstance`."""
    digest: DigestClient
    call_id: str
    tag: str
    expires: int
    """What is asked for: the provider's setting, or the registrar's Min-Expires."""
    ends_at: float = 0.0
    """When the registration ends, by the steady clock; 0: there is none."""
    granted: float = 0.0
    """For how many seconds the registrar took it last; 0: unknown."""
    seq: int = 0


def register(session: Session, expires: int, route: Iterable[str], user_agent: str) -> Request:
    """The next REGISTER of a session, for so many seconds; 0 takes the binding away. The
    credentials that served before are in it from the start."""
    settings = session.settings
    session.seq += 1
    uri = str(settings.registrar)
    edge = [f"<{settings.edge.with_params(lr='')}>"] if settings.edge is not None else []
    lines = [
        *(f"Route: {value}" for value in (*route, *edge)),
        "Max-Forwards: 70",
        f"From: <{settings.aor}>;tag={session.tag}",
        f"To: <{settings.aor}>",
        f"Call-ID: {session.call_id}",
        f"CSeq: {session.seq} REGISTER",
        # both, since there are registrars that look at one of them alone
        f"Contact: <{session.contact}>;expires={expires}",
        f"Expires: {expires}",
        f"User-Agent: {user_agent}",
        *settings.headers,
        *session.digest.lines("REGISTER", uri),
    ]
    return Request("REGISTER", uri, lines)


def granted(response: Response, contact: Uri, asked: int) -> int:
    """For how many seconds a 2xx lets this contact stay: "the UA ... compares each contact
    address to see if it created the contact address" (§10.2.4). A registrar that names none of
    ours, though it took it, is taken by its Expires, and without that by what we asked."""
    ours = _ours(_contacts(response), contact)
    value = ours.param("expires") if ours is not None else None
    seconds = _number(value) if value is not None else None
    if seconds is None:
        seconds = _number(response.first("expires"))
    return min(asked if seconds is None else seconds, MAX_GRANTED)


def _contacts(response: Response) -> Sequence[Address]:
    try:
        return Address.parse_list(response.values("contact"))
    except RemoteFault:
        return ()


def _ours(contacts: Sequence[Address], contact: Uri) -> Address | None:
    """By the rules of comparison, or by its `rinstance` where a NAT's mending changed the host."""
    for address in contacts:
        if address.uri.equivalent(contact):
            return address
    instance = contact.param("rinstance")
    return next((a for a in contacts if instance and a.uri.param("rinstance") == instance), None)


def min_expires(response: Response) -> int | None:
    """What a 423 asks for, None if it does not say or wants more than anybody should."""
    seconds = _number(response.first("min-expires"))
    return seconds if seconds is not None and 0 < seconds <= MAX_GRANTED else None


def retry_after(response: Response) -> int:
    """Seconds that the registrar wants to be left alone, 0 if it does not say (§20.33)."""
    return min(_number(response.first("retry-after")) or 0, MAX_RETRY_AFTER)


def _number(text: str | None) -> int | None:
    match = _SECONDS_RE.match(text or "")
    return int(match[1]) if match else None
