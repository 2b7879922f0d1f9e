"""/values: what a customer's dialplans keep."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from services.provisioning.entrypoints.http_program_models import NewValue, ValueView
from services.provisioning.entrypoints.http_route import (
    Caller,
    Cases,
    Listing,
    Part,
    listed,
    routes,
)

router = routes("/values", 403, 404, 409)
Owner = Annotated[str | None, Query(description="Whose, for administrators; else the caller's.")]


@router.get("", summary="List values")
async def listing(caller: Caller, cases: Cases, part: Part) -> Listing[ValueView]:
    """By key; administrators see everybody's."""
    page = await cases.values.page(caller, part.offset, part.count)
    return listed(page, ValueView.model_validate)


@router.get("/{key:path}", summary="Read a value")
async def read(key: str, caller: Caller, cases: Cases, owner: Owner = None) -> ValueView:
    """By its key."""
    return ValueView.model_validate(await cases.values.get(caller, owner, key))


@router.put("/{key:path}", summary="Set a value")
async def write(
    key: str, body: NewValue, caller: Caller, cases: Cases, owner: Owner = None
) -> ValueView:
    """New or not: 100 keys of 64 characters, with values of 1024 characters."""
    values = {"key": key, "value": body.value}
    return ValueView.model_validate(await cases.values.write(caller, owner, values))


@router.delete("/{key:path}", summary="Remove a value", status_code=204)
async def remove(key: str, caller: Caller, cases: Cases, owner: Owner = None) -> None:
    """By its key."""
    await cases.values.remove(caller, owner, key)
