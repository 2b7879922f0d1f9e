"""/api-keys"""

from __future__ import annotations

from dataclasses import asdict

from services.provisioning.entrypoints.http_models import KeyChange, KeyView, NewKey, NewKeyView
from services.provisioning.entrypoints.http_route import (
    Caller,
    Cases,
    Listing,
    Part,
    Place,
    listed,
    routes,
)

router = routes("/api-keys", 403, 404, 409)


@router.get("", summary="List API keys")
async def listing(caller: Caller, cases: Cases, part: Part) -> Listing[KeyView]:
    """The oldest first."""
    page = await cases.api_keys.page(caller, part.offset, part.count)
    return listed(page, KeyView.model_validate)


@router.post("", summary="Add an API key", status_code=201)
async def create(body: NewKey, caller: Caller, cases: Cases, place: Place) -> NewKeyView:
    """The secret is in this answer and never again."""
    key, secret = await cases.api_keys.create(caller, body.given())
    return place.of(NewKeyView.model_validate(asdict(key) | {"secret": secret}))


@router.get("/{id}", summary="Read an API key")
async def read(id: str, caller: Caller, cases: Cases) -> KeyView:
    """By its id, without the secret."""
    return KeyView.model_validate(await cases.api_keys.get(caller, id))


@router.patch("/{id}", summary="Change an API key")
async def change(id: str, body: KeyChange, caller: Caller, cases: Cases) -> KeyView:
    """Its name."""
    return KeyView.model_validate(await cases.api_keys.rename(caller, id, body.given()))


@router.delete("/{id}", summary="Delete an API key", status_code=204)
async def remove(id: str, caller: Caller, cases: Cases) -> None:
    """It ends at once."""
    await cases.api_keys.remove(caller, id)
