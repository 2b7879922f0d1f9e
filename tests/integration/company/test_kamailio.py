"""The telephone company that other tests use is itself in order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.kamailio import Kamailio
from tests.support.udpagent import UdpAgent
from tests.support.waiting import eventually


@pytest.fixture
async def network() -> AsyncIterator[UdpAgent]:
    agent = await UdpAgent.open("network", lambda call: call.accept())
    yield agent
    agent.close()


@pytest.fixture
async def company(tmp_path: Path, network: UdpAgent) -> AsyncIterator[Kamailio]:
    port = int(network.address.rpartition(":")[2])
    kamailio = Kamailio(tmp_path, {"me": "secret"}, port)
    await kamailio.start()
    yield kamailio
    kamailio.stop()


async def test_who_registers_is_called(company: Kamailio, network: UdpAgent) -> None:
    phone = await UdpAgent.open("phone", lambda call: call.accept())
    try:
        await phone.register(f"127.0.0.1:{company.port}", "me", "secret", company.realm)
        assert list(company.registrations()) == ["me"]
        call = network.invite(f"127.0.0.1:{company.port}", f"sip:me@{company.realm}")
        await call.until(call.answered)
        await call.hang_up()
        assert len(phone.calls) == 1
    finally:
        phone.close()


async def test_a_wrong_password_registers_nobody(company: Kamailio) -> None:
    phone = await UdpAgent.open("phone")
    try:
        with pytest.raises(AssertionError, match="401"):
            await phone.register(f"127.0.0.1:{company.port}", "me", "wrong", company.realm)
        assert company.registrations() == {}
    finally:
        phone.close()


async def test_calls_without_credentials_are_challenged(company: Kamailio) -> None:
    caller = await UdpAgent.open("caller")
    try:
        call = caller.invite(f"127.0.0.1:{company.port}", f"sip:123@{company.realm}")
        await call.until(call.over)
        assert call.status == 407
    finally:
        caller.close()


async def test_it_forgets_all_when_it_starts_again(company: Kamailio) -> None:
    phone = await UdpAgent.open("phone")
    try:
        await phone.register(f"127.0.0.1:{company.port}", "me", "secret", company.realm)
        company.stop()
        await company.start()
        assert await eventually(lambda: _none(company), "an empty memory")
    finally:
        phone.close()


async def _none(company: Kamailio) -> bool:
    return company.registrations() == {}
