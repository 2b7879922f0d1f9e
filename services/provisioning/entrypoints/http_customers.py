"""/customers"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from services.provisioning.entrypoints.http_models import CustomerChange, CustomerView, NewCustomer
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
    prefix="/customers",
    tags=["customers"],
    route_class=ProblemRoute,
    responses={code: PROBLEM_RESPONSES[code] for code in (403, 404, 409)},
)


@router.get("", summary="List customers")
async def listing(
    caller: Caller, cases: Cases, offset: Offset = 0, count: Count = DEFAULT_COUNT
) -> Listing[CustomerView]:
    """By user name; administrators only."""
    page = await cases.customers.page(caller, offset, count)
    return Listing(
        items=[CustomerView.model_validate(item) for item in page.items], total=page.total
    )


@router.post("", summary="Add a customer", status_code=201)
async def create(
    body: NewCustomer, request: Request, response: Response, caller: Caller, cases: Cases
) -> CustomerView:
    """Administrators only."""
    view = CustomerView.model_validate(await cases.customers.create(caller, body.given()))
    locate(request, response, view.id)
    return view


@router.get("/{id}", summary="Read a customer")
async def read(id: str, caller: Caller, cases: Cases) -> CustomerView:
    """Others than administrators read themselves."""
    return CustomerView.model_validate(await cases.customers.get(caller, id))


@router.patch("/{id}", summary="Change a customer")
async def change(id: str, body: CustomerChange, caller: Caller, cases: Cases) -> CustomerView:
    """Name, e-mail and time zone by the customer itself, the rest by administrators."""
    return CustomerView.model_validate(await cases.customers.change(caller, id, body.given()))


@router.delete("/{id}", summary="Delete a customer", status_code=204)
async def remove(id: str, caller: Caller, cases: Cases) -> None:
    """With all that it owns; administrators only."""
    await cases.customers.remove(caller, id)
