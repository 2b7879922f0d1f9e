"""Callbacks through the real switch: a caller waits, a provider is asked over HTTP, its call comes
over SIP, and the two talk."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from tandem.rpc.channel import open_channel
from tandem.rpc.security import Security
from tandem.stubs.callcontrol.v1 import callcontrol_pb2 as pb
from tandem.stubs.callcontrol.v1.callcontrol_pb2_grpc import CallControlStub
from tests.support.following import Following
from tests.support.provider import Provider
from tests.support.switch import DOMAIN, Switch
from tests.support.udpagent import UdpAgent, UdpCall
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "secret1"
MANY = 50
SECURITY = Security(None, None, None, "of no use to anybody")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def switch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Switch]:
    """One whose providers may be on loopback."""
    switch = Switch(tmp_path_factory.mktemp("callbacks") / "data")
    try:
        await switch.start(("--sip", "127.0.0.1:0"), {"TANDEM_TRIGGER_PRIVATE": "1"})
        yield switch
    finally:
        await switch.stop()


class Stage:
    """An account with a phone, somebody who calls it, and a provider."""

    def __init__(self, switch: Switch, provider: Provider, control: CallControlStub) -> None:
        self.switch = switch
        self.provider = provider
        self.control = control
        self.agents: list[UdpAgent] = []
        self.user = f"u{secrets.token_hex(4)}"

    @property
    def uri(self) -> str:
        return f"sip:{self.user}@{DOMAIN}"

    @property
    def target(self) -> str:
        return self.switch.address("udp")

    async def agent(self, name: str) -> UdpAgent:
        agent = await UdpAgent.open(name)
        self.agents.append(agent)
        return agent

    async def phone(self) -> UdpAgent:
        """The phone of the account; it rings until a test says more."""
        await self.switch.api.add_account(self.user, PASSWORD)
        phone = await self.agent(self.user)
        await phone.register(self.target, self.user, PASSWORD, DOMAIN)
        return phone

    async def call(self, agent: UdpAgent, number: str = "", **more: Any) -> tuple[UdpCall, str]:
        """Call the account; once it rings, the call and its id at Tandem."""
        number = number or f"5{secrets.randbelow(10**9)}"
        call = agent.invite(self.target, self.uri, user=number, **more)
        await call.until(call.ringing)

        async def look() -> str:
            listed = await self.control.ListCalls(pb.ListCallsRequest(), timeout=10)
            mine = [c.call_id for c in listed.calls if c.caller.startswith(f"sip:{number}@")]
            return mine[0] if mine else ""

        return call, await eventually(look, "the call to be listed")

    def follow(self, number: str, late: bool = False, **request: Any) -> Following:
        """Have the provider call back from this number."""
        form = [("to", self.uri), ("from", number), *((("late", "1"),) if late else ())]
        trigger = pb.Trigger(
            url=self.provider.url + "?key=topsecret",
            form=[pb.Field(name=name, value=value) for name, value in form],
        )
        wanted = {"customer": "admin", "trigger": trigger, "pattern": number, **request}
        return Following(self.control.StartCallback(pb.StartCallbackRequest(**wanted), timeout=60))


@pytest_asyncio.fixture(loop_scope="module")
async def stage(switch: Switch) -> AsyncIterator[Stage]:
    """A stage for one test. Nothing may be left in the switch after it."""
    provider = await Provider.open(lambda: switch.address("udp"))
    token = switch.api.client.headers["Authorization"].partition(" ")[2]
    channel = open_channel(switch.grpc, SECURITY, token=token)
    stage = Stage(switch, provider, CallControlStub(channel))

    async def look() -> bool:
        listed = await stage.control.ListCalls(pb.ListCallsRequest(), timeout=10)
        hints = await stage.control.ListHints(pb.ListHintsRequest(), timeout=10)
        return not listed.calls and not hints.hints

    try:
        yield stage
        await eventually(look, "all calls and hints to be over")
    finally:
        await channel.close()
        await provider.close()
        for agent in stage.agents:
            agent.close()


async def _talk(one: UdpCall, two: UdpCall) -> None:
    await one.until(one.answered)
    await two.until(two.answered)
    assert (one.heard, two.heard) == (two.offer, one.offer)


@pytest.mark.parametrize("who", ["caller", "provider"])
async def test_a_caller_who_waits_is_called_back_and_either_end_may_hang_up(
    stage: Stage, who: str
) -> None:
    phone = await stage.phone()
    caller = await stage.agent("caller")
    mark = await stage.switch.api.mark()
    call, call_id = await stage.call(caller)
    following = stage.follow("15551234", call_id=call_id)
    matched = (await following.end()).matched
    assert following.kinds in (["waiting", "triggered", "matched"], ["waiting", "matched"])
    assert matched.caller.startswith("sip:15551234@")
    assert following.steps[0].waiting.call_id == call_id
    (callback,) = stage.provider.calls
    await _talk(call, callback)
    (rung,) = phone.calls
    await rung.until(rung.over)
    asked = stage.provider.asked[0]
    assert asked.method == "POST"
    assert asked.fields["key"] == "topsecret"
    first, second = (call, callback) if who == "caller" else (callback, call)
    first.request("INVITE", first.offer)
    await second.until(second.reinvited)
    await first.hang_up()
    await second.until(second.over)
    record = await stage.switch.api.record_after(mark)
    assert record["answered_by"].startswith("sip:15551234@")
    assert record["status"] == 200
    assert "topsecret" not in stage.switch.errors.read_text()


@pytest.mark.parametrize("late", ["caller", "provider"])
async def test_an_end_without_an_offer_gives_its_answer_in_the_ack(stage: Stage, late: str) -> None:
    await stage.phone()
    caller = await stage.agent("caller")
    call, call_id = await stage.call(caller, late=late == "caller")
    following = stage.follow("15551234", call_id=call_id, late=late == "provider")
    assert (await following.end()).matched.caller
    (callback,) = stage.provider.calls
    await _talk(call, callback)
    await call.hang_up()


async def test_a_phone_that_is_rung_first_is_joined_to_the_callback(stage: Stage) -> None:
    phone = await stage.phone()
    phone.on_invite = UdpCall.accept
    following = stage.follow("15551234", account=f"{stage.user}@{DOMAIN}")
    assert (await following.end()).matched.caller.startswith("sip:15551234@")
    (rung,), (callback,) = phone.calls, stage.provider.calls
    await callback.until(callback.answered)
    assert rung.reinvited.is_set()
    assert (rung.heard, callback.heard) == (callback.offer, rung.offer)
    await callback.hang_up()
    await rung.until(rung.over)


async def test_a_provider_that_refuses_fails_the_wait_at_once(stage: Stage) -> None:
    await stage.phone()
    caller = await stage.agent("caller")
    call, call_id = await stage.call(caller)
    stage.provider.status = 402
    following = stage.follow("15551234", call_id=call_id)
    assert (await following.end()).failed.reason == "127.0.0.1: answered 402"
    await call.until(call.over)
    assert call.status == 480


async def test_a_provider_that_stays_silent_is_waited_for_as_long_as_was_said(stage: Stage) -> None:
    await stage.phone()
    caller = await stage.agent("caller")
    call, call_id = await stage.call(caller)
    following = stage.follow("15551234", call_id=call_id, trigger=None, timeout_seconds=1)
    assert (await following.end()).failed.reason == "no callback"
    await call.until(call.over)
    assert call.status == 480


async def test_a_caller_who_hangs_up_is_no_longer_waited_for(stage: Stage) -> None:
    phone = await stage.phone()
    caller = await stage.agent("caller")
    call, call_id = await stage.call(caller)
    following = stage.follow("15551234", call_id=call_id, trigger=None)
    assert (await following.next()).waiting.call_id == call_id
    listed = await stage.control.ListCalls(pb.ListCallsRequest(), timeout=10)
    assert [c.state for c in listed.calls if c.call_id == call_id] == ["waiting"]
    call.cancel()
    assert (await following.end()).failed.reason == "cancelled"
    late = stage.provider.call(stage.uri, "15551234")
    await late.until(late.ringing)
    assert len(phone.calls) == 2
    late.cancel()
    await late.until(late.over)


async def test_cancelling_the_stream_ends_the_wait(stage: Stage) -> None:
    await stage.phone()
    caller = await stage.agent("caller")
    call, call_id = await stage.call(caller)
    following = stage.follow("15551234", call_id=call_id, trigger=None)
    await following.next()
    following.stream.cancel()
    await call.until(call.over)
    assert call.status == 480


async def test_a_call_that_waits_can_be_hung_up_by_an_operator(stage: Stage) -> None:
    await stage.phone()
    caller = await stage.agent("caller")
    call, call_id = await stage.call(caller)
    following = stage.follow("15551234", call_id=call_id, trigger=None)
    await following.next()
    await stage.control.HangUp(pb.HangUpRequest(call_id=call_id), timeout=10)
    assert (await following.end()).failed.reason == "hung up by an operator"
    await call.until(call.over)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"call_id": "nothing"}, grpc.StatusCode.NOT_FOUND),
        ({"call_id": ""}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"call_id": "x", "timeout_seconds": 301}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"account": f"nobody@{DOMAIN}"}, grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_what_can_not_be_done_is_refused(
    stage: Stage, request_: dict[str, Any], code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.follow("1", **request_).next()
    assert caught.value.code() is code


async def test_a_customer_has_his_own_calls_alone(stage: Stage, switch: Switch) -> None:
    await stage.phone()
    caller = await stage.agent("caller")
    call, call_id = await stage.call(caller)
    name = f"c{secrets.token_hex(4)}"
    body = {"username": name, "password": "correct horse"}
    (await switch.api.client.post("/api/v1/customers", json=body)).raise_for_status()
    answer = await switch.api.client.post("/api/v1/login", json=body)
    token = answer.json()["token"]
    async with open_channel(switch.grpc, SECURITY, token=token) as channel:
        control = CallControlStub(channel)
        assert not (await control.ListCalls(pb.ListCallsRequest(), timeout=10)).calls
        for attempt in (
            control.HangUp(pb.HangUpRequest(call_id=call_id), timeout=10),
            control.StartCallback(
                pb.StartCallbackRequest(customer="admin", call_id=call_id), timeout=10
            ).read(),
            control.StartCallback(
                pb.StartCallbackRequest(customer=name, call_id=call_id), timeout=10
            ).read(),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await attempt
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    async with open_channel(switch.grpc, SECURITY, token="wrong") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await CallControlStub(channel).ListCalls(pb.ListCallsRequest(), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    call.cancel()
    await call.until(call.over)


async def test_many_wait_at_once_and_each_meets_its_own_caller(stage: Stage) -> None:
    phone = await stage.phone()
    callers = [await stage.agent(f"caller{n}") for n in range(MANY)]
    calls = [await stage.call(agent) for agent in callers]
    followings = [
        stage.follow(f"1555{number:04}", call_id=call_id)
        for number, (_, call_id) in enumerate(calls)
    ]
    for number in range(5):  # ordinary calls among them
        stage.provider.call(stage.uri, f"4420{number}")
    ends = await asyncio.gather(*(following.end() for following in followings))
    assert {end.WhichOneof("step") for end in ends} == {"matched"}
    by_number = {call.caller: call for call in stage.provider.calls}
    for number, (call, _) in enumerate(calls):
        await _talk(call, by_number[f"1555{number:04}"])
    ordinary = [by_number[f"4420{number}"] for number in range(5)]
    for call in ordinary:
        await call.until(call.ringing)
        assert not call.answered.is_set()
        call.cancel()
    assert len(phone.calls) == MANY + 5
    for number, (call, _) in enumerate(calls):
        await (call if number % 2 else by_number[f"1555{number:04}"]).hang_up()
