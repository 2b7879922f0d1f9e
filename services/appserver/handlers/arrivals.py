"""What traces say of a request as it came: read from its bytes, and only where there is tracing."""

from __future__ import annotations

from dataclasses import dataclass

from services.appserver.handlers.sources import source_of
from tandem.runtime.telemetry import Attributes, peer_attributes, request_attributes
from tandem.sip.errors import RemoteFault
from tandem.sip.message import Request, parse_message


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request's place in its trace, and what it says."""

    call_id: str
    branch: str
    """Of the topmost Via, which the proxy's span is named by."""
    attributes: Attributes


def read_arrival(data: bytes) -> Arrived | None:
    """Read a request; None for what is none."""
    try:
        request = parse_message(data)
        if not isinstance(request, Request):
            return None
        attributes = request_attributes(
            request.method,
            request.uri,
            request.call_id,
            cseq=request.first("cseq") or "",
            user_agent=request.first("user-agent") or "",
        )
        attributes |= source_attributes(source_of(request).text)
        return Arrived(request.call_id, request.top[0], attributes)
    except RemoteFault:
        return None


def source_attributes(source: str) -> dict[str, str | int | float]:
    """`udp:192.0.2.1:5060` as attributes."""
    transport, _, address = source.partition(":")
    host, _, port = address.rpartition(":")
    return peer_attributes(transport, host.strip("[]"), int(port) if port.isdigit() else 0)
