"""Dialplans on a cluster of two of everything: the callback that a script asks for may arrive at
any proxy, and finds the caller who waits at one of the appservers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.cluster import DOMAIN, Cluster
from tests.support.googlevoice import EMAIL, PASSWORD, GoogleVoice
from tests.support.town import Town
from tests.support.udpagent import UdpAgent

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLS = 12
SCRIPT = """
sys.log(f"asks for {req.user}")
reason = sys.provider_callback("voice", "442079460148", pattern="1555*", seconds=30)
sys.log(reason)
sys.dial("desk@local")
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster(events=1, env={"appserver": {"TANDEM_TRIGGER_PRIVATE": "1"}})
    try:
        await made.start()
        await made.log_in()
        yield made
        await made.log_out()
    finally:
        await made.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def town(cluster: Cluster) -> AsyncIterator[Town]:
    made = await Town.open(cluster)
    yield made
    await made.close()


async def _program(town: Town, owner: str, front: str, voice: GoogleVoice) -> None:
    """A customer with a dialplan, a provider that calls back, and an account that runs it."""
    post = town.cluster.api.client.post
    provider = {
        "name": "voice",
        "owner": owner,
        "username": EMAIL,
        "password": PASSWORD,
        "callback": {"kind": "google-voice", "url": voice.url, "number": "15550001"},
    }
    dialplan = {"name": "front", "owner": owner, "language": "python", "source": SCRIPT}
    (await post("/api/v1/providers", json=provider)).raise_for_status()
    (await post("/api/v1/dialplans", json=dialplan)).raise_for_status()
    await town.cluster.api.add_account(front, "secret1", owner=owner, in_dialplan="front")


async def test_callbacks_of_dialplans_meet_their_callers_across_the_cluster(town: Town) -> None:
    """One after the other, each call by a random proxy to whichever appserver its Call-ID goes to,
    each callback by a random proxy."""
    owner = await town.customer()
    voice = await GoogleVoice.open(town.any_proxy)
    front = f"front{owner}"
    await _program(town, owner, front, voice)
    voice.to = f"sip:{front}@{DOMAIN}"
    for number in range(CALLS):
        caller: UdpAgent = await town.agent(f"caller{number}")
        call = caller.invite(town.any_proxy(), f"sip:{front}@{DOMAIN}")
        await call.until(call.answered, 40)
        callback = voice.calls[-1]
        await callback.until(callback.answered)
        assert (call.heard, callback.heard) == (callback.offer, call.offer)
        await call.hang_up()
        await callback.until(callback.over)
    assert len(voice.connected) == CALLS
    await asyncio.gather(voice.close(), town.quiet())
