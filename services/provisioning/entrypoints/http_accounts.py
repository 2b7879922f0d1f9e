"""/sip-accounts"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from services.provisioning.entrypoints.http_models import AccountChange, AccountView, NewAccount
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
    prefix="/sip-accounts",
    tags=["sip-accounts"],
    route_class=ProblemRoute,
    responses={code: PROBLEM_RESPONSES[code] for code in (403, 404, 409)},
)


@router.get("", summary="List SIP accounts")
async def listing(
    caller: Caller, cases: Cases, offset: Offset = 0, count: Count = DEFAULT_COUNT
) -> Listing[AccountView]:
    """By user name."""
    page = await cases.accounts.page(caller, offset, count)
    return Listing(
        items=[AccountView.model_validate(item) for item in page.items], total=page.total
    )


@router.post("", summary="Add a SIP account", status_code=201)
async def create(
    body: NewAccount, request: Request, response: Response, caller: Caller, cases: Cases
) -> AccountView:
    """Made in the default domain if none is named."""
    view = AccountView.model_validate(await cases.accounts.create(caller, body.given()))
    locate(request, response, view.id)
    return view


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
