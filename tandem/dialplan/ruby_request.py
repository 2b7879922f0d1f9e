"""`req`, as Ruby dialplans know it: the tree of the original's SIPRequest."""

from __future__ import annotations

from typing import Any

from tandem.dialplan.world import Incoming


def tree(req: Incoming) -> dict[str, Any]:
    """The request. What it does not have is nil, as it was there."""
    return {
        "text": f"{req.method} {req.uri} SIP/2.0",
        "Method": req.method,
        "Body": req.body or None,
        "URI": _uri(req.uri, req.user, req.host),
        "Header": _header(req),
        "RemoteSIPEndPoint": req.source,
    }


def _header(req: Incoming) -> dict[str, Any]:
    lines = [f"{name}: {value}" for name, values in req.headers.items() for value in values]
    known: dict[str, Any] = {
        "text": "\r\n".join(lines),
        "From": _from(req),
        "To": _party(req.to_uri, _one(req, "to"), "To"),
        "Contact": [_party(one, one, "Contact") for one in req.headers.get("contact", ())],
        "CallId": req.call_id,
        "CSeq": _cseq(_one(req, "cseq")),
        "UserAgent": req.user_agent or None,
        "ProxyReceivedFrom": req.source,
        "ProxyReceivedOn": None,
        "UnknownHeaders": lines,
    }
    for name, values in req.headers.items():
        known.setdefault(name.replace("-", ""), values[0] if values else None)
    return known


def _from(req: Incoming) -> dict[str, Any]:
    name = f'"{req.from_name}" ' if req.from_name else ""
    uri = req.from_uri or f"sip:{req.from_user}@{req.from_host}"
    return {
        "text": f"{name}<{uri}>",
        "FromName": req.from_name or None,
        "FromURI": _uri(uri, req.from_user, req.from_host),
        "FromTag": _tag(_one(req, "from")),
    }


def _party(uri: str, text: str, kind: str) -> dict[str, Any]:
    address = uri.partition("<")[2].partition(">")[0] or uri
    user, at, host = address.partition(":")[2].partition("@")
    host = (host if at else user).partition(";")[0]
    parsed = _uri(address, user if at else "", host)
    return {
        "text": text or f"<{address}>",
        f"{kind}Name": None,
        f"{kind}URI": parsed,
        f"{kind}Tag": _tag(text),
    }


def _uri(text: str, user: str, host: str) -> dict[str, Any]:
    rest, _, headers = text.partition("?")
    return {
        "text": text,
        "User": user or None,
        "Host": host,
        "Scheme": text.partition(":")[0],
        "Parameters": rest.partition("@")[2].partition(";")[2] or rest.partition(";")[2],
        "Headers": headers,
    }


def _cseq(text: str) -> int:
    number = text.partition(" ")[0]
    return int(number) if number.isascii() and number.isdigit() else 0


def _tag(text: str) -> str | None:
    return text.rpartition(";tag=")[2].partition(";")[0] if ";tag=" in text else None


def _one(req: Incoming, name: str) -> str:
    return next(iter(req.headers.get(name, ())), "")
