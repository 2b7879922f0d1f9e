"""The calls of this appserver over gRPC: `tandem.callcontrol.v1.CallControl`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Final

import grpc

from services.appserver.domain.call import Call, CallState
from services.appserver.domain.callbacks import (
    DEFAULT_SECONDS,
    Callback,
    CallbackError,
    Failed,
    InvalidCallback,
    Matched,
    NoSuchCall,
    NotWaitable,
    NotYours,
    Step,
    TooManyWaits,
    Trigger,
    Triggered,
    Unavailable,
    Waiting,
)
from services.appserver.entrypoints.grpc_transfers import TransferMethods
from services.appserver.handlers.callbacks import Callbacks
from services.appserver.ports import Calls, Signals, Transfers
from tandem.rpc.caller import Context, require_principal
from tandem.rpc.messages import hints_out
from tandem.stubs.callcontrol.v1 import callcontrol_pb2 as pb
from tandem.stubs.callcontrol.v1.callcontrol_pb2_grpc import CallControlServicer

SERVICE: Final = "tandem.callcontrol.v1.CallControl"
HUNG_UP: Final = "hung up by an operator"
"""The end reason of a call that is ended here."""
Code = grpc.StatusCode

_CODES: Final[dict[type[CallbackError], grpc.StatusCode]] = {
    InvalidCallback: Code.INVALID_ARGUMENT,
    NoSuchCall: Code.NOT_FOUND,
    NotYours: Code.PERMISSION_DENIED,
    NotWaitable: Code.FAILED_PRECONDITION,
    TooManyWaits: Code.RESOURCE_EXHAUSTED,
    Unavailable: Code.UNAVAILABLE,
}


class GrpcCallControl(TransferMethods, CallControlServicer):
    """For services and administrators; a customer has his own calls. `hang_up(call_id, reason)`
    says whether there was such a call."""

    def __init__(
        self,
        callbacks: Callbacks,
        calls: Calls,
        hang_up: Callable[[str, str], bool],
        transfers: Transfers,
        signals: Signals,
    ) -> None:
        super().__init__(calls, transfers, signals)
        self._callbacks = callbacks
        self._hang_up = hang_up

    async def StartCallback(self, request: pb.StartCallbackRequest, context: Context) -> None:
        """Have a provider call back, and tell what happens."""
        who = await require_principal(context)
        if not who.may_see((request.customer,)):
            await context.abort(Code.PERMISSION_DENIED, "customer: not you")
        try:
            async with aclosing(self._callbacks.run(_wanted(request))) as steps:
                async for step in steps:
                    await context.write(_step(step))
        except CallbackError as fault:
            await context.abort(_CODES[type(fault)], str(fault))

    async def ListHints(
        self, _request: pb.ListHintsRequest, context: Context
    ) -> pb.ListHintsResponse:
        """The hints that hold."""
        who = await require_principal(context)
        hints = [h for h in self._callbacks.hints.live() if who.may_see((h.customer,))]
        return pb.ListHintsResponse(hints=hints_out(hints))

    async def ListCalls(
        self, _request: pb.ListCallsRequest, context: Context
    ) -> pb.ListCallsResponse:
        """The calls under way."""
        who = await require_principal(context)
        calls = sorted(self._calls.live(), key=lambda call: call.created_at)
        shown = [self._call(call) for call in calls if who.may_see(call.owners)]
        return pb.ListCallsResponse(calls=shown)

    async def HangUp(self, request: pb.HangUpRequest, context: Context) -> pb.HangUpResponse:
        """End a call."""
        who = await require_principal(context)
        call = self._calls.find(request.call_id)
        if call is not None and request.customer and request.customer not in call.owners:
            call = None
        if call is not None and not who.may_see(call.owners):
            await context.abort(Code.PERMISSION_DENIED, "call_id: another customer's call")
        if call is None or not self._hang_up(call.id, HUNG_UP):
            await context.abort(Code.NOT_FOUND, "call_id: this node has no such call")
        return pb.HangUpResponse()

    def _call(self, call: Call) -> pb.Call:
        return pb.Call(
            call_id=call.id,
            owners=call.owners,
            caller=call.caller,
            destination=call.destination,
            state=self._state(call),
            started_at=call.created_at,
        )

    def _state(self, call: Call) -> str:
        if self._calls.waiting(call.id):
            return "waiting"
        if call.state is CallState.UP:
            return "answered"
        return "started" if call.progress_at is None else "ringing"


def _wanted(request: pb.StartCallbackRequest) -> Callback:
    trigger = None
    if request.HasField("trigger"):
        asked = request.trigger
        trigger = Trigger(
            url=asked.url,
            method=asked.method,
            headers=tuple((field.name, field.value) for field in asked.headers),
            body=asked.body,
            form=tuple((field.name, field.value) for field in asked.form),
        )
    return Callback(
        customer=request.customer,
        call_id=request.call_id,
        account=request.account,
        trigger=trigger,
        users=tuple(request.users),
        pattern=request.pattern,
        seconds=request.timeout_seconds or DEFAULT_SECONDS,
    )


def _step(step: Step) -> pb.StartCallbackResponse:
    match step:
        case Waiting():
            waiting = pb.Waiting(
                call_id=step.call_id,
                hint=step.hint,
                proxies=step.proxies,
                silent_proxies=step.silent,
                acknowledged_ms=step.acknowledged_ms,
            )
            return pb.StartCallbackResponse(waiting=waiting)
        case Triggered():
            return pb.StartCallbackResponse(triggered=pb.Triggered(status=step.status))
        case Matched():
            matched = pb.Matched(caller=step.caller, waited=step.waited)
            return pb.StartCallbackResponse(matched=matched)
        case Failed():
            return pb.StartCallbackResponse(failed=pb.Failed(reason=step.reason))
