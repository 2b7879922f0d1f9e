"""Dialplans that wait for callbacks, on a cluster: the call that comes to the other proxy, and by
its hash belongs to the other appserver, meets the script that waits for it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.support.cluster import DOMAIN, Cluster
from tests.support.googlevoice import EMAIL, GoogleVoice
from tests.support.googlevoice import PASSWORD as PASSWORD_THERE
from tests.support.town import PASSWORD, Town, call_id_for
from tests.support.udpagent import UdpCall, session
from tests.support.waiting import eventually

KEY: Final = "a key that is secret"


@pytest_asyncio.fixture
async def town(cluster: Cluster) -> AsyncIterator[Town]:
    """A town of its own for each test, which leaves no call and no hint."""
    town = await Town.open(cluster)
    try:
        yield town
        await town.quiet()
    finally:
        await town.close()


@pytest_asyncio.fixture
async def voice(cluster: Cluster) -> AsyncIterator[GoogleVoice]:
    """Calls through proxy 2, with Call-IDs that belong to appserver 2."""
    made = await GoogleVoice.open(lambda: cluster["proxy2"].sip)
    made.call_id = lambda: call_id_for(cluster, "appserver2")
    yield made
    await made.close()


async def line(town: Town, source: str, **provider: Any) -> str:
    """An account of a new customer's whose calls run this; his provider is called `gv`."""
    customer, user = await town.customer(), f"u{secrets.token_hex(4)}"
    api = town.cluster.api
    body = {"name": "wait", "language": "python", "source": source, "owner": customer}
    (await api.client.post("/api/v1/dialplans", json=body)).raise_for_status()
    if provider:
        body = {"name": "gv", "owner": customer, **provider}
        (await api.client.post("/api/v1/providers", json=body)).raise_for_status()
    await api.add_account(user, PASSWORD, owner=customer, in_dialplan="wait")
    return user


def call(town: Town, user: str) -> UdpCall:
    """Somebody calls this account through proxy 1, at appserver 1."""
    number = town.number()
    return town.callers.invite(
        town.cluster["proxy1"].sip,
        f"sip:{user}@{DOMAIN}",
        user=number,
        offer=session(number),
        call_id=call_id_for(town.cluster, "appserver1"),
    )


def call_back(town: Town, user: str, number: str) -> UdpCall:
    """The provider calls through proxy 2, with a Call-ID of appserver 2's."""
    return town.provider.agent.invite(
        town.cluster["proxy2"].sip,
        f"sip:{user}@{DOMAIN}",
        user=number,
        call_id=call_id_for(town.cluster, "appserver2"),
    )


async def asked(town: Town, count: int) -> None:
    """The provider is asked when all proxies know who waits."""

    async def look() -> bool:
        return len(town.provider.asked) >= count

    await eventually(look, f"{count} request(s) at the provider")


async def talk(one: UdpCall, two: UdpCall) -> None:
    """They are joined to each other; then they hang up."""
    await one.until(one.answered)
    await two.until(two.answered)

    async def look() -> bool:
        return (one.heard, two.heard) == (two.offer, one.offer)

    await eventually(look, "both ends to have heard of each other")
    await two.hang_up()
    await one.until(one.over)


def generic(town: Town, **callback: Any) -> dict[str, Any]:
    """A provider that is asked by one request, which is full of secrets."""
    form = {
        "kind": "generic",
        "url": f"{town.provider.url}?key={KEY.replace(' ', '%20')}&pw=${{password}}",
        "method": "POST",
        "headers": [["X-Key", KEY]],
        "fields": [["number", "${destination}"], ["who", "${username}"]],
        **callback,
    }
    return {"username": EMAIL, "password": PASSWORD_THERE, "callback": form}


async def nobody_tells(town: Town, users: Sequence[str], hidden: Sequence[str]) -> None:
    """Neither events, nor records, nor the API, nor a log has any of these."""
    api, events = town.cluster.api, town.cluster.events_apis[0]
    told = [str(await api.get("/providers", count=100)), str(await api.get("/dialplans"))]
    for page in ({"count": 1000}, {"count": 1000, "traces": 1}):
        told.append(str(await events.get("/events", **page)))
    told.append(str(await events.get("/cdrs", count=100)))
    told += [node.log for node in town.cluster.nodes.values()]
    assert all(user in "".join(told) for user in users)  # something was told
    for secret in hidden:
        assert not [text for text in told if secret in text], secret


