"""/bindings: who is registered, from the durable copy; a second or so behind the switch."""

from __future__ import annotations

from fastapi import APIRouter

from services.provisioning.entrypoints.http_models import BindingView
from services.provisioning.entrypoints.http_route import (
    DEFAULT_COUNT,
    Caller,
    Cases,
    Count,
    Listing,
    Offset,
    ProblemRoute,
)

router = APIRouter(prefix="/bindings", tags=["bindings"], route_class=ProblemRoute)


@router.get("", summary="List registrations")
async def listing(
    caller: Caller, cases: Cases, offset: Offset = 0, count: Count = DEFAULT_COUNT
) -> Listing[BindingView]:
    """By address-of-record; expired ones are left out."""
    page = await cases.location.page(caller, offset, count)
    return Listing(items=[BindingView.model_validate(b) for b in page.items], total=page.total)
