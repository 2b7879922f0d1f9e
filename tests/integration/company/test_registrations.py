"""The switch registers at a telephone company, which then calls it: the real program, Kamailio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.api import Api
from tests.support.kamailio import HOST, Kamailio
from tests.support.ports import free_port
from tests.support.switch import DOMAIN, Switch
from tests.support.udpagent import UdpAgent
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

MakeCompany = Callable[..., Awaitable[Kamailio]]

TIMEOUT_SECONDS = 60.0
"""More than the 32 s after which a registrar counts as silent."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def switch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Switch]:
    """The switch, at an address that providers are given to call; accounts `office` and `desk`."""
    switch = Switch(tmp_path_factory.mktemp("switch") / "data")
    address = f"{HOST}:{free_port()}"
    try:
        await switch.start(("--sip", address), {"TANDEM_CONTACT_HOST": address})
        for name in ("office", "desk"):
            await switch.api.add_account(name, "a-long-secret")
        yield switch
    finally:
        await switch.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def network() -> AsyncIterator[UdpAgent]:
    agent = await UdpAgent.open("network", lambda call: call.accept())
    yield agent
    agent.close()


@pytest_asyncio.fixture(loop_scope="module")
async def make_company(tmp_path: Path, network: UdpAgent) -> AsyncIterator[MakeCompany]:
    """`await make_company(...)`: a telephone company that knows `me`, with its settings."""
    made: list[Kamailio] = []

    async def make(*, start: bool = True, **settings: Any) -> Kamailio:
        port = int(network.address.rpartition(":")[2])
        company = Kamailio(tmp_path, {"me": "secret"}, port, **settings)
        made.append(company)
        if start:
            await company.start()
        return company

    yield make
    for company in made:
        company.stop()


class Line:
    """A provider at the switch, and what became of it."""

    def __init__(self, api: Api, company: Kamailio) -> None:
        self.api = api
        self.company = company
        self.id = ""

    async def add(self, **fields: Any) -> Line:
        """Add it."""
        body = {
            "name": "company", "server": self.company.server, "username": "me",
            "password": "secret", "register": True, "register_contact": "office",
        }  # fmt: skip
        answer = await self.api.client.post("/api/v1/providers", json=body | fields)
        answer.raise_for_status()
        self.id = answer.json()["id"]
        return self

    async def change(self, **fields: Any) -> None:
        """Change it."""
        answer = await self.api.client.patch(f"/api/v1/providers/{self.id}", json=fields)
        answer.raise_for_status()

    async def stands(self, state: str, seconds: float = 15.0) -> dict[str, Any]:
        """Wait until its registration stands so."""

        async def look() -> dict[str, Any] | None:
            page = await self.api.get("/provider-bindings", count=100)
            found = [item for item in page["items"] if item["provider"] == self.id]
            return found[0] if found and found[0]["state"] == state else None

        found = await eventually(look, f"the registration to be {state}", seconds)
        assert found is not None
        return found

    async def contacts(self, count: int, seconds: float = 15.0) -> list[str]:
        """Wait until the company has so many contacts of ours."""

        async def look() -> list[list[str]]:
            with suppress(OSError):
                found = self.company.registrations().get("me", [])
                return [found] if len(found) == count else []
            return []

        return (await eventually(look, f"{count} contact(s) at the company", seconds))[0]


@pytest_asyncio.fixture(loop_scope="module")
async def lines(switch: Switch) -> AsyncIterator[Callable[[Kamailio], Line]]:
    """`lines(company)`: a provider that is deleted after the test."""
    made: list[Line] = []

    def make(company: Kamailio) -> Line:
        line = Line(switch.api, company)
        made.append(line)
        return line

    yield make
    for line in made:
        await switch.api.client.delete(f"/api/v1/providers/{line.id}")


MakeLine = Callable[[Kamailio], Line]


async def test_a_call_to_the_company_reaches_the_account(
    switch: Switch, make_company: MakeCompany, lines: MakeLine, network: UdpAgent
) -> None:
    company = await make_company()
    line = await lines(company).add()
    (contact,) = await line.contacts(1)
    address = switch.address("udp")
    assert contact.startswith(f"sip:office@{address};rinstance=")
    binding = await line.stands("registered")
    assert binding["contact"] == contact
    phone = await UdpAgent.open("office", lambda call: call.accept())
    try:
        await phone.register(address, "office", "a-long-secret", DOMAIN)
        call = network.invite(f"{HOST}:{company.port}", f"sip:me@{company.realm}")
        await call.until(call.answered)
        (rung,) = phone.calls
        assert rung.caller == "network"
        await call.hang_up()
        await rung.until(rung.over)
    finally:
        phone.close()


