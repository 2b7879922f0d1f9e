"""Query parameters and headers of the event API, read once for all its forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.requests import HTTPConnection

from services.events.domain.event import MAX_NAME
from services.events.domain.filters import FilterError
from services.events.domain.times import parse_time
from services.events.domain.view import View
from services.events.handlers.viewing import Forbidden, make_view
from tandem.rpc.http import Problem
from tandem.rpc.sessions import Principal

_SWITCH: Final[Mapping[str, bool]] = {
    "": False,
    "0": False,
    "false": False,
    "1": True,
    "true": True,
}


def read_view(connection: HTTPConnection, viewer: Principal) -> View:
    """`?filter=`, `?traces=1` and `?trace_customer=`. Raises a 400 Problem that names what is
    wrong, a 403 for what is others'."""
    asked = connection.query_params
    traces = asked.get("traces", "0").lower()
    if traces not in _SWITCH:
        raise Problem(400, "Write traces=1 or traces=0.", field="traces")
    customer = asked.get("trace_customer", "")
    if len(customer) > MAX_NAME:
        raise Problem(400, "No user name is so long.", field="trace_customer")
    try:
        return make_view(
            viewer, asked.get("filter", ""), traces=_SWITCH[traces], trace_customer=customer
        )
    except FilterError as error:
        raise Problem(400, f"The filter is wrong: {error}.", field="filter") from None
    except Forbidden as error:
        raise Problem(403, str(error), field=error.field) from None


def read_cursor(connection: HTTPConnection) -> int | None:
    """`Last-Event-ID`, which a browser sends when it comes back to the same address, before
    `?cursor=`. Raises a 400 Problem."""
    text = connection.headers.get("last-event-id") or connection.query_params.get("cursor", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Problem(400, "A cursor is the id of an event, a whole number.", field="cursor")
    return int(text)


def read_time(field: str, text: str | None) -> float | None:
    """A time of the query. Raises a 422 Problem."""
    if text is None:
        return None
    try:
        return parse_time(text)
    except ValueError:
        detail = "A time looks like 2026-01-31T12:00:00Z."
        raise Problem(422, detail, field=field) from None