async def ended(town: Town, user: str) -> list[dict[str, Any]]:
    """The events of the one call to this account, when all have arrived."""
    events = town.cluster.events_apis[0]

    async def look() -> list[dict[str, Any]]:
        page = await events.get("/events", count=1000)
        ids = {e["call_id"] for e in page["items"] if user in e["message"] and e["call_id"]}
        found = [e for e in page["items"] if e["call_id"] in ids]
        done = {"dialplan.ended", "call.record"} <= {e["type"] for e in found}
        return found if done else []

    return await eventually(look, "the events of the call")


async def test_a_callback_at_the_other_proxy_meets_the_script_that_waits(town: Town) -> None:
    source = "print(sys.provider_callback('gv', '4930', pattern='1555*', seconds=60))"
    user = await line(town, source, **generic(town, users=["line77"]))
    caller = call(town, user)
    await asked(town, 1)
    (question,) = town.provider.asked
    assert question.fields == {
        "key": KEY, "pw": PASSWORD_THERE, "number": "4930", "who": EMAIL,
    }  # fmt: skip
    await talk(caller, call_back(town, "line77", "15551234"))
    found = await ended(town, user)
    nodes = {e["node"] for e in found if e["type"].startswith(("dialplan.", "call.callback"))}
    assert nodes == {"appserver1"}
    assert [e["data"]["reason"] for e in found if e["type"] == "dialplan.ended"] == ["answered"]
    await nobody_tells(town, [user], [KEY, KEY.replace(" ", "%20"), PASSWORD_THERE])


async def test_the_same_after_a_log_in_by_forms(town: Town, voice: GoogleVoice) -> None:
    source = "print(sys.provider_callback('gv', req.from_user, seconds=60))"
    form = {"kind": "google-voice", "url": voice.url, "number": "15550001", "phone_type": 2}
    user = await line(town, source, username=EMAIL, password=PASSWORD_THERE, callback=form)
    voice.to = f"sip:{user}@{DOMAIN}"
    caller = call(town, user)

    async def called() -> bool:
        return bool(voice.calls)

    await eventually(called, "the callback")
    paths = [(each.method, each.target.partition("?")[0]) for each in voice.asked]
    assert paths == [
        ("GET", "/accounts/ServiceLogin"),
        ("POST", "/accounts/ServiceLoginAuth"),
        ("GET", "/voice"),
        ("POST", "/voice/call/connect"),
    ]
    (fields,) = voice.connected
    assert fields.pop("_rnr_se")
    assert fields == {
        "outgoingNumber": caller.caller, "forwardingNumber": "15550001",
        "subscriberNumber": "undefined", "remember": "0", "phoneType": "2",
    }  # fmt: skip
    await talk(caller, voice.calls[0])
    assert {e["node"] for e in await ended(town, user) if e["type"] == "call.callback_matched"} == {
        "appserver1"
    }
    assert len(voice.secrets) == 4
    await nobody_tells(town, [user], voice.secrets)


async def test_two_customers_who_wait_for_the_same_number_have_each_his_own(town: Town) -> None:
    source = (
        f"sys.wait_for_callback('{town.provider.url}', 'POST', form={{'who': req.user}},"
        " pattern='15551234', seconds=60)\n"
    )
    users = [await line(town, source) for _ in range(2)]
    callers = [call(town, user) for user in users]
    await asked(town, 2)
    assert {each.fields["who"] for each in town.provider.asked} == set(users)
    # who waited last is called first
    callbacks = [call_back(town, user, "15551234") for user in reversed(users)]
    await asyncio.gather(*map(talk, callers, reversed(callbacks)))


async def test_a_caller_who_gives_up_takes_his_wait_along(town: Town) -> None:
    source = f"sys.wait_for_callback('{town.provider.url}', users=['line88'], seconds=60)"
    user = await line(town, source)
    caller = call(town, user)
    await asked(town, 1)
    caller.cancel()
    await caller.until(caller.over)
    assert caller.status == 487
    await town.quiet()
    late = call_back(town, "line88", "15551234")
    await late.until(late.over)
    assert late.status == 404


@pytest.mark.parametrize("reason", ["the HTTP server answered 500", "no callback"])
async def test_a_provider_that_fails_is_followed_by_the_next_line(town: Town, reason: str) -> None:
    source = (
        f"print(sys.wait_for_callback('{town.provider.url}', users=['line99'], seconds=3))\n"
        "sys.respond(410, sys.last_reason or 'Gone')\n"
    )
    town.provider.status = 500 if "500" in reason else 200
    user = await line(town, source)
    caller = call(town, user)
    await caller.until(caller.over)
    assert caller.status == 410
    logs = [e["message"] for e in await ended(town, user) if e["type"] == "dialplan.log"]
    assert len(logs) == 1
    assert ("500" in logs[0]) == ("500" in reason)