async def test_a_contact_that_is_no_account_runs_the_providers_dialplan(
    switch: Switch, make_company: MakeCompany, lines: MakeLine, network: UdpAgent
) -> None:
    company = await make_company()
    dialplan = {
        "name": "incoming",
        "language": "lines",
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


async def test_a_provider_that_is_disabled_is_unregistered(
    switch: Switch, make_company: MakeCompany, lines: MakeLine
) -> None:
    mark = await switch.api.mark()
    line = await lines(await make_company()).add()
    await line.contacts(1)
    await line.stands("registered")
    await switch.api.event_after(mark, "provider.registered", provider="company")
    await line.change(enabled=False)
    await line.contacts(0)
    await switch.api.event_after(mark, "provider.unregistered", provider="company")
    await line.change(enabled=True)
    await line.contacts(1)


async def test_another_contact_takes_the_place_of_the_former_one(
    make_company: MakeCompany, lines: MakeLine
) -> None:
    line = await lines(await make_company()).add()
    (before,) = await line.contacts(1)
    await line.change(register_contact="desk")

    async def moved() -> bool:
        found = line.company.registrations().get("me", [])
        return len(found) == 1 and found != [before] and "desk@" in found[0]

    await eventually(moved, "the new contact alone")


async def test_a_company_that_is_down_is_registered_at_as_soon_as_it_is_up(
    switch: Switch, make_company: MakeCompany, lines: MakeLine
) -> None:
    company = await make_company(start=False)
    line = await lines(company).add()
    await line.stands("trying")
    await company.start()
    await line.contacts(1)
    await line.stands("registered")


async def test_a_company_that_stays_down_is_told_of(
    switch: Switch, make_company: MakeCompany, lines: MakeLine
) -> None:
    mark = await switch.api.mark()
    company = await make_company(start=False)
    line = await lines(company).add()
    binding = await line.stands("failed", TIMEOUT_SECONDS)
    assert binding["reason"] == f"udp:{HOST}:{company.port} does not answer"
    event = await switch.api.event_after(mark, "provider.registration_failed")
    assert 50 <= event["data"]["retry"] <= 60
    await company.start()
    await line.change(custom_headers=["X-Try: now"])
    await line.contacts(1)


async def test_a_wrong_password_is_shown_and_a_right_one_used_at_once(
    make_company: MakeCompany, lines: MakeLine
) -> None:
    line = await lines(await make_company()).add(password="wrong")
    binding = await line.stands("failed")
    assert binding["status"] == 401
    assert "password" in binding["reason"]
    await line.change(password="secret")
    await line.contacts(1)
    assert (await line.stands("registered"))["reason"] == ""


async def test_too_short_an_interval_is_lengthened(
    make_company: MakeCompany, lines: MakeLine
) -> None:
    line = await lines(await make_company(least=1200)).add(register_expires=60)
    await line.contacts(1)
    binding = await line.stands("registered")
    assert binding["status"] == 200


async def test_a_company_that_forbids_it_is_left_alone(
    switch: Switch, make_company: MakeCompany, lines: MakeLine
) -> None:
    line = await lines(await make_company(forbid=True)).add()

    async def given_up() -> bool:
        provider = await switch.api.get(f"/providers/{line.id}")
        return provider["register"] is False

    await eventually(given_up, "the registration to be given up")


@pytest.mark.parametrize(
    ("algorithm", "more"),
    [
        ("SHA-256", ()),
        ("SHA-256", ('Digest realm="company.test", nonce="x", algorithm=MD5, qop="auth"',)),
        ("MD5", ('Digest realm="company.test", nonce="x", algorithm=SHA3-512, qop="auth"',)),
        ("MD5", ('Digest realm="else.test", nonce="x", algorithm=SHA-512-256, qop="auth"',)),
        ("MD5", ("Negotiate", 'Digest realm="company.test"')),
    ],
)
async def test_of_several_challenges_the_right_one_is_answered(
    make_company: MakeCompany, lines: MakeLine, algorithm: str, more: tuple[str, ...]
) -> None:
    line = lines(await make_company(algorithm=algorithm, more=more))
    await line.add(realm="company.test")
    await line.contacts(1)
