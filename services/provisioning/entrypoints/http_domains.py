"""/domains"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from services.provisioning.entrypoints.http_models import DomainChange, DomainView, NewDomain
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

router = APIRouter(
    prefix="/domains",
    tags=["domains"],
    route_class=ProblemRoute,
    responses={code: PROBLEM_RESPONSES[code] for code in (403, 404, 409)},
)


@router.get("", summary="List domains")
async def listing(
    caller: Caller, cases: Cases, offset: Offset = 0, count: Count = DEFAULT_COUNT
) -> Listing[DomainView]:
    """Those that you may use, the default one first."""
    page = await cases.domains.page(caller, offset, count)
    items = [DomainView.model_validate(item) for item in page.items]
    return Listing(items=items, total=page.total)


@router.post("", summary="Add a domain", status_code=201)
async def create(
    body: NewDomain, request: Request, response: Response, caller: Caller, cases: Cases
) -> DomainView:
    """Administrators only."""
    view = DomainView.model_validate(await cases.domains.create(caller, body.given()))
    locate(request, response, view.id)
    return view


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
