"""/values: what a customer's dialplans keep."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from services.provisioning.entrypoints.http_program_models import NewValue, ValueView
from services.provisioning.entrypoints.http_route import (
    DEFAULT_COUNT,
    Caller,
    Cases,
    Count,
    Listing,
    Offset,
    ProblemRoute,
)
from tandem.rpc.http import PROBLEM_RESPONSES

router = APIRouter(
    prefix="/values",
    tags=["values"],
    route_class=ProblemRoute,
    responses={code: PROBLEM_RESPONSES[code] for code in (403, 404, 409)},
)
Owner = Annotated[str | None, Query(description="Whose, for administrators; else the caller's.")]


@router.get("", summary="List values")
async def listing(
    caller: Caller, cases: Cases, offset: Offset = 0, count: Count = DEFAULT_COUNT
) -> Listing[ValueView]:
    """By key; administrators see everybody's."""
    page = await cases.values.page(caller, offset, count)
    return Listing(items=[ValueView.model_validate(item) for item in page.items], total=page.total)


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
