"""Where a 3xx points to: RFC 3261 §8.1.3.4 and §21.3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from services.appserver.domain.plan import SELF, LegOptions, NextHop, Target
from tandem.sip.address import Address
from tandem.sip.errors import BadMessage
from tandem.sip.grammar import split_list
from tandem.sip.message import Response
from tandem.sip.uri import Uri

MAX_CONTACTS: Final = 10
"""Contacts of one answer that are looked at."""

FOLLOWED: Final = frozenset({300, 301, 302})
"""305 names a proxy and 380 another service: neither is somebody else to call."""


def contacts_of(response: Response | None) -> tuple[str, ...]:
    """The SIP URIs of a redirection, the most wanted first (by q, RFC 3261 §20.10); none of any
    other answer. What is malformed or of another scheme is passed over."""
    if response is None or not 300 <= response.status < 400:
        return ()
    found: dict[str, float] = {}
    items = [item for value in response.values("contact") for item in split_list(value)]
    for item in items[:MAX_CONTACTS]:
        try:
            address = Address.parse(item)
        except BadMessage:
            continue
        if address.uri.is_sip:
            found.setdefault(_request_uri(address.uri), _q(address))
    return tuple(sorted(found, key=lambda uri: -found[uri]))


def handed_on(target: Target, hops: Sequence[NextHop]) -> LegOptions:
    """What of a leg's options is for a contact of its redirection, which these hops lead to. Its
    headers, its From and its credentials are meant for who was called, and may be secrets; a phone
    of ours that points to another account of the switch hands on what is not. Nobody chose whom it
    points to, who therefore may not transfer."""
    options = target.options
    kept = replace(
        options, credentials=None, provider="", delay=0, transfer=options.transfer.without_callee
    )
    if target.account and hops and all(hop.proxy == SELF for hop in hops):
        return kept
    return replace(kept, headers=(), from_value="")


def _request_uri(uri: Uri) -> str:
    """Without what a Request-URI must not have (§19.1.1 table 1). Headers that a redirecting server
    wants in our request are none of its business."""
    return str(replace(uri.with_params(method=None), headers=""))


def _q(address: Address) -> float:
    try:
        return float(address.param("q") or 1.0)
    except ValueError:
        return 0.0
