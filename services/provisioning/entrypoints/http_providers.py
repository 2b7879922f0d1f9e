"""/providers and /provider-bindings"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from services.provisioning.entrypoints.http_program_models import (
    NewProvider,
    ProviderBindingView,
    ProviderChange,
    ProviderView,
)
from services.provisioning.entrypoints.http_route import (
    DEFAULT_COUNT,
    Caller,
    Cases,
    Count,
    Listing,
    Offset,
    ProblemRoute,
    locate,
)
from tandem.rpc.http import PROBLEM_RESPONSES

_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    code: PROBLEM_RESPONSES[code] for code in (403, 404, 409)
}
router = APIRouter(route_class=ProblemRoute)
_providers = APIRouter(
    prefix="/providers", tags=["providers"], route_class=ProblemRoute, responses=_REFUSALS
)


@_providers.get("", summary="List providers")
async def listing(
    caller: Caller, cases: Cases, offset: Offset = 0, count: Count = DEFAULT_COUNT
) -> Listing[ProviderView]:
    """By name."""
    page = await cases.providers.page(caller, offset, count)
    return Listing(items=[ProviderView.of(item) for item in page.items], total=page.total)


@_providers.post("", summary="Add a provider", status_code=201)
async def create(
    body: NewProvider, request: Request, response: Response, caller: Caller, cases: Cases
) -> ProviderView:
    """Its secrets are encrypted, and never shown again."""
    view = ProviderView.of(await cases.providers.create(caller, body.given()))
    locate(request, response, view.id)
    return view


@_providers.get("/{id}", summary="Read a provider")
async def read(id: str, caller: Caller, cases: Cases) -> ProviderView:
    """By its id."""
    return ProviderView.of(await cases.providers.get(caller, id))


@_providers.patch("/{id}", summary="Change a provider")
async def change(id: str, body: ProviderChange, caller: Caller, cases: Cases) -> ProviderView:
    """Only what is sent changes, in `callback` too."""
    return ProviderView.of(await cases.providers.change(caller, id, body.given()))


@_providers.delete("/{id}", summary="Delete a provider", status_code=204)
async def remove(id: str, caller: Caller, cases: Cases) -> None:
    """It is gone at once; where it is registered, it is unregistered within seconds."""
    await cases.providers.remove(caller, id)


@router.get("/provider-bindings", summary="List registrations at providers", tags=["providers"])
async def bindings(
    caller: Caller, cases: Cases, offset: Offset = 0, count: Count = DEFAULT_COUNT
) -> Listing[ProviderBindingView]:
    """How each stands, why, and which server sees to it; by the provider's name."""
    page = await cases.providers.bindings(caller, offset, count)
    return Listing(items=[ProviderBindingView.of(item) for item in page.items], total=page.total)


router.include_router(_providers)
