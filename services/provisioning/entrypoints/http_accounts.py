"""/sip-accounts"""

from __future__ import annotations

from services.provisioning.entrypoints.http_models import AccountChange, AccountView, NewAccount
from services.provisioning.entrypoints.http_route import (
    Caller,
    Cases,
    Listing,
    Part,
    Place,
    listed,
    routes,
)

router = routes("/sip-accounts", 403, 404, 409)


@router.get("", summary="List SIP accounts")
async def listing(caller: Caller, cases: Cases, part: Part) -> Listing[AccountView]:
    """By user name."""
    page = await cases.accounts.page(caller, part.offset, part.count)
    return listed(page, AccountView.model_validate)


@router.post("", summary="Add a SIP account", status_code=201)
async def create(body: NewAccount, caller: Caller, cases: Cases, place: Place) -> AccountView:
    """Made in the default domain if none is named."""
    return place.of(AccountView.model_validate(await cases.accounts.create(caller, body.given())))


@router.get("/{id}", summary="Read a SIP account")
async def read(id: str, caller: Caller, cases: Cases) -> AccountView:
    """By its id."""
    return AccountView.model_validate(await cases.accounts.get(caller, id))


@router.patch("/{id}", summary="Change a SIP account")
async def change(id: str, body: AccountChange, caller: Caller, cases: Cases) -> AccountView:
    """Only what is sent changes; a new user name or domain needs the password too."""
    return AccountView.model_validate(await cases.accounts.change(caller, id, body.given()))


@router.delete("/{id}", summary="Delete a SIP account", status_code=204)
async def remove(id: str, caller: Caller, cases: Cases) -> None:
    """Its phones are no longer registered."""
    await cases.accounts.remove(caller, id)
