"""EventFeed over real gRPC: the same events, calls and rules of scope as over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import httpx
import pytest
from google.protobuf.json_format import MessageToDict

from services.events.__main__ import make_app
from tandem.bus.call_events import CallStarted, SipTrace
from tandem.bus.interest import Interest
from tandem.bus.memory import MemoryBus
from tandem.bus.ports import Envelope, Topic
from tandem.rpc.channel import open_channel
from tandem.runtime.metrics import Metrics
from tandem.stubs.eventfeed.v1 import eventfeed_pb2 as pb
from tandem.stubs.eventfeed.v1.eventfeed_pb2_grpc import EventFeedStub
from tests.support.events import TIMEOUT, Node, node, record

FILTER = "type=registration.*,call.*"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Node]:
    url = f"sqlite:///{tmp_path}/events.db"
    async with node("events-1", url, MemoryBus("events-1"), max_consoles_per_user=1) as service:
        yield service


def call_started(call_id: str, owner: str) -> CallStarted:
    return CallStarted(
        owners=(owner,), call_id=call_id, direction="out", caller="sip:a@x",
        destination="sip:b@x", source="udp:192.0.2.1:5060", sip_call_id="x@y",
    )  # fmt: skip


def trace(owner: str, number: int) -> SipTrace:
    return SipTrace(
        owners=(owner,), call_id="c1", direction="in", remote="udp:192.0.2.1:5060",
        sip_call_id="x@y", at=1.5, message=f"BYE sip:{number} SIP/2.0\r\n\r\n",
    )  # fmt: skip


async def follow(
    service: Node, user: str, request: pb.FollowRequest, count: int
) -> list[pb.FollowResponse]:
    """The first items but heartbeats."""
    got: list[pb.FollowResponse] = []
    opened = open_channel(service.grpc, service.security, token=user)
    async with asyncio.timeout(TIMEOUT), opened as channel:
        stream = EventFeedStub(channel).Follow(request)
        async for item in stream:
            if item.WhichOneof("item") != "cursor":
                got.append(item)
            if len(got) == count:
                break
        stream.cancel()
    return got


async def test_events_are_followed_from_a_cursor_and_live(service: Node) -> None:
    for number in range(3):
        service.publish("alice", number)
        service.publish("bob", number)
    await service.stored(6)
    later = asyncio.get_running_loop().call_later(0.2, service.publish, "alice", 3)
    got = await follow(service, "alice", pb.FollowRequest(cursor=0, filter=FILTER), 4)
    later.cancel()
    events = [item.event for item in got]
    assert [event.data["reason"] for event in events] == ["0", "1", "2", "3"]
    assert [event.id for event in events] == sorted(event.id for event in events)
    assert {event.owner for event in events} == {"alice"}
    assert events[0].type == "registration.removed"
    assert events[0].time > 1e9


async def test_a_gap_and_the_end_are_told(service: Node) -> None:
    asyncio.get_running_loop().call_later(0.2, service.events.close_consoles)
    gap, closed = await follow(service, "admin", pb.FollowRequest(cursor=999, filter=FILTER), 2)
    assert gap.gap.after == 999
    assert "stopping" in closed.closed


@pytest.mark.parametrize(
    ("user", "request_", "code"),
    [
        ("mallory", pb.FollowRequest(), grpc.StatusCode.UNAUTHENTICATED),
        ("alice", pb.FollowRequest(filter="colour=red"), grpc.StatusCode.INVALID_ARGUMENT),
        ("alice", pb.FollowRequest(cursor=-1), grpc.StatusCode.INVALID_ARGUMENT),
        ("alice", pb.FollowRequest(filter="owner=bob"), grpc.StatusCode.PERMISSION_DENIED),
        ("alice", pb.FollowRequest(traces=True, trace_customer="bob"),
         grpc.StatusCode.PERMISSION_DENIED),
    ],
)  # fmt: skip
async def test_what_may_not_be_followed_is_refused(
    service: Node, user: str, request_: pb.FollowRequest, code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await follow(service, user, request_, 1)
    assert caught.value.code() is code


async def test_streams_are_limited_per_user(service: Node) -> None:
    async with open_channel(service.grpc, service.security, token="alice") as channel:
        stub = EventFeedStub(channel)
        first = stub.Follow(pb.FollowRequest())
        await first.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Follow(pb.FollowRequest()).read()
        first.cancel()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_calls_are_listed_and_shown_to_their_owners(service: Node) -> None:
    service.bus.publish(Topic.EVENTS, call_started("c1", "alice"))
    service.bus.publish(Topic.EVENTS, call_started("c2", "bob"))
    service.bus.publish(Topic.EVENTS, record("c3"))
    service.bus.publish(Topic.EVENTS, trace("alice", 1))

    async def ask(user: str, call_id: str) -> pb.GetCallResponse:
        async with open_channel(service.grpc, service.security, token=user) as channel:
            request = pb.GetCallRequest(call_id=call_id)
            answer: pb.GetCallResponse = await EventFeedStub(channel).GetCall(
                request, timeout=TIMEOUT
            )
            return answer

    await service.stored(5)  # with that of the node's own start
    for user, expected in (("alice", ["c1"]), ("admin", ["c2", "c1"])):
        async with open_channel(service.grpc, service.security, token=user) as channel:
            answer = await EventFeedStub(channel).ListCalls(pb.ListCallsRequest(), timeout=TIMEOUT)
        assert sorted(call["id"] for call in answer.calls) == sorted(expected)
    shown = await ask("alice", "c1")
    assert MessageToDict(shown.call)["state"] == "started"
    assert [event.type for event in shown.events] == ["call.started", "sip.trace"]
    ended = await ask("alice", "c3")
    assert MessageToDict(ended.call)["record"]["end_reason"] == "caller hung up"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask("alice", "c2")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_traces_come_only_to_those_who_ask(service: Node) -> None:
    heard: list[Interest] = []

    async def hear(batch: Sequence[Envelope]) -> None:
        heard.extend(envelope.payload for envelope in batch)

    service.bus.subscribe(Topic.INTEREST, hear, name="hear")
    for number in range(2):
        service.bus.publish(Topic.EVENTS, trace("alice", number))
        service.bus.publish(Topic.EVENTS, trace("bob", number))
    service.publish("alice", 7)
    for user, request, types in (
        ("alice", pb.FollowRequest(cursor=0), ["registration.removed"]),
        ("alice", pb.FollowRequest(cursor=0, traces=True), ["sip.trace"] * 2),
        ("alice", pb.FollowRequest(cursor=0, filter="type=sip.trace"), ["sip.trace"] * 2),
        ("admin", pb.FollowRequest(cursor=0, traces=True, trace_customer="*",
                                   filter="type=*.trace,reg*"),
         ["sip.trace"] * 4 + ["registration.removed"]),
        ("admin", pb.FollowRequest(cursor=0, traces=True, trace_customer="bob",
                                   filter="type=*.trace,reg*"),
         ["sip.trace"] * 2 + ["registration.removed"]),
    ):  # fmt: skip
        got = await follow(service, user, request, len(types))
        assert [item.event.type for item in got] == types
    assert [interest.customer for interest in heard] == ["alice", "*", "bob"]


async def test_a_page_of_a_foreign_origin_may_read_with_a_token(service: Node) -> None:
    app = make_app(service.events, Metrics(), ("https://console.example.com",))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://events") as client:
        asked = {
            "Origin": "https://console.example.com",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        }
        allowed = await client.options("/api/v1/calls", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == "https://console.example.com"
        assert "access-control-allow-credentials" not in allowed.headers
        refused = await client.options("/api/v1/calls", headers={**asked, "Origin": "https://x"})
        assert "access-control-allow-origin" not in refused.headers
        headers = {"Origin": "https://console.example.com", "Authorization": "Bearer nobody"}
        unknown = await client.get("/api/v1/calls", headers=headers)
        assert unknown.status_code == 401
        assert unknown.headers["access-control-allow-origin"] == "https://console.example.com"
