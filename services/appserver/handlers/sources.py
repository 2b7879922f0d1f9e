"""Where a request really came from: its flow token knows, and failing that the client's Via."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from services.appserver.domain.authentication import Source
from services.appserver.domain.location import token_of
from tandem.sip.message import Request
from tandem.siptransport.flowtoken import describe

MAX_KNOWN: Final = 4096
"""Flows whose source is remembered, under 1 kB each."""


def source_of(request: Request) -> Source:
    """The source of a request that a proxy gave us. The proxy wrote the token (in Path for a
    REGISTER, else in Record-Route) and has put `received` and `rport` into the client's Via."""
    header = "path" if request.method == "REGISTER" else "record-route"
    value = request.first(header)
    return (_of_token(value) if value else None) or _by_via(request)


@lru_cache(maxsize=MAX_KNOWN)
def _of_token(value: str) -> Source | None:
    found = describe(token_of(value))
    return None if found is None else _source(found[1], found[2], str(found[3]))


def _by_via(request: Request) -> Source:
    vias = request.vias
    via = vias[1] if len(vias) > 1 else vias[0]
    host = via.param("received") or via.host
    port = via.param("rport") or str(via.port or 5060)
    return _source(via.transport.lower(), host.strip("[]"), port)


def _source(transport: str, host: str, port: str) -> Source:
    shown = f"[{host}]" if ":" in host else host
    return Source(f"{transport}:{shown}:{port}", host)
