"""What is asked of calls on the appservers, by gRPC: implements `ports.CallControl`."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Final

import grpc

from services.provisioning.adapters.appservers_grpc import (
    ANSWER_SECONDS,
    RemoteAppservers,
    asked,
)
from services.provisioning.domain.callmanager import (
    CallRefused,
    FoundLeg,
    LegRef,
    LegRule,
    Refusal,
)
from services.provisioning.domain.errors import Conflict
from tandem.stubs.callcontrol.v1 import callcontrol_pb2 as pb

Code = grpc.StatusCode
START_SECONDS: Final = 8.0
"""How long an appserver may take to begin something: it may have to fetch a dialplan first."""

_REFUSALS: Final = {
    pb.REFUSAL_NO_LEG: Refusal.NO_LEG,
    pb.REFUSAL_NO_DIALPLAN: Refusal.NO_DIALPLAN,
    pb.REFUSAL_TOO_MANY_RUNS: Refusal.TOO_MANY_RUNS,
    pb.REFUSAL_TOO_MANY_CALLS: Refusal.TOO_MANY_CALLS,
    pb.REFUSAL_BAD_DESTINATION: Refusal.BAD_DESTINATION,
    pb.REFUSAL_NOT_NOW: Refusal.NOT_NOW,
    pb.REFUSAL_OVERLOADED: Refusal.OVERLOADED,
    pb.REFUSAL_UNSUPPORTED: Refusal.UNSUPPORTED,
}


class RemoteCallControl:
    """Asks over the channels that `appservers` keeps."""

    def __init__(self, appservers: RemoteAppservers) -> None:
        self._appservers = appservers

    async def run_dialplan(
        self, address: str, customer: str, dialplan: str, destination: str
    ) -> str:
        """Run a dialplan: see the port."""
        stub = await self._appservers.stub(address)
        request = pb.RunDialplanRequest(
            customer=customer, dialplan=dialplan, destination=destination
        )
        return await _begun(address, stub.RunDialplan(request, timeout=START_SECONDS))

    async def connect(self, address: str, customer: str, first: str, second: str) -> str:
        """Ring two dial strings: see the port."""
        stub = await self._appservers.stub(address)
        request = pb.ConnectRequest(customer=customer, first=first, second=second)
        return await _begun(address, stub.Connect(request, timeout=START_SECONDS))

    async def find_leg(self, address: str, customer: str, identifier: str) -> Sequence[FoundLeg]:
        """The legs that an identifier names. Raises AppserverSilent."""
        stub = await self._appservers.stub(address)
        request = pb.FindLegRequest(customer=customer, identifier=identifier)
        answer = await asked(address, stub.FindLeg(request, timeout=ANSWER_SECONDS))
        known = frozenset(LegRule)
        return [
            FoundLeg(LegRef(found.leg.call_id, found.leg.number), LegRule(found.rule))
            for found in answer.legs
            if found.rule in known  # one by a rule of a later version is none that we know
        ]

    async def blind(
        self, address: str, customer: str, leg: LegRef, destination: str, dialplan: str
    ) -> str:
        """Transfer by a dialplan: see the port."""
        stub = await self._appservers.stub(address)
        request = pb.BlindTransferRequest(
            customer=customer, leg=_ref(leg), destination=destination, dialplan=dialplan
        )
        return await _begun(address, stub.BlindTransfer(request, timeout=START_SECONDS))

    async def direct(self, address: str, customer: str, leg: LegRef, dial: str) -> str:
        """Transfer to a dial string: see the port."""
        stub = await self._appservers.stub(address)
        request = pb.TransferCallRequest(customer=customer, leg=_ref(leg), dial=dial)
        return await _begun(address, stub.TransferCall(request, timeout=START_SECONDS))

    async def dual(self, address: str, customer: str, first: LegRef, second: LegRef) -> None:
        """Join the far ends of two legs: see the port."""
        stub = await self._appservers.stub(address)
        request = pb.DualTransferRequest(customer=customer, first=_ref(first), second=_ref(second))
        await _begun(address, stub.DualTransfer(request, timeout=START_SECONDS))

    async def hang_up_of(self, address: str, call_id: str, customer: str) -> bool:
        """End a call of this customer: see the port."""
        stub = await self._appservers.stub(address)
        request = pb.HangUpRequest(call_id=call_id, customer=customer)
        try:
            await asked(address, stub.HangUp(request, timeout=ANSWER_SECONDS))
        except LookupError:
            return False
        return True

    async def put_signal(
        self, address: str, customer: str, key: str, body: str, *, keep: bool
    ) -> tuple[int, bool]:
        """Hand a signal over: see the port."""
        stub = await self._appservers.stub(address)
        request = pb.PutSignalRequest(customer=customer, key=key, body=body, keep=keep)
        answer = await asked(
            address,
            stub.PutSignal(request, timeout=ANSWER_SECONDS),
            {Code.RESOURCE_EXHAUSTED: Conflict},
        )
        return answer.delivered, answer.kept


async def _begun(address: str, call: Awaitable[Any]) -> str:
    """The call's id of an answer, "" if it has none. Raises AppserverSilent and CallRefused."""
    try:
        answer = await asked(address, call, {Code.INVALID_ARGUMENT: ValueError})
    except ValueError as fault:
        raise CallRefused(Refusal.BAD_DESTINATION, str(fault)) from None
    if answer.refused != pb.REFUSAL_UNSPECIFIED:
        # a reason of a later version is told by its text
        raise CallRefused(_REFUSALS.get(answer.refused, Refusal.NOT_NOW), answer.detail)
    return str(getattr(answer, "call_id", ""))


def _ref(leg: LegRef) -> pb.LegRef:
    return pb.LegRef(call_id=leg.call_id, number=leg.number)
