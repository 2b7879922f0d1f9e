"""Two baresip phones register and call each other through the running switch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.support.api import Api
from tests.support.baresip import Baresip
from tests.support.switch import DOMAIN, Switch

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAYS = {
    "udp": ("udp", False),
    "tcp": ("tcp", False),
    "tls": ("tls", False),
    "udp6": ("udp", True),
    "tcp6": ("tcp", True),
}


@dataclass(frozen=True)
class Pair:
    """Two registered phones, the names of their accounts, and the API to look into."""

    alice: Baresip
    bob: Baresip
    alice_name: str
    bob_name: str
    api: Api

    async def call(self) -> None:
        """alice calls bob and he rings."""
        await self.alice.dial(self.bob_name)
        await self.bob.event("CALL_INCOMING")

    async def talk(self) -> None:
        """bob answers, and both have a call."""
        await self.call()
        await self.alice.event("CALL_RINGING")
        await self.bob.answer()
        await self.alice.event("CALL_ESTABLISHED")
        await self.bob.event("CALL_ESTABLISHED")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=WAYS)
async def pair(
    request: pytest.FixtureRequest, switch: Switch, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pair]:
    transport, ipv6 = WAYS[request.param]
    names = [f"{who}-{request.param}" for who in ("alice", "bob")]
    phones = [Baresip(tmp_path_factory.mktemp("phone") / name, ipv6=ipv6) for name in names]
    try:
        for phone, name in zip(phones, names, strict=True):
            await switch.api.add_account(name, "secret1")
            await phone.start()
            await phone.registered(name, "secret1", switch.address(transport, ipv6=ipv6), transport)
        yield Pair(phones[0], phones[1], names[0], names[1], switch.api)
    finally:
        for phone in phones:
            await phone.stop()


@pytest.fixture(autouse=True)
def _fresh_events(request: pytest.FixtureRequest) -> None:
    if "pair" in request.fixturenames:
        pair: Pair = request.getfixturevalue("pair")
        pair.alice.forget()
        pair.bob.forget()


async def test_a_phone_is_listed_with_its_transport_once_registered(pair: Pair) -> None:
    binding = (await pair.api.bound(f"{pair.alice_name}@{DOMAIN}"))[0]
    transport, _, address = binding["received"].partition(":")
    assert transport == pair.alice_name.partition("-")[2].removesuffix("6")
    assert address.startswith("[::1]" if pair.alice_name.endswith("6") else "127.0.0.1")
    assert "baresip" in binding["user_agent"]


async def test_they_talk_and_the_caller_hangs_up(pair: Pair) -> None:
    mark = await pair.api.mark()
    await pair.talk()
    live = await pair.api.live_call("answered")
    assert live["answered_by"] == f"sip:{pair.bob_name}@{DOMAIN}" or live["answered_by"]
    await pair.alice.hang_up()
    await pair.bob.event("CALL_CLOSED")
    record = await pair.api.record_after(mark)
    assert (record["status"], record["end_reason"]) == (200, "caller hung up")
    assert record["caller"] == f"sip:{pair.alice_name}@{DOMAIN}"
    assert record["destination"].startswith(f"sip:{pair.bob_name}@{DOMAIN}")
    assert record["answered_at"]
    events = await pair.api.call_events(record)
    assert [e for e in events if e != "call.progress"] == [
        "call.started",
        "call.forwarded",
        "call.answered",
        "call.ended",
        "call.record",
    ]
    assert "call.progress" in events


async def test_the_callee_hangs_up(pair: Pair) -> None:
    mark = await pair.api.mark()
    await pair.talk()
    await pair.bob.hang_up()
    await pair.alice.event("CALL_CLOSED")
    record = await pair.api.record_after(mark)
    assert (record["status"], record["end_reason"]) == (200, "callee hung up")


async def test_the_caller_gives_up_before_the_answer(pair: Pair) -> None:
    mark = await pair.api.mark()
    await pair.call()
    await pair.alice.event("CALL_RINGING")
    await pair.alice.hang_up()
    await pair.bob.event("CALL_CLOSED")
    record = await pair.api.record_after(mark)
    assert (record["status"], record["end_reason"]) == (487, "cancelled")
    assert record["answered_at"] is None


async def test_the_callee_declines(pair: Pair) -> None:
    mark = await pair.api.mark()
    await pair.call()
    await pair.bob.hang_up()
    closed = await pair.alice.event("CALL_CLOSED")
    assert "486" in closed["param"]
    record = await pair.api.record_after(mark)
    assert (record["status"], record["end_reason"]) == (486, "busy")


async def test_either_side_holds_and_resumes(pair: Pair) -> None:
    mark = await pair.api.mark()
    await pair.talk()
    steps = (pair.alice.hold, pair.alice.resume, pair.bob.hold, pair.bob.resume)
    legs = []
    for number, step in enumerate(steps, 1):
        await step()
        event = await pair.api.event_after(mark, "call.changed", number, method="INVITE")
        assert event["data"]["status"] == 200
        legs.append(event["data"]["from_leg"])
    await pair.alice.hang_up()
    await pair.bob.event("CALL_CLOSED")
    assert (await pair.api.record_after(mark))["status"] == 200
    assert "a=sendonly" in pair.bob.log
    assert legs[0] == legs[1] != legs[2] == legs[3]
