"""What is asked of calls over gRPC: who may, what makes no sense, and what is handed on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from services.appserver.domain.legs import LegRef
from services.appserver.domain.transfers import Refusal, Refused
from services.appserver.handlers.no_transfers import NoTransfers
from tandem.rpc.channel import open_channel
from tandem.rpc.security import Security
from tandem.rpc.server import GrpcServer
from tandem.rpc.sessions import Principal
from tandem.runtime.address import HostPort
from tandem.stubs.callcontrol.v1 import callcontrol_pb2 as pb
from tandem.stubs.callcontrol.v1.callcontrol_pb2_grpc import CallControlStub
from tests.support.callcontrol import ControlledNode, call, controlled

SECURITY = Security(cluster_key="a secret of all nodes")
PATIENCE = 20.0
LEG = pb.LegRef(call_id="c1", number=1)


class Known:
    """Two customers' tokens."""

    async def verify(self, token: str) -> Principal | None:
        return {"alice": Principal("alice"), "root": Principal("root", True)}.get(token)


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ControlledNode]:
    def with_sessions(listen: HostPort, security: Security) -> GrpcServer:
        return GrpcServer(listen, security, Known())

    monkeypatch.setattr("tests.support.callcontrol.GrpcServer", with_sessions)
    async with controlled("as1", SECURITY) as node:
        node.calls.all = [
            call("c1"),
            call("c2", placed="<sip:88@x>"),
            call("theirs", placed="<sip:theirs@x>", owners=("eve",)),
        ]
        yield node


class Client:
    """Calls methods by name, as somebody."""

    def __init__(self, node: ControlledNode, token: str) -> None:
        self.channel = open_channel(str(node.server.address), SECURITY, token=token)

    async def __call__(self, method: str, **fields: Any) -> Any:
        request = getattr(pb, f"{method}Request")(**{"customer": "alice"} | fields)
        return await getattr(CallControlStub(self.channel), method)(request, timeout=PATIENCE)


