"""Query parameters and headers of the event API, read once for all its forms."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from services.events.domain.filters import FilterError, parse_filter
from services.events.domain.times import parse_time
from services.events.domain.view import View
from tandem.rpc.http import Problem
from tandem.rpc.sessions import Principal


def read_view(connection: HTTPConnection, viewer: Principal) -> View:
    """`?filter=`. Raises a 400 Problem that names what is wrong, a 403 for others' events."""
    try:
        found = parse_filter(connection.query_params.get("filter", ""))
    except FilterError as error:
        raise Problem(400, f"The filter is wrong: {error}.", field="filter") from None
    foreign = found.foreign_owner(viewer)
    if foreign is not None:
        detail = f"Only administrators may see the events of {foreign!r}."
        raise Problem(403, detail, field="filter")
    return View(viewer, found)


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
