"""/bindings: who is registered, from the durable copy; a second or so behind the switch."""

from __future__ import annotations

from services.provisioning.entrypoints.http_models import BindingView
from services.provisioning.entrypoints.http_route import (
    Caller,
    Cases,
    Listing,
    Part,
    listed,
    routes,
)

router = routes("/bindings")


@router.get("", summary="List registrations")
async def listing(caller: Caller, cases: Cases, part: Part) -> Listing[BindingView]:
    """By address-of-record; expired ones are left out."""
    page = await cases.location.page(caller, part.offset, part.count)
    return listed(page, BindingView.model_validate)
