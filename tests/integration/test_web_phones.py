"""Phones on WebSockets: registering with every algorithm, calls, odd credentials, vanishing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from tests.support.switch import DOMAIN, EVERYWHERE, Switch
from tests.support.wsclient import WebPhone

pytestmark = pytest.mark.asyncio(loop_scope="module")

Maker = Callable[..., Awaitable[WebPhone]]
_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def switch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Switch]:
    """A switch that offers all algorithms, the widest first."""
    switch = Switch(tmp_path_factory.mktemp("switch") / "data")
    try:
        await switch.start(
            EVERYWHERE, environment={"TANDEM_DIGEST_ALGORITHMS": "MD5,SHA-256,SHA-512-256"}
        )
        yield switch
    finally:
        await switch.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def phone(switch: Switch) -> AsyncIterator[Maker]:
    """Makes connected phones with accounts of their own, or of the name that is given."""
    made: list[WebPhone] = []

    async def make(
        name: str = "", *, way: str = "ws", password: str = "secret1", registered: bool = True
    ) -> WebPhone:
        if not name:
            name = f"web{next(_numbers)}"
            await switch.api.add_account(name, "secret1")
        phone = WebPhone(name, password)
        await phone.connect(switch.address(way), secure=way == "wss")
        made.append(phone)
        if registered:
            assert (await phone.register()).status == 200
        return phone

    yield make
    for one in made:
        await one.close()


# -- registering -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["ws", "wss"])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512-256"])
async def test_a_phone_registers_with_each_algorithm(
    switch: Switch, phone: Maker, way: str, algorithm: str
) -> None:
    web = await phone(way=way, registered=False)
    response = await web.register(algorithm=algorithm)
    assert response.status == 200
    assert web.algorithms == ["MD5", "SHA-256", "SHA-512-256"]
    binding = (await switch.api.bound(f"{web.user}@{DOMAIN}"))[0]
    assert binding["received"].startswith(f"{way}:127.0.0.1:")
    assert binding["contact"] == web.contact
    assert binding["user_agent"] == "tests web phone"


async def test_a_wrong_password_is_challenged_again_and_is_an_event(
    switch: Switch, phone: Maker
) -> None:
    web = await phone(registered=False)
    mark = await switch.api.mark()
    web.password = "wrong"
    response = await web.register()
    assert response.status == 401
    event = await switch.api.event_after(mark, "registration.failed", aor=f"{web.user}@{DOMAIN}")
    assert event["owner"] == "admin"
    assert await switch.api.bindings_of(f"{web.user}@{DOMAIN}") == []
    web.password = "secret1"
    assert (await web.register()).status == 200


async def test_an_account_that_does_not_exist_is_treated_like_a_wrong_password(
    phone: Maker,
) -> None:
    web = await phone("not-an-account", registered=False)
    assert (await web.register()).status == 401


async def test_a_nonce_used_twice_is_stale_once_and_then_all_is_well(phone: Maker) -> None:
    web = await phone()
    request = web.make("REGISTER", f"sip:{DOMAIN}", "replay@test", "Expires: 600")
    web.authorize(request, "Authorization")
    again = web.make("REGISTER", f"sip:{DOMAIN}", "replay@test", "Expires: 600")
    again.set("Authorization", request.first("authorization") or "")
    assert (await web.exchange(request)).status == 200
    replayed = await web.exchange(again)
    assert replayed.status == 401
    assert "stale=true" in (replayed.first("www-authenticate") or "").lower()
    web.learn(replayed)
    assert (await web.register_once(authorized=True)).status == 200


async def test_too_short_an_expiry_is_423_and_zero_unregisters(
    switch: Switch, phone: Maker
) -> None:
    web = await phone()
    mark = await switch.api.mark()
    short = await web.register_once(expires=5, authorized=True)
    assert (short.status, short.first("min-expires")) == (423, "60")
    await switch.api.bound(f"{web.user}@{DOMAIN}")
    assert (await web.register_once(expires=0, authorized=True)).status == 200
    await switch.api.bound(f"{web.user}@{DOMAIN}", 0)
    await switch.api.event_after(mark, "registration.removed", aor=f"{web.user}@{DOMAIN}")


async def test_a_star_removes_all_phones_of_an_account(switch: Switch, phone: Maker) -> None:
    one = await phone()
    two = await phone(one.user)
    await switch.api.bound(f"{one.user}@{DOMAIN}", 2)
    response = await two.register_once(expires=0, authorized=True, contact="*")
    assert response.status == 200
    assert response.contacts == []
    await switch.api.bound(f"{one.user}@{DOMAIN}", 0)


async def test_a_phone_that_vanishes_is_registered_no_longer(switch: Switch, phone: Maker) -> None:
    web = await phone()
    await switch.api.bound(f"{web.user}@{DOMAIN}")
    mark = await switch.api.mark()
    await web.close(abruptly=True)
    await switch.api.bound(f"{web.user}@{DOMAIN}", 0)
    await switch.api.event_after(mark, "registration.removed", aor=f"{web.user}@{DOMAIN}")
    caller = await phone()
    assert (await caller.call(web.user)).status == 480


# -- calls -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["ws", "wss"])
@pytest.mark.parametrize("who", ["caller", "callee"])
async def test_two_web_phones_talk_and_either_hangs_up(
    switch: Switch, phone: Maker, way: str, who: str
) -> None:
    caller, callee = await phone(way=way), await phone()
    mark = await switch.api.mark()
    calling = asyncio.create_task(caller.call(callee.user))
    incoming = await callee.incoming()
    assert incoming.invite.body
    await incoming.ring()
    await incoming.accept()
    outgoing = await calling
    assert outgoing.status == 200
    await switch.api.live_call("answered")
    ends = {"caller": (outgoing, callee), "callee": (incoming, caller)}
    ending, other = ends[who]
    hanging = asyncio.create_task(ending.hang_up())
    await other.confirm("BYE")
    assert (await hanging).status == 200
    record = await switch.api.record_after(mark)
    assert (record["status"], record["end_reason"]) == (200, f"{who} hung up")


async def test_both_phones_of_an_account_ring_and_one_answers(switch: Switch, phone: Maker) -> None:
    caller, one = await phone(), await phone()
    two = await phone(one.user)
    await switch.api.bound(f"{one.user}@{DOMAIN}", 2)
    mark = await switch.api.mark()
    calling = asyncio.create_task(caller.call(one.user))
    first, second = await one.incoming(), await two.incoming()
    await first.ring()
    await second.ring()
    await second.accept()
    await one.confirm("CANCEL")
    await first.refuse(487)
    call = await calling
    hanging = asyncio.create_task(call.hang_up())
    await two.confirm("BYE")
    await hanging
    record = await switch.api.record_after(mark)
    assert (record["status"], record["legs"]) == (200, 2)
    events = await switch.api.call_events(record)
    assert events.count("call.forwarded") == 2
    assert events.count("call.answered") == 1


@pytest.mark.parametrize(
    ("status", "reason"), [(486, "busy"), (603, "declined"), (480, "not available")]
)
async def test_a_refusal_reaches_the_caller_and_the_record(
    switch: Switch, phone: Maker, status: int, reason: str
) -> None:
    caller, callee = await phone(), await phone()
    mark = await switch.api.mark()
    calling = asyncio.create_task(caller.call(callee.user))
    await (await callee.incoming()).refuse(status)
    assert (await calling).status == status
    record = await switch.api.record_after(mark)
    assert (record["status"], record["end_reason"]) == (status, reason)


async def test_a_call_ends_at_once_when_the_only_phone_that_rings_vanishes(
    switch: Switch, phone: Maker
) -> None:
    caller, callee = await phone(), await phone()
    mark = await switch.api.mark()
    calling = asyncio.create_task(caller.call(callee.user))
    await (await callee.incoming()).ring()
    await switch.api.event_after(mark, "call.progress")
    await callee.close(abruptly=True)
    await switch.api.bound(f"{callee.user}@{DOMAIN}", 0)
    assert (await calling).status == 480
    record = await switch.api.record_after(mark)
    assert (record["status"], record["end_reason"]) == (480, "not reachable")


async def test_a_phone_that_vanishes_in_a_call_leaves_a_record(
    switch: Switch, phone: Maker
) -> None:
    caller, callee = await phone(), await phone()
    mark = await switch.api.mark()
    calling = asyncio.create_task(caller.call(callee.user))
    incoming = await callee.incoming()
    await incoming.accept()
    call = await calling
    await callee.close(abruptly=True)
    ending = asyncio.create_task(call.hang_up())
    assert (await ending).status in (200, 481)
    record = await switch.api.record_after(mark, seconds=40)
    assert record["status"] == 200
    assert record["answered_at"]


async def test_the_password_is_asked_for_on_calls_too(switch: Switch, phone: Maker) -> None:
    caller, callee = await phone(), await phone()
    mark = await switch.api.mark()
    caller.password = "wrong"
    assert (await caller.call(callee.user)).status in (403, 407)
    await switch.api.event_after(mark, "security.authentication_failed", method="INVITE")
    assert (await switch.api.get("/calls"))["total"] == 0
