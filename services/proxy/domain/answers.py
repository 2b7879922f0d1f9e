"""Answers that the proxy gives by itself, without state: RFC 3261 §8.2.7, §16.11.

Off the fast path: here messages are parsed.
"""

from __future__ import annotations

import base64
import hashlib

from services.proxy.domain.peer import Peer
from services.proxy.domain.scan import scan, splice
from services.proxy.domain.verdict import Answer
from services.proxy.domain.viaedit import read_via, stamp
from tandem.sip.build import response_to
from tandem.sip.errors import RemoteFault
from tandem.sip.message import MalformedRequest, Request, parse_message


def build_answer(data: bytes, answer: Answer, peer: Peer | None) -> bytes | None:
    """The answer to the request in `data`, its Via stamped with the source when it came from a
    peer outside. None where nothing can be said: it is no request, or it is broken too far."""
    if peer is not None:
        head = scan(data, torn=True)
        via = read_via(head) if head is not None else None
        if via is None:
            return None
        data = splice(data, stamp(via, peer))
    request = _request(data)
    if request is None or request.method == "ACK":
        return None
    # "the same tag for the same request": a retransmission gets the same answer (§8.2.7)
    digest = hashlib.blake2b(f"{answer.status}".encode() + data, digest_size=6).digest()
    tag = base64.urlsafe_b64encode(digest).decode()
    response = response_to(request, answer.status, answer.reason, tag=tag, headers=answer.headers)
    return response.to_bytes()


def _request(data: bytes) -> Request | None:
    try:
        message = parse_message(data)
    except MalformedRequest as fault:
        return fault.request
    except RemoteFault:
        return None
    return message if isinstance(message, Request) else None
