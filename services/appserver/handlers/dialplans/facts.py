"""What a script is told of the INVITE that it runs for."""

from __future__ import annotations

from typing import Final

from services.appserver.domain.plan import CallPlan
from tandem.dialplan.world import Incoming
from tandem.sip.errors import RemoteFault
from tandem.sip.message import Request
from tandem.sip.uri import Uri

HIDDEN: Final = frozenset({
    "via", "route", "record-route", "path", "authorization", "proxy-authorization", "from", "to",
    "call-id", "cseq", "max-forwards", "max-breadth", "content-length", "user-agent",
})  # fmt: skip
"""Headers that are told otherwise, are hops' business, or hold credentials."""

MAX_HEADERS: Final = 64
MAX_VALUE: Final = 1_024
"""Characters of one header."""
MAX_BODY: Final = 16_384
"""Bytes of the body: SDP with all its candidates."""


def incoming(request: Request, plan: CallPlan, customer: str, source: str) -> Incoming:
    """The facts of a call of `customer`'s."""
    uri, caller = request.request_uri, request.from_
    own = plan.callee or plan.caller  # an outgoing call's dialplan says whom it is for
    return Incoming(
        direction="in" if plan.callee is not None else "out",
        customer=customer,
        account=own.aor if own is not None else "",
        method=request.method,
        uri=request.uri,
        user=_user(uri),
        host=uri.host,
        from_name=caller.display,
        from_user=_user(caller.uri),
        from_host=caller.uri.host,
        from_uri=str(caller.uri),
        to_uri=str(request.to.uri),
        call_id=request.call_id,
        user_agent=(request.first("user-agent") or "")[:MAX_VALUE],
        source=source,
        headers=_headers(request),
        body=request.body[:MAX_BODY].decode("utf-8", "replace"),
    )


def _user(uri: Uri) -> str:
    return uri.user or "" if uri.is_sip else uri.opaque.partition(";")[0]


def _headers(request: Request) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for key in list(request.index)[: MAX_HEADERS + len(HIDDEN)]:
        if key not in HIDDEN and len(found) < MAX_HEADERS:
            try:
                found[key] = tuple(value[:MAX_VALUE] for value in request.values(key))
            except RemoteFault:
                continue
    return found
