"""What runs on the appservers, by gRPC: implements `ports.Appservers`."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeVar

import grpc

from services.provisioning.ports import AppserverSilent, AppserverUnreachable
from tandem.bus.hints import Hint
from tandem.rpc.channel import open_channel
from tandem.rpc.messages import hints_in
from tandem.rpc.security import Security
from tandem.stubs.callcontrol.v1 import callcontrol_pb2 as pb
from tandem.stubs.callcontrol.v1.callcontrol_pb2_grpc import CallControlStub

ANSWER_SECONDS: Final = 2.0
"""How long an appserver may take."""
MAX_CHANNELS: Final = 100
"""Open channels; appservers come and go with new addresses, so the oldest gives way."""

_log = logging.getLogger(__name__)
T = TypeVar("T")


class RemoteAppservers:
    """Asks each by a channel of its own, which stays open."""

    def __init__(self, security: Security) -> None:
        self._security = security
        self._channels: OrderedDict[str, grpc.aio.Channel] = OrderedDict()

    async def hints(self, address: str) -> Sequence[Hint]:
        """The hints that it has published. Raises AppserverSilent."""
        stub = await self.stub(address)
        answer = await asked(address, stub.ListHints(pb.ListHintsRequest(), timeout=ANSWER_SECONDS))
        return hints_in(answer.hints)

    async def hang_up(self, address: str, call_id: str) -> bool:
        """End a call; False when it does not have it. Raises AppserverSilent."""
        stub = await self.stub(address)
        request = pb.HangUpRequest(call_id=call_id)
        try:
            await asked(address, stub.HangUp(request, timeout=ANSWER_SECONDS))
        except LookupError:
            return False
        return True

    async def close(self) -> None:
        """Close all channels."""
        while self._channels:
            _, channel = self._channels.popitem()
            await channel.close()

    async def stub(self, address: str) -> CallControlStub:
        """What to ask this appserver by. Raises AppserverSilent."""
        channel = self._channels.get(address)
        if channel is None:
            try:
                channel = open_channel(address, self._security)
            except ValueError as fault:
                raise AppserverSilent(str(fault)) from None
            self._channels[address] = channel
        self._channels.move_to_end(address)
        if len(self._channels) > MAX_CHANNELS:
            _, oldest = self._channels.popitem(last=False)
            await oldest.close(ANSWER_SECONDS)
        return CallControlStub(channel)


async def asked(
    address: str,
    call: Awaitable[T],
    told: Mapping[grpc.StatusCode, type[Exception]] = MappingProxyType({}),
) -> T:
    """The answer. Raises LookupError for NOT_FOUND, what is `told` with the text for other codes,
    and AppserverSilent for the rest."""
    try:
        return await call
    except grpc.aio.AioRpcError as fault:
        if fault.code() is grpc.StatusCode.NOT_FOUND:
            raise LookupError from None
        if fault.code() in told:
            raise told[fault.code()](fault.details()) from None
        _log.warning("appserver %s: %s %s", address, fault.code().name, fault.details())
        if fault.code() is grpc.StatusCode.UNAVAILABLE:
            raise AppserverUnreachable(address) from fault
        raise AppserverSilent(address) from fault
