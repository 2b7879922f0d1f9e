"""/calls: starting, transferring, joining and ending calls. What reads them is the events
service's, under the same path; so a front end that chooses by the path alone finds these under
/call-orders, too."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from fastapi import APIRouter, Request
from pydantic import Field

from services.provisioning.domain.callmanager import (
    TRANSFER_DIALPLAN,
    CallRefused,
    LegRef,
    Method,
    Place,
    Refusal,
)
from services.provisioning.domain.errors import ProvisioningError, invalid
from services.provisioning.entrypoints.http_models import Body, View, absent
from services.provisioning.entrypoints.http_route import (
    Caller,
    Cases,
    ProblemRoute,
    UseCases,
    owner_of,
    source_of,
)
from services.provisioning.handlers.orders import Order
from tandem.rpc.http import PROBLEM_RESPONSES, Problem, unavailable
from tandem.rpc.sessions import Principal

_STATUS: Final = {
    Refusal.NO_CUSTOMER: 404,
    Refusal.SUSPENDED: 409,
    Refusal.NO_LEG: 404,
    Refusal.ELSEWHERE: 409,
    Refusal.NO_DIALPLAN: 404,
    Refusal.TOO_MANY_RUNS: 429,
    Refusal.TOO_MANY_CALLS: 429,
    Refusal.BAD_DESTINATION: 422,
    Refusal.NOT_NOW: 409,
    Refusal.UNSUPPORTED: 501,
}
_FIELD: Final = {Refusal.NO_DIALPLAN: "dialplan"}


class CallRoute(ProblemRoute):
    """A route whose use case may raise CallRefused."""

    def problem(self, fault: ProvisioningError) -> Problem:
        """What it is answered with."""
        if not isinstance(fault, CallRefused):
            return super().problem(fault)
        if fault.refusal in (Refusal.SILENT, Refusal.OVERLOADED):
            return unavailable(fault.detail)
        field = fault.field or _FIELD.get(fault.refusal)
        return Problem(_STATUS[fault.refusal], fault.detail, field=field)


router = APIRouter(
    tags=["calls"],
    route_class=CallRoute,
    responses={code: PROBLEM_RESPONSES[code] for code in (403, 404, 409, 429)},
)
PREFIX: Final = "/calls"
ALIAS: Final = "/call-orders"

_OWNER: Final = "For administrators: the customer; else yourself."


class NewCall(Body):
    """A call to start: a dialplan with a destination, or two dial strings."""

    dialplan: str = absent("The dialplan to run, without a caller.", "webcallback")
    destination: str = absent("What it sees as the user part of the Request-URI.", "15551234")
    first: str = absent("The dial string that is rung first.", "me@local")
    second: str = absent("The dial string that is joined to it.", "15551234@provider")
    owner: str | None = Field(None, description=_OWNER)


class TransferOrder(Body):
    """Where a leg's far end goes: to a destination by a dialplan, or to a dial string."""

    leg: int = Field(
        description="The leg that leaves the call: 0 is the caller's.",
        ge=0,
        le=10_000,
        examples=[1],
    )
    destination: str = absent("What the dialplan sees as user part.", "15551234")
    dialplan: str = absent("The dialplan; `transfer` unless given.", TRANSFER_DIALPLAN)
    dial: str = absent("A dial string, in place of both.", "15551234@provider")
    owner: str | None = Field(None, description=_OWNER)


class LegName(Body):
    """A leg by its place."""

    call_id: str = Field(max_length=64, examples=["4f0c2a9b1d3e5f67"])
    leg: int = Field(ge=0, le=10_000, examples=[1])


class JoinOrder(Body):
    """Two legs that leave their calls; their far ends are joined."""

    leg1: str | LegName = Field(
        description="A SIP Call-ID, a From user, a part of a From; or call and number.",
        examples=["unique-id-1"],
    )
    leg2: str | LegName = Field(examples=["unique-id-2"])
    owner: str | None = Field(None, description=_OWNER)


class CallBegun(View):
    """What was begun; events tell how it goes on."""

    id: str = Field(description="Tandem's id of the call.", examples=["4f0c2a9b1d3e5f67"])


@router.post("", summary="Start a call", status_code=202)
async def start(body: NewCall, request: Request, caller: Caller, cases: Cases) -> CallBegun:
    """Run a dialplan as a web callback does, or ring two dial strings and join them."""
    owner, given, manager = owner_of(caller, body.owner), body.given(), cases.call_manager
    given.pop("owner", None)
    await manager.check_customer(owner)
    if given.keys() == {"dialplan", "destination"}:
        order = _order(owner, Method.WEB_CALLBACK, body.destination, request, caller)
        begin = manager.run_dialplan(owner, body.dialplan, body.destination)
    elif given.keys() == {"first", "second"}:
        order = _order(owner, "connect", f"{body.first}, {body.second}", request, caller)
        begin = manager.connect(owner, body.first, body.second)
    else:
        raise invalid("body", "give dialplan and destination, or first and second")
    return await _begun(order, begin, cases)


@router.post("/join", summary="Join two calls", status_code=202)
async def join(body: JoinOrder, request: Request, caller: Caller, cases: Cases) -> CallBegun:
    """Both legs are hung up, and their far ends talk to each other. The two calls must be on one
    application server."""
    owner = owner_of(caller, body.owner)

    async def begin() -> str:
        first, second = [await _leg(owner, leg, cases) for leg in (body.leg1, body.leg2)]
        await cases.call_manager.dual(owner, first, second)
        return (first.ref if isinstance(first, Place) else first).call_id

    order = _order(owner, Method.DUAL_TRANSFER, "", request, caller)
    return await _begun(order, begin(), cases)


@router.post("/{id}/transfer", summary="Transfer a call", status_code=202)
async def transfer(
    id: str, body: TransferOrder, request: Request, caller: Caller, cases: Cases
) -> CallBegun:
    """The new party is rung first; the leg stays until somebody answers."""
    owner, given, leg = owner_of(caller, body.owner), body.given(), LegRef(id, body.leg)
    manager = cases.call_manager
    if "dial" in given and not given.keys() & {"destination", "dialplan"}:
        order = _order(owner, "transfer", body.dial, request, caller)
        begin = manager.direct(owner, leg, body.dial)
    elif "destination" in given and "dial" not in given:
        order = _order(owner, Method.BLIND_TRANSFER, body.destination, request, caller)
        dialplan = given.get("dialplan") or TRANSFER_DIALPLAN
        begin = manager.blind(owner, leg, body.destination, dialplan)
    else:
        raise invalid("body", "give destination, or dial")
    return await _begun(order, begin, cases)


@router.delete("/{id}", summary="End a call", status_code=204)
async def hang_up(id: str, caller: Caller, cases: Cases) -> None:
    """BYE to both ends, or a refusal to the caller and CANCEL to whoever rings."""
    await cases.call_manager.hang_up(id, "" if caller.admin else caller.username)


async def _leg(owner: str, leg: str | LegName, cases: UseCases) -> Place | LegRef:
    if isinstance(leg, str):
        return await cases.call_manager.find(owner, leg)
    return LegRef(leg.call_id, leg.leg)


def _order(owner: str, order: str, destination: str, request: Request, caller: Principal) -> Order:
    return Order(
        customer=owner,
        order=order,
        destination=destination,
        source=source_of(request),
        by=caller.username,
    )


async def _begun(order: Order, begin: Awaitable[str], cases: UseCases) -> CallBegun:
    with cases.orders.told(order):
        order.call_id = await begin
    return CallBegun(id=order.call_id)
