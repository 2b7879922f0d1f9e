"""/signals: what a voice application hands back to the dialplan that waits for it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import Path, Query, Request, Response
from pydantic import Field

from services.provisioning.domain.errors import invalid
from services.provisioning.entrypoints.http_models import View
from services.provisioning.entrypoints.http_route import Caller, Cases, owner_of, routes
from tandem.rpc.callcontrol import MAX_SIGNAL_BYTES
from tandem.rpc.http import Problem

MAX_FIELDS: Final = 100
"""Fields of a form."""
FORM: Final = "application/x-www-form-urlencoded"

router = routes("/signals", 403, 409)


class SignalView(View):
    """What became of a signal."""

    delivered: int = Field(description="How many dialplans waited for it, and have it.")
    kept: bool = Field(description="Whether it is kept for one that begins to wait soon.")
    silent_nodes: list[str] = Field(
        description="Application servers that did not answer: who waits there has it not."
    )


_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "description": f"At most {MAX_SIGNAL_BYTES} bytes of any type.",
        "content": {"application/json": {}, FORM: {}, "text/plain": {}},
    }
}


@router.post("/{key}", summary="Hand something to a dialplan", openapi_extra=_BODY)
async def put(
    key: Annotated[str, Path(description="What the dialplan waits for it under.")],
    request: Request,
    response: Response,
    caller: Caller,
    cases: Cases,
    owner: Annotated[str | None, Query(description="For administrators: the customer.")] = None,
) -> SignalView:
    """The dialplan gets the body as text; a form as a JSON object. With nobody waiting it is kept
    for 30 s, and the status is 202."""
    customer = owner_of(caller, owner)
    body = _text(await request.body(), request.headers.get("content-type", ""))
    done = await cases.signals.put(customer, key, body)
    if not done.delivered:
        response.status_code = 202
    return SignalView(delivered=done.delivered, kept=done.kept, silent_nodes=list(done.silent))


def _text(body: bytes, content_type: str) -> str:
    """What the dialplan gets. Raises Invalid, and a 413 Problem."""
    _check_size(body)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise invalid("body", "is no UTF-8 text") from None
    kind = content_type.partition(";")[0].strip().lower()
    if kind == FORM:
        text = _form(text)
        _check_size(text.encode())
    elif kind == "application/json":
        _check_json(text)
    if "\0" in text:
        raise invalid("body", "holds a NUL character")
    return text


def _check_size(body: bytes) -> None:
    if len(body) > MAX_SIGNAL_BYTES:
        raise Problem(413, f"A signal may have {MAX_SIGNAL_BYTES} bytes.")


def _check_json(text: str) -> None:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        raise invalid("body", "is no JSON") from None


def _form(text: str) -> str:
    """A JSON object; a field that comes again is a list. Dialplans can read JSON, not forms."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise invalid("body", f"is no form of at most {MAX_FIELDS} fields in UTF-8") from None
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            before = found[name]
            found[name] = [*(before if isinstance(before, list) else [before]), value]
        else:
            found[name] = value
    return json.dumps(found, ensure_ascii=False)
