"""What is asked of calls from outside of SIP, over gRPC: the part of `CallControl` that runs
dialplans, finds and transfers legs, and hands over signals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc

from services.appserver.domain import legs
from services.appserver.domain.legs import LegRef, LegRule
from services.appserver.domain.signals import Full
from services.appserver.domain.transfers import TRANSFER_DIALPLAN, Refusal, Refused
from services.appserver.ports import Calls, Signals, Transfers
from tandem.rpc.callcontrol import (
    MAX_DESTINATION,
    MAX_DIAL,
    MAX_DIALPLAN,
    MAX_IDENTIFIER,
    MAX_SIGNAL_BYTES,
    destination,
    signal_key,
)
from tandem.rpc.caller import Context, require_principal
from tandem.stubs.callcontrol.v1 import callcontrol_pb2 as pb

Code = grpc.StatusCode

_REFUSALS: Final = {
    Refusal.NO_LEG: pb.REFUSAL_NO_LEG,
    Refusal.NO_DIALPLAN: pb.REFUSAL_NO_DIALPLAN,
    Refusal.TOO_MANY_RUNS: pb.REFUSAL_TOO_MANY_RUNS,
    Refusal.TOO_MANY_CALLS: pb.REFUSAL_TOO_MANY_CALLS,
    Refusal.BAD_DESTINATION: pb.REFUSAL_BAD_DESTINATION,
    Refusal.NOT_NOW: pb.REFUSAL_NOT_NOW,
    Refusal.OVERLOADED: pb.REFUSAL_OVERLOADED,
    Refusal.UNSUPPORTED: pb.REFUSAL_UNSUPPORTED,
}
_RULES: Final = {
    LegRule.CALL_ID: pb.LEG_RULE_CALL_ID,
    LegRule.FROM_USER: pb.LEG_RULE_FROM_USER,
    LegRule.CONTAINS: pb.LEG_RULE_CONTAINS,
}


class TransferMethods:
    """For services, administrators, and the customer himself."""

    def __init__(self, calls: Calls, transfers: Transfers, signals: Signals) -> None:
        self._calls = calls
        self._transfers = transfers
        self._signals = signals

    async def RunDialplan(
        self, request: pb.RunDialplanRequest, context: Context
    ) -> pb.RunDialplanResponse:
        """Run a dialplan for a call without a caller."""
        await _permit(request.customer, context)
        name = await _checked("dialplan", request.dialplan, MAX_DIALPLAN, context)
        number = await _checked("destination", request.destination, MAX_DESTINATION, context)
        run = self._transfers.run_dialplan
        return pb.RunDialplanResponse(**await _begun(lambda: run(request.customer, name, number)))

    async def Connect(self, request: pb.ConnectRequest, context: Context) -> pb.ConnectResponse:
        """Ring two dial strings and join them."""
        await _permit(request.customer, context)
        first = await _checked("first", request.first, MAX_DIAL, context)
        second = await _checked("second", request.second, MAX_DIAL, context)
        connect = self._transfers.connect
        return pb.ConnectResponse(**await _begun(lambda: connect(request.customer, first, second)))

    async def FindLeg(self, request: pb.FindLegRequest, context: Context) -> pb.FindLegResponse:
        """The legs that an identifier names."""
        await _permit(request.customer, context)
        found = self._find(request.customer, request.identifier)
        rule = _RULES[found.rule] if found.rule else pb.LEG_RULE_UNSPECIFIED
        return pb.FindLegResponse(
            legs=[pb.FoundLeg(leg=_ref_out(leg), rule=rule) for leg in found.legs]
        )

    async def BlindTransfer(
        self, request: pb.BlindTransferRequest, context: Context
    ) -> pb.BlindTransferResponse:
        """Transfer a leg's far end by a dialplan."""
        await _permit(request.customer, context)
        number = await _checked("destination", request.destination, MAX_DESTINATION, context)
        dialplan = request.dialplan or TRANSFER_DIALPLAN
        name = await _checked("dialplan", dialplan, MAX_DIALPLAN, context)

        async def begin() -> str:
            leg = self._leg(request.customer, request.identifier, request.leg)
            return await self._transfers.blind(request.customer, leg, number, name)

        return pb.BlindTransferResponse(**await _begun(begin))

    async def TransferCall(
        self, request: pb.TransferCallRequest, context: Context
    ) -> pb.TransferCallResponse:
        """Transfer a leg's far end to a dial string."""
        await _permit(request.customer, context)
        dial = await _checked("dial", request.dial, MAX_DIAL, context)

        async def begin() -> str:
            leg = self._leg(request.customer, request.identifier, request.leg)
            return await self._transfers.direct(request.customer, leg, dial)

        return pb.TransferCallResponse(**await _begun(begin))

    async def DualTransfer(
        self, request: pb.DualTransferRequest, context: Context
    ) -> pb.DualTransferResponse:
        """Join the far ends of two legs."""
        await _permit(request.customer, context)

        async def begin() -> str:
            customer = request.customer
            first = self._leg(customer, request.first_identifier, request.first)
            second = self._leg(customer, request.second_identifier, request.second)
            if first.call_id == second.call_id:
                raise Refused(Refusal.NO_LEG, "both are legs of the same call")
            await self._transfers.dual(customer, first, second)
            return first.call_id

        begun = await _begun(begin)
        begun.pop("call_id", None)
        return pb.DualTransferResponse(**begun)

    async def PutSignal(
        self, request: pb.PutSignalRequest, context: Context
    ) -> pb.PutSignalResponse:
        """Hand a signal over, or keep it."""
        await _permit(request.customer, context)
        try:
            key = signal_key(request.key)
        except ValueError as fault:
            await context.abort(Code.INVALID_ARGUMENT, f"key: {fault}")
        if len(request.body.encode()) > MAX_SIGNAL_BYTES:
            await context.abort(Code.INVALID_ARGUMENT, f"body: at most {MAX_SIGNAL_BYTES} bytes")
        try:
            delivered, kept = self._signals.put(
                request.customer, key, request.body, keep=request.keep
            )
        except Full as fault:
            await context.abort(Code.RESOURCE_EXHAUSTED, str(fault))
        return pb.PutSignalResponse(delivered=delivered, kept=kept)

    def _leg(self, customer: str, identifier: str, leg: pb.LegRef) -> LegRef:
        """The one leg that is meant. Raises Refused."""
        if identifier:
            found = self._find(customer, identifier).only
            if found is None:
                raise Refused(Refusal.NO_LEG, "that names no leg, or more than one")
            return found
        call = self._calls.find(leg.call_id)
        if call is None or customer not in call.owners:
            raise Refused(Refusal.NO_LEG, "this node has no such call of this customer")
        if leg.number not in [one.number for one in legs.legs_of(call)]:
            raise Refused(Refusal.NO_LEG, "the call has no such leg that is answered")
        return LegRef(leg.call_id, leg.number)

    def _find(self, customer: str, identifier: str) -> legs.Found:
        return legs.find(identifier[: MAX_IDENTIFIER + 1], customer, self._calls.live())


async def _permit(customer: str, context: Context) -> None:
    who = await require_principal(context)
    if not customer:
        await context.abort(Code.INVALID_ARGUMENT, "customer: name one")
    if not who.may_see((customer,)):
        await context.abort(Code.PERMISSION_DENIED, "customer: not you")


async def _checked(field: str, text: str, most: int, context: Context) -> str:
    try:
        return destination(text, most)
    except ValueError as fault:
        await context.abort(Code.INVALID_ARGUMENT, f"{field}: {fault}")
        raise  # never: abort has raised


async def _begun(begin: Callable[[], Awaitable[str]]) -> dict[str, Any]:
    """The fields of an answer: the call's id, or why there is none."""
    try:
        return {"call_id": await begin()}
    except Refused as fault:
        return {"refused": _REFUSALS[fault.refusal], "detail": fault.detail}


def _ref_out(leg: LegRef) -> pb.LegRef:
    return pb.LegRef(call_id=leg.call_id, number=leg.number)
