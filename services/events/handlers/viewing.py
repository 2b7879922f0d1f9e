"""What a caller asks to see, checked once for HTTP and gRPC."""

from __future__ import annotations

from services.events.domain.filters import parse_filter
from services.events.domain.view import EVERYBODY, View
from tandem.rpc.sessions import Principal


class Forbidden(Exception):
    """The caller may not see that; the text says what. `field` is the parameter at fault."""

    def __init__(self, text: str, field: str) -> None:
        super().__init__(text)
        self.field = field


def make_view(
    viewer: Principal, filter: str, *, traces: bool = False, trace_customer: str = ""
) -> View:
    """The view of a caller. `traces`: with full SIP traces of `trace_customer`, by default the
    caller's own (a service's own are everybody's). Raises FilterError and Forbidden."""
    found = parse_filter(filter)
    foreign = found.foreign_owner(viewer)
    if foreign is not None:
        raise Forbidden(f"Only administrators may see the events of {foreign!r}.", "filter")
    if not traces:
        return View(viewer, found)
    customer = trace_customer or viewer.username or EVERYBODY
    if not viewer.admin and customer != viewer.username:
        text = "Only administrators may watch the traces of others."
        raise Forbidden(text, "trace_customer")
    return View(viewer, found, customer)