@pytest.fixture(params=["alice", "root", ""], ids=["customer", "administrator", "service"])
async def client(node: ControlledNode, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """Somebody who may."""
    client = Client(node, request.param)
    yield client
    await client.channel.close()


@pytest.fixture
async def alice(node: ControlledNode) -> AsyncIterator[Client]:
    client = Client(node, "alice")
    yield client
    await client.channel.close()


async def test_what_is_asked_is_handed_on(client: Client, node: ControlledNode) -> None:
    assert (await client("RunDialplan", dialplan="d", destination=" 1 ")).call_id == "call-1"
    assert (await client("Connect", first="a", second="b")).call_id == "call-2"
    answer = await client("BlindTransfer", identifier="unique77", destination="1")
    assert (answer.call_id, answer.refused) == ("c1", pb.REFUSAL_UNSPECIFIED)
    await client("BlindTransfer", leg=LEG, destination="1", dialplan="other")
    await client("TransferCall", leg=LEG, dial="x@y[fu=1]")
    await client("DualTransfer", first=LEG, second_identifier="88")
    leg, other = LegRef("c1", 1), LegRef("c2", 1)
    assert node.transfers.asked == [
        ("run", "alice", "d", "1"),
        ("connect", "alice", "a", "b"),
        ("blind", "alice", leg, "1", "transfer"),
        ("blind", "alice", leg, "1", "other"),
        ("direct", "alice", leg, "x@y[fu=1]"),
        ("dual", "alice", leg, other),
    ]


async def test_legs_are_found_with_the_rule(client: Client) -> None:
    found = await client("FindLeg", identifier="@example.com")
    assert [(leg.leg.call_id, leg.leg.number, leg.rule) for leg in found.legs] == [
        ("c1", 0, pb.LEG_RULE_CONTAINS),
        ("c1", 1, pb.LEG_RULE_CONTAINS),
        ("c2", 0, pb.LEG_RULE_CONTAINS),
    ]


@pytest.mark.parametrize(
    "which",
    [
        {"identifier": "nothing"},
        {"identifier": "@example.com"},
        {"identifier": "theirs"},
        {"leg": pb.LegRef(call_id="theirs", number=1)},
        {"leg": pb.LegRef(call_id="gone", number=1)},
        {"leg": pb.LegRef(call_id="c1", number=2)},
        {},
    ],
)
async def test_a_leg_that_is_not_there_is_refused(
    alice: Client, node: ControlledNode, which: dict[str, Any]
) -> None:
    answer = await alice("BlindTransfer", destination="1", **which)
    assert answer.refused == pb.REFUSAL_NO_LEG
    assert answer.detail
    assert (await alice("TransferCall", dial="x", **which)).refused == pb.REFUSAL_NO_LEG
    assert node.transfers.asked == []


async def test_the_legs_of_one_call_are_not_joined(alice: Client) -> None:
    answer = await alice("DualTransfer", first_identifier="c1-a", second=LEG)
    assert answer.refused == pb.REFUSAL_NO_LEG


@pytest.mark.parametrize("refusal", Refusal)
async def test_each_refusal_has_its_value(
    alice: Client, node: ControlledNode, refusal: Refusal
) -> None:
    node.transfers.refuse = Refused(refusal, "because")
    answer = await alice("RunDialplan", dialplan="d", destination="1")
    assert answer.detail == "because"
    assert pb.Refusal.Name(answer.refused) == f"REFUSAL_{refusal.name}"


async def test_an_appserver_without_transfers_says_so(alice: Client, node: ControlledNode) -> None:
    none, leg = NoTransfers(), LegRef("c1", 1)
    for asked in (
        none.run_dialplan("alice", "d", "1"), none.connect("alice", "a", "b"),
        none.blind("alice", leg, "1", "d"), none.direct("alice", leg, "d"),
        none.dual("alice", leg, leg),
    ):  # fmt: skip
        with pytest.raises(Refused) as caught:
            await asked
        assert caught.value.refusal is Refusal.UNSUPPORTED


ALL: list[tuple[str, dict[str, Any]]] = [
    ("RunDialplan", {"dialplan": "d", "destination": "1"}),
    ("Connect", {"first": "a", "second": "b"}),
    ("FindLeg", {"identifier": "x"}),
    ("BlindTransfer", {"leg": LEG, "destination": "1"}),
    ("TransferCall", {"leg": LEG, "dial": "x"}),
    ("DualTransfer", {"first": LEG, "second": LEG}),
    ("PutSignal", {"key": "k", "body": "x", "keep": True}),
]


@pytest.mark.parametrize(("method", "fields"), ALL, ids=[method for method, _ in ALL])
async def test_nobody_asks_for_another_customer(
    alice: Client, node: ControlledNode, method: str, fields: dict[str, Any]
) -> None:
    for customer, code in [
        ("eve", grpc.StatusCode.PERMISSION_DENIED), ("", grpc.StatusCode.INVALID_ARGUMENT),
    ]:  # fmt: skip
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await alice(method, customer=customer, **fields)
        assert caught.value.code() is code
    assert node.transfers.asked == []


@pytest.mark.parametrize(
    ("method", "fields", "text"),
    [
        ("RunDialplan", {"dialplan": "", "destination": "1"}, "dialplan: 1 to 64"),
        ("RunDialplan", {"dialplan": "d", "destination": "1\r\nTo: x"}, "destination: 1 to 255"),
        ("Connect", {"first": "x" * 2001, "second": "b"}, "first: 1 to 2000"),
        ("Connect", {"first": "a", "second": "\n"}, "second: 1 to 2000"),
        ("TransferCall", {"leg": LEG, "dial": ""}, "dial: 1 to 2000"),
        ("BlindTransfer", {"leg": LEG, "destination": ""}, "destination: 1 to 255"),
        ("PutSignal", {"key": "a b", "body": ""}, "key: 1 to 128"),
        ("PutSignal", {"key": "", "body": ""}, "key: 1 to 128"),
        ("PutSignal", {"key": "k", "body": "ä" * 4097}, "body: at most 8192 bytes"),
    ],
)
async def test_what_makes_no_sense_is_told(
    alice: Client, method: str, fields: dict[str, Any], text: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await alice(method, **fields)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (caught.value.details() or "").startswith(text)


async def test_signals_are_kept_as_long_as_there_is_room(alice: Client) -> None:
    for _ in range(8):
        kept = await alice("PutSignal", key="k", body="x", keep=True)
        assert (kept.delivered, kept.kept) == (0, True)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await alice("PutSignal", key="k", body="x", keep=True)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_call_is_ended_if_it_is_the_customers(node: ControlledNode) -> None:
    client = Client(node, "")
    stub = CallControlStub(client.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.HangUp(pb.HangUpRequest(call_id="theirs", customer="alice"), timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    await stub.HangUp(pb.HangUpRequest(call_id="theirs", customer="eve"), timeout=PATIENCE)
    await stub.HangUp(pb.HangUpRequest(call_id="c1"), timeout=PATIENCE)
    assert [call.id for call in node.calls.all] == ["c2"]
    await client.channel.close()
