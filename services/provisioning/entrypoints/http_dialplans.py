"""/dialplans"""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from services.provisioning.entrypoints.http_program_models import (
    DialplanChange,
    DialplanSummary,
    DialplanView,
    NewDialplan,
    RollBack,
    VersionSummary,
    VersionView,
)
from services.provisioning.entrypoints.http_route import (
    Caller,
    Cases,
    Listing,
    Part,
    Place,
    listed,
    routes,
)

router = routes("/dialplans", 403, 404, 409)
Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="The number of a version.")]


@router.get("", summary="List dialplans")
async def listing(caller: Caller, cases: Cases, part: Part) -> Listing[DialplanSummary]:
    """By name, without their sources."""
    page = await cases.dialplans.page(caller, part.offset, part.count)
    return listed(page, DialplanSummary.model_validate)


@router.post("", summary="Add a dialplan", status_code=201)
async def create(body: NewDialplan, caller: Caller, cases: Cases, place: Place) -> DialplanView:
    """It is checked first: the errors of a 422 name line and column."""
    return place.of(DialplanView.of(await cases.dialplans.create(caller, body.given())))


@router.get("/{id}", summary="Read a dialplan")
async def read(id: str, caller: Caller, cases: Cases) -> DialplanView:
    """With the source of the version that calls run."""
    return DialplanView.of(await cases.dialplans.get(caller, id))


@router.patch("/{id}", summary="Change a dialplan")
async def change(id: str, body: DialplanChange, caller: Caller, cases: Cases) -> DialplanView:
    """Another source is checked, and becomes the newest version, which is published. A new name
    is followed by the accounts and providers that use it."""
    return DialplanView.of(await cases.dialplans.change(caller, id, body.given()))


@router.delete("/{id}", summary="Delete a dialplan", status_code=204)
async def remove(id: str, caller: Caller, cases: Cases) -> None:
    """With its versions. 409 while accounts or providers use it, and names them."""
    await cases.dialplans.remove(caller, id)


@router.get("/{id}/versions", summary="List the versions of a dialplan")
async def versions(id: str, caller: Caller, cases: Cases, part: Part) -> Listing[VersionSummary]:
    """The newest first; the newest 50 are kept, and the one that is published."""
    page, published = await cases.dialplans.versions(caller, id, part.offset, part.count)
    return listed(page, lambda item: VersionSummary.of(item, published))


@router.get("/{id}/versions/{version}", summary="Read a version of a dialplan")
async def version(id: str, version: Number, caller: Caller, cases: Cases) -> VersionView:
    """With its source."""
    return VersionView.of(*await cases.dialplans.version(caller, id, version))


@router.post("/{id}/rollback", summary="Publish another version of a dialplan")
async def roll_back(id: str, body: RollBack, caller: Caller, cases: Cases) -> DialplanView:
    """Calls that begin from now on run it; no version is lost."""
    return DialplanView.of(await cases.dialplans.roll_back(caller, id, body.version))
