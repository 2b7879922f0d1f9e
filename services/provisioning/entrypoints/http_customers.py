"""/customers"""

from __future__ import annotations

from services.provisioning.entrypoints.http_models import CustomerChange, CustomerView, NewCustomer
from services.provisioning.entrypoints.http_route import (
    Caller,
    Cases,
    Listing,
    Part,
    Place,
    listed,
    routes,
)

router = routes("/customers", 403, 404, 409)


@router.get("", summary="List customers")
async def listing(caller: Caller, cases: Cases, part: Part) -> Listing[CustomerView]:
    """By user name; administrators only."""
    page = await cases.customers.page(caller, part.offset, part.count)
    return listed(page, CustomerView.model_validate)


@router.post("", summary="Add a customer", status_code=201)
async def create(body: NewCustomer, caller: Caller, cases: Cases, place: Place) -> CustomerView:
    """Administrators only."""
    return place.of(CustomerView.model_validate(await cases.customers.create(caller, body.given())))


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
