"""/domains"""

from __future__ import annotations

from services.provisioning.entrypoints.http_models import DomainChange, DomainView, NewDomain
from services.provisioning.entrypoints.http_route import (
    Caller,
    Cases,
    Listing,
    Part,
    Place,
    listed,
    routes,
)

router = routes("/domains", 403, 404, 409)


@router.get("", summary="List domains")
async def listing(caller: Caller, cases: Cases, part: Part) -> Listing[DomainView]:
    """Those that you may use, the default one first."""
    page = await cases.domains.page(caller, part.offset, part.count)
    return listed(page, DomainView.model_validate)


@router.post("", summary="Add a domain", status_code=201)
async def create(body: NewDomain, caller: Caller, cases: Cases, place: Place) -> DomainView:
    """Administrators only."""
    return place.of(DomainView.model_validate(await cases.domains.create(caller, body.given())))


@router.get("/{id}", summary="Read a domain")
async def read(id: str, caller: Caller, cases: Cases) -> DomainView:
    """By its canonical name."""
    return DomainView.model_validate(await cases.domains.get(caller, id))


@router.patch("/{id}", summary="Change a domain")
async def change(id: str, body: DomainChange, caller: Caller, cases: Cases) -> DomainView:
    """Administrators only."""
    return DomainView.model_validate(await cases.domains.change(caller, id, body.given()))


@router.delete("/{id}", summary="Delete a domain", status_code=204)
async def remove(id: str, caller: Caller, cases: Cases) -> None:
    """Administrators only, and only without accounts."""
    await cases.domains.remove(caller, id)
