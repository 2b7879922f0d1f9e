"""An appserver as the call manager sees it: CallControl over gRPC, with calls made up by the test,
transfers that are only noted, and the real signals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from services.appserver.domain.call import Call, CallState
from services.appserver.domain.leg import Leg
from services.appserver.domain.legs import LegRef
from services.appserver.domain.transfers import Refused
from services.appserver.entrypoints.grpc_callcontrol import SERVICE, GrpcCallControl
from services.appserver.handlers.signals import Signals
from tandem.bus.nodes import NodeAnnounced, NodeState
from tandem.rpc.security import Security
from tandem.rpc.server import GrpcServer
from tandem.runtime.address import HostPort
from tandem.sip.deadlines import Deadlines
from tandem.sip.dialog import Dialog, DialogState
from tandem.stubs.callcontrol.v1.callcontrol_pb2_grpc import add_CallControlServicer_to_server

FAR = "<sip:far@elsewhere.example>;tag=theirs"


def leg(number: int, call_id: str, local: str) -> Leg:
    """A leg that we placed, unless it is that of the caller, number 0."""
    dialog = Dialog(
        call_id=call_id,
        local_tag="ours",
        remote_tag="theirs",
        local=local,
        remote=FAR,
        remote_target="sip:far@203.0.113.7",
        route_set=(),
        local_seq=1,
        remote_seq=None,
        state=DialogState.CONFIRMED,
        uas=number == 0,
    )
    return Leg(dialog, number, "proxy", False, True, "", "udp:203.0.113.7:5060")


def call(
    name: str = "c1",
    caller: str = "<sip:232@example.com>;tag=ours",
    placed: str = '"Alice" <sip:unique77@example.com>;tag=ours',
    owners: tuple[str, ...] = ("alice",),
    state: CallState = CallState.UP,
) -> Call:
    """An answered call: the caller dialled `caller`, and `placed` is the From of the leg that we
    placed. Their Call-IDs are the name with `-a` and `-b`."""
    made = Call(
        id=name,
        direction="out",
        owners=owners,
        caller="sip:alice@example.com",
        caller_name="",
        destination="sip:232@example.com",
        source="udp:203.0.113.7:5060",
        sip_call_id=f"{name}-a",
        created_at=0.0,
        state=state,
    )
    made.a, made.b = leg(0, f"{name}-a", caller), leg(1, f"{name}-b", placed)
    return made


@dataclass
class FakeTransfers:
    """Implements `ports.Transfers`: notes what is asked, or refuses with `refuse`."""

    asked: list[tuple[Any, ...]] = field(default_factory=list)
    refuse: Refused | None = None
    hangs: bool = False

    async def _note(self, *what: Any) -> str:
        if self.hangs:
            await asyncio.Event().wait()
        if self.refuse is not None:
            raise self.refuse
        self.asked.append(what)
        return f"call-{len(self.asked)}"

    async def run_dialplan(self, customer: str, dialplan: str, destination: str) -> str:
        return await self._note("run", customer, dialplan, destination)

    async def connect(self, customer: str, first: str, second: str) -> str:
        return await self._note("connect", customer, first, second)

    async def blind(self, customer: str, leg: LegRef, destination: str, dialplan: str) -> str:
        await self._note("blind", customer, leg, destination, dialplan)
        return leg.call_id

    async def direct(self, customer: str, leg: LegRef, dial: str) -> str:
        await self._note("direct", customer, leg, dial)
        return leg.call_id

    async def dual(self, customer: str, first: LegRef, second: LegRef) -> None:
        await self._note("dual", customer, first, second)


class MadeUpCalls:
    """As much of `ports.Calls` as CallControl asks of it."""

    def __init__(self, calls: Sequence[Call] = ()) -> None:
        self.all = list(calls)

    def live(self) -> list[Call]:
        return self.all

    def find(self, call_id: str) -> Call | None:
        return next((call for call in self.all if call.id == call_id), None)

    def waiting(self, call_id: str) -> bool:
        return False

    def hang_up(self, call_id: str, reason: str) -> bool:
        before = len(self.all)
        self.all = [call for call in self.all if call.id != call_id]
        return len(self.all) < before


class ControlledNode:
    """One appserver."""

    def __init__(self, name: str, security: Security) -> None:
        self.name = name
        self.calls = MadeUpCalls()
        self.transfers = FakeTransfers()
        self.now = 0.0
        self.deadlines = Deadlines()
        self.signals = Signals(self.deadlines, lambda: self.now, lambda: None)
        self.server = GrpcServer(HostPort("127.0.0.1", 0), security)
        servicer = GrpcCallControl(
            cast(Any, None),
            cast(Any, self.calls),
            self.calls.hang_up,
            self.transfers,
            self.signals,
        )
        self.server.add(add_CallControlServicer_to_server, servicer, SERVICE)

    def said(self, state: NodeState = NodeState.ACTIVE, calls: int = 0) -> NodeAnnounced:
        """What it announces."""
        return NodeAnnounced(
            node=self.name,
            kind="appserver",
            incarnation=1,
            version="1",
            state=state,
            grpc=str(self.server.address),
            calls=calls,
        )


@asynccontextmanager
async def controlled(name: str, security: Security) -> AsyncIterator[ControlledNode]:
    """An appserver between start and stop."""
    node = ControlledNode(name, security)
    await node.server.start()
    try:
        yield node
    finally:
        await node.server.stop()
