"""/call-manager-access: methods of the call manager that need no key from listed addresses."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from services.provisioning.domain.callmanager import Access
from services.provisioning.entrypoints.http_models import Body, View, absent
from services.provisioning.entrypoints.http_route import Caller, Cases, Owner, owner_of, routes

router = routes("/call-manager-access", 403, 409, tag="call manager")


class OpenMethod(Body):
    """One method that is open."""

    method: str = Field(
        description="webcallback, blindtransfer or dualtransfer.", examples=["blindtransfer"]
    )
    networks: list[str] = Field(
        description="Addresses that need no key, in CIDR form.", examples=[["203.0.113.0/24"]]
    )
    destinations: list[str] = absent(
        "What may be called: `?` is one character, `*` any number. Needed where there is a "
        "destination.",
        ["1555*"],
    )


class AccessOrder(Body):
    """All methods that are to be open."""

    open: list[OpenMethod] = Field(max_length=10)


class OpenMethodView(View):
    """One method that is open."""

    method: str
    networks: list[str]
    destinations: list[str]


class AccessView(View):
    """All methods that are open."""

    open: list[OpenMethodView]


@router.get("", summary="What is open")
async def read(caller: Caller, cases: Cases, owner: Owner = None) -> AccessView:
    """None unless you opened one."""
    return _view(await cases.open_methods.of(caller, owner_of(caller, owner)))


@router.put("", summary="Open methods, close all others")
async def replace(
    body: AccessOrder, caller: Caller, cases: Cases, owner: Owner = None
) -> AccessView:
    """Whoever calls from a listed address may then do it in your name, a few times a minute."""
    items = [item.given() for item in body.open]
    return _view(await cases.open_methods.replace(caller, owner_of(caller, owner), items))


def _view(opened: Sequence[Access]) -> AccessView:
    return AccessView(open=[OpenMethodView.model_validate(one) for one in opened])
