"""/providers and /provider-bindings"""

from __future__ import annotations

from fastapi import APIRouter

from services.provisioning.entrypoints.http_program_models import (
    NewProvider,
    ProviderBindingView,
    ProviderChange,
    ProviderView,
)
from services.provisioning.entrypoints.http_route import (
    Caller,
    Cases,
    Listing,
    Part,
    Place,
    ProblemRoute,
    listed,
    routes,
)

router = APIRouter(route_class=ProblemRoute)
_providers = routes("/providers", 403, 404, 409)


@_providers.get("", summary="List providers")
async def listing(caller: Caller, cases: Cases, part: Part) -> Listing[ProviderView]:
    """By name."""
    page = await cases.providers.page(caller, part.offset, part.count)
    return listed(page, ProviderView.of)


@_providers.post("", summary="Add a provider", status_code=201)
async def create(body: NewProvider, caller: Caller, cases: Cases, place: Place) -> ProviderView:
    """Its secrets are encrypted, and never shown again."""
    return place.of(ProviderView.of(await cases.providers.create(caller, body.given())))


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
async def bindings(caller: Caller, cases: Cases, part: Part) -> Listing[ProviderBindingView]:
    """How each stands, why, and which server sees to it; by the provider's name."""
    page = await cases.providers.bindings(caller, part.offset, part.count)
    return listed(page, ProviderBindingView.of)


router.include_router(_providers)
