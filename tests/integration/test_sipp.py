"""SIPp registers, calls and is called, by the letter of its scenarios."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.sipp import SippPhone, SippRun
from tests.support.switch import Switch

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAYS = {
    "udp": ("u1", False),
    "tcp": ("t1", False),
    "udp6": ("u1", True),
    "tcp6": ("t1", True),
}
CALLEE = "sipp-callee"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=WAYS)
async def way(
    request: pytest.FixtureRequest, switch: Switch, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SippPhone, SippPhone]:
    """A caller by each transport, and a registered callee on UDP."""
    transport, ipv6 = WAYS[request.param]
    caller_name, callee_name = f"sipp-caller-{request.param}", f"{CALLEE}-{request.param}"
    for name in (caller_name, callee_name):
        await switch.api.add_account(name, "secret1")
    folder: Path = tmp_path_factory.mktemp("sipp")
    proto = "udp" if transport == "u1" else "tcp"
    server = switch.address(proto, ipv6=ipv6)
    caller = SippPhone(folder, caller_name, "secret1", server, transport)
    callee = SippPhone(folder, callee_name, "secret1", switch.address("udp", ipv6=ipv6))
    await caller.run("register")
    await callee.run("register")
    return caller, callee


@asynccontextmanager
async def answering(phone: SippPhone, scenario: str) -> AsyncIterator[SippRun]:
    """The callee runs its scenario, which must succeed too."""
    run = await phone.start(scenario)
    try:
        yield run
        await run.succeeded()
    finally:
        await run.stop()


@pytest.mark.parametrize(
    ("calling", "called", "status", "end"),
    [
        ("call", "answer", 200, "caller hung up"),
        ("call-ended", "answer-hangup", 200, "callee hung up"),
        ("call-hold", "answer-hold", 200, "caller hung up"),
        ("call-refused", "busy", 486, "busy"),
        ("call-refused", "decline", 603, "declined"),
        ("call-cancelled", "ring", 487, "cancelled"),
    ],
)
async def test_a_call_ends_as_its_ends_want_and_is_recorded(
    switch: Switch,
    way: tuple[SippPhone, SippPhone],
    calling: str,
    called: str,
    status: int,
    end: str,
) -> None:
    caller, callee = way
    mark = await switch.api.mark()
    async with answering(callee, called):
        await caller.run(
            calling, callee=callee.user, status=status if calling == "call-refused" else 0
        )
    record = await switch.api.record_after(mark)
    assert (record["status"], record["end_reason"]) == (status, end)
    assert (record["answered_at"] is not None) == (status == 200)
    events = await switch.api.call_events(record)
    assert events[0] == "call.started"
    assert events[-2:] == ["call.ended", "call.record"]
    assert events.count("call.changed") == (2 if calling == "call-hold" else 0)


async def test_nobody_by_that_name_is_404(switch: Switch, way: tuple[SippPhone, SippPhone]) -> None:
    mark = await switch.api.mark()
    await way[0].run("call-refused", callee="nobody-at-all", status=404)
    assert (await switch.api.record_after(mark))["status"] == 404


async def test_an_account_without_a_phone_is_480(
    switch: Switch, way: tuple[SippPhone, SippPhone]
) -> None:
    mark = await switch.api.mark()
    name = f"lonely-{way[0].user}"
    await switch.api.add_account(name, "secret1")
    await way[0].run("call-refused", callee=name, status=480)
    assert (await switch.api.record_after(mark))["status"] == 480
