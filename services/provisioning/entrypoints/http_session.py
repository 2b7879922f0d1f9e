"""/login /logout /me"""

from __future__ import annotations

from fastapi import APIRouter, Request

from services.provisioning.entrypoints.http_models import (
    Credentials,
    CustomerView,
    PasswordChange,
    TokenView,
)
from services.provisioning.entrypoints.http_route import (
    Caller,
    Cases,
    ProblemRoute,
    presented_token,
    source_of,
    whole_seconds,
)
from tandem.rpc.http import PROBLEM_RESPONSES

router = APIRouter(tags=["session"], route_class=ProblemRoute)


@router.post("/login", summary="Log in", responses={429: PROBLEM_RESPONSES[429]})
async def login(body: Credentials, request: Request, cases: Cases) -> TokenView:
    """A token for a user name and password. Failures slow down, then lock for a while: 429."""
    token, expires = await cases.login.login(body.username, body.password, source_of(request))
    return TokenView(token=token, expires_at=whole_seconds(expires))


@router.post("/logout", summary="Log out", status_code=204)
async def logout(request: Request, caller: Caller, cases: Cases) -> None:
    """End this token."""
    await cases.login.logout(caller, presented_token(request))


@router.get("/me", summary="Who am I")
async def me(caller: Caller, cases: Cases) -> CustomerView:
    """The customer whose token this is."""
    return CustomerView.model_validate(await cases.customers.get(caller, caller.username))


@router.post(
    "/me/password",
    summary="Change my password",
    status_code=204,
    responses={429: PROBLEM_RESPONSES[429]},
)
async def change_password(
    body: PasswordChange, request: Request, caller: Caller, cases: Cases
) -> None:
    """The old one is asked for; all other sessions end."""
    await cases.login.change_password(
        caller,
        presented_token(request),
        body.old_password,
        body.new_password,
        source_of(request),
    )
