"""Real phones in trouble: wrong passwords, several on one account, nobody there, power cuts, and a
switch that restarts."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.baresip import Baresip
from tests.support.switch import DOMAIN, Switch

pytestmark = pytest.mark.asyncio(loop_scope="module")

Maker = Callable[..., Awaitable[Baresip]]
_numbers = itertools.count(1)


@pytest_asyncio.fixture(loop_scope="module")
async def phone(switch: Switch, phones: list[Baresip], tmp_path: Path) -> Maker:
    """Makes registered phones; accounts are made with them."""

    async def make(name: str, *, patience: int = 120, transport: str = "udp") -> Baresip:
        made = Baresip(tmp_path / f"phone{next(_numbers)}", patience=patience)
        phones.append(made)
        await made.start()
        await made.registered(name, "secret1", switch.address(transport), transport)
        return made

    return make


@pytest_asyncio.fixture(loop_scope="module")
async def names(switch: Switch) -> tuple[str, str]:
    """Two new accounts."""
    number = next(_numbers)
    made = (f"carol{number}", f"dave{number}")
    for name in made:
        await switch.api.add_account(name, "secret1")
    return made


async def test_a_wrong_password_fails_and_is_explained(
    switch: Switch, phones: list[Baresip], tmp_path: Path, names: tuple[str, str]
) -> None:
    mark = await switch.api.mark()
    phone = Baresip(tmp_path / "phone")
    phones.append(phone)
    await phone.start()
    await phone.register(names[0], "n0tth1s", switch.address("udp"))
    await phone.event("REGISTER_FAIL")
    event = await switch.api.event_after(mark, "registration.failed")
    assert event["data"]["aor"] == f"{names[0]}@{DOMAIN}"
    assert event["data"]["source"].startswith("udp:127.0.0.1:")
    assert "n0tth1s" not in str(event)


async def test_a_phone_that_is_switched_off_properly_is_registered_no_longer(
    switch: Switch, phone: Maker, names: tuple[str, str]
) -> None:
    carol = await phone(names[0])
    await switch.api.bound(f"{names[0]}@{DOMAIN}")
    await carol.stop()
    await switch.api.bound(f"{names[0]}@{DOMAIN}", 0)


@pytest.mark.parametrize("transport", ["udp", "tls"])
async def test_two_phones_on_one_account_ring_and_one_answers(
    switch: Switch, phone: Maker, names: tuple[str, str], transport: str
) -> None:
    caller = await phone(names[0], transport=transport)
    desk, mobile = [await phone(names[1], transport=transport) for _ in range(2)]
    await switch.api.bound(f"{names[1]}@{DOMAIN}", 2)
    mark = await switch.api.mark()
    await caller.dial(names[1])
    await desk.event("CALL_INCOMING")
    await mobile.event("CALL_INCOMING")
    await mobile.answer()
    await caller.event("CALL_ESTABLISHED")
    await mobile.event("CALL_ESTABLISHED")
    await desk.event("CALL_CLOSED")
    assert not mobile.seen("CALL_CLOSED")
    await mobile.hang_up()
    await caller.event("CALL_CLOSED")
    record = await switch.api.record_after(mark)
    assert (record["status"], record["end_reason"], record["legs"]) == (200, "callee hung up", 2)


async def test_one_of_two_phones_declines_and_the_other_still_rings(
    switch: Switch, phone: Maker, names: tuple[str, str]
) -> None:
    caller = await phone(names[0])
    desk, mobile = [await phone(names[1]) for _ in range(2)]
    mark = await switch.api.mark()
    await caller.dial(names[1])
    await desk.event("CALL_INCOMING")
    await mobile.event("CALL_INCOMING")
    await desk.hang_up()
    await switch.api.event_after(mark, "call.leg_failed", status=486)
    assert not caller.seen("CALL_CLOSED")
    await mobile.answer()
    await caller.event("CALL_ESTABLISHED")
    await caller.hang_up()
    await mobile.event("CALL_CLOSED")
    assert (await switch.api.record_after(mark))["status"] == 200


async def test_a_phone_that_nobody_answers_gives_up(
    switch: Switch, phone: Maker, names: tuple[str, str]
) -> None:
    caller, callee = await phone(names[0]), await phone(names[1], patience=1)
    mark = await switch.api.mark()
    await caller.dial(names[1])
    await callee.event("CALL_INCOMING")
    await caller.event("CALL_CLOSED")
    record = await switch.api.record_after(mark)
    assert record["status"] in (408, 480, 486)
    assert record["answered_at"] is None
    assert record["progress_status"] == 180


async def test_a_power_cut_in_a_call_leaves_the_other_free_to_hang_up(
    switch: Switch, phone: Maker, names: tuple[str, str]
) -> None:
    caller, callee = await phone(names[0]), await phone(names[1])
    mark = await switch.api.mark()
    await caller.dial(names[1])
    await callee.event("CALL_INCOMING")
    await callee.answer()
    await caller.event("CALL_ESTABLISHED")
    await callee.stop(abruptly=True)
    await caller.hang_up()
    record = await switch.api.record_after(mark, seconds=45)
    assert (record["status"], record["end_reason"]) == (200, "caller hung up")


async def test_a_phone_without_power_cannot_be_reached(
    switch: Switch, phone: Maker, names: tuple[str, str]
) -> None:
    caller, callee = await phone(names[0]), await phone(names[1])
    mark = await switch.api.mark()
    await callee.stop(abruptly=True)
    await caller.dial(names[1])
    # 64*T1: 32 s; a switch that believes the ICMP error is faster
    await caller.event("CALL_CLOSED", seconds=45)
    record = await switch.api.record_after(mark)
    assert (record["status"], record["end_reason"]) == (408, "not reachable")


async def test_registrations_and_accounts_survive_a_restart(
    phones: list[Baresip], tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ("--sip", f"127.0.0.1:{port}")
    switch = Switch(tmp_path / "data")
    try:
        await switch.start(options)
        pair = [Baresip(tmp_path / name) for name in ("erin", "frank")]
        phones.extend(pair)
        for phone, name in zip(pair, ("erin", "frank"), strict=True):
            await switch.api.add_account(name, "secret1")
            await phone.start()
            await phone.registered(name, "secret1", f"127.0.0.1:{port}")
        await switch.stop()
        await switch.start(options)
        assert len(await switch.api.bindings_of(f"frank@{DOMAIN}")) == 1
        mark = await switch.api.mark()
        await pair[0].dial("frank")
        await pair[1].event("CALL_INCOMING")
        await pair[1].answer()
        await pair[0].event("CALL_ESTABLISHED")
        await pair[0].hang_up()
        assert (await switch.api.record_after(mark))["status"] == 200
    finally:
        for phone in phones:
            await phone.stop(abruptly=True)
        await switch.stop()
