"""Calls of a telephone company to a contact that is no account run the provider's dialplan."""

from __future__ import annotations

import pytest

from tests.integration.company.test_registrations import (  # noqa: F401
    MakeCompany,
    MakeLine,
    lines,
    make_company,
    network,
    switch,
)
from tests.support.kamailio import HOST
from tests.support.switch import DOMAIN, Switch
from tests.support.udpagent import UdpAgent

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_contact_that_is_no_account_runs_the_providers_dialplan(
    switch: Switch, make_company: MakeCompany, lines: MakeLine, network: UdpAgent
) -> None:
    company = await make_company()
    dialplan = {
        "name": "incoming", "language": "lines",
        "source": f"exten => _.,1,Dial(desk@{DOMAIN})\n",
    }
    answer = await switch.api.client.post("/api/v1/dialplans", json=dialplan)
    assert answer.status_code == 201, answer.text
    line = await lines(company).add(register_contact="number", in_dialplan="incoming")
    await line.contacts(1)
    phone = await UdpAgent.open("desk", lambda call: call.accept())
    try:
        await phone.register(switch.address("udp"), "desk", "a-long-secret", DOMAIN)
        call = network.invite(f"{HOST}:{company.port}", f"sip:me@{company.realm}")
        await call.until(call.answered)
        assert len(phone.calls) == 1
        await call.hang_up()
    finally:
        phone.close()
