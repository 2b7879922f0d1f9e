"""Dialplans that call through a telephone company, Kamailio, and are called by it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from tests.support.kamailio import Kamailio
from tests.support.office import Office, busy, picking_up
from tests.support.switch import DOMAIN, Switch
from tests.support.udpagent import UdpAgent, UdpCall
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="package")

OUT = "sys.dial('${dst}@company')"


@dataclass(frozen=True)
class Company:
    """Kamailio, and the telephone network behind it."""

    kamailio: Kamailio
    network: UdpAgent
    mine: list[UdpAgent] = field(default_factory=list)
    """Who registered."""
    now: list[str] = field(default_factory=list)
    """The contacts that did."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.kamailio.port}"

    def call_in(self) -> UdpCall:
        """Somebody calls the customer `me`."""
        uri = f"sip:me@{self.kamailio.realm}"
        return self.network.invite(self.address, uri, user="+15551234")

    async def register(self, contact: str) -> None:
        """As a program of the customer's own would: calls to `me` go to this contact alone."""
        agent = await UdpAgent.open("registrar")
        self.mine.append(agent)
        for expires in (f"Contact: <{self.now[-1]}>;expires=0", "") if self.now else ("",):
            agent.contact = expires or f"Contact: <{contact}>"
            await agent.register(self.address, "me", "secret", self.kamailio.realm)
        self.now.append(contact)


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def company(
    office: Office, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Company]:
    network = await office.outside("network", picking_up)
    port = int(network.address.rpartition(":")[2])
    kamailio = Kamailio(tmp_path_factory.mktemp("company"), {"me": "secret"}, port)
    await kamailio.start()
    await office.provider(
        "company",
        server=f"sip:company.test:{kamailio.port}",
        outbound_proxy=f"sip:127.0.0.1:{kamailio.port}",
        username="me",
        password="secret",
        from_header='"${fromname}" <sip:me@company.test>',
        custom_headers=["X-Tariff: night"],
    )
    made = Company(kamailio, network)
    yield made
    for agent in made.mine:
        agent.close()
    kamailio.stop()


@pytest.fixture(autouse=True)
def _quiet(company: Company) -> None:
    company.network.calls.clear()
    company.network.on_invite = picking_up


async def records_after(switch: Switch, before: int, count: int) -> list[dict[str, Any]]:
    """Wait for so many new call records."""

    async def look() -> list[dict[str, Any]]:
        page = await switch.api.get("/cdrs", count=count)
        return list(page["items"]) if page["total"] == before + count else []

    return await eventually(look, f"{count} call records")


# -- out -------------------------------------------------------------------------------------------


async def test_a_call_goes_out_with_the_customers_credentials(
    switch: Switch, office: Office, company: Company
) -> None:
    caller = await office.caller(OUT)
    mark = await switch.api.mark()
    await caller.run("call", callee="442079460148")
    assert (await switch.api.record_after(mark))["status"] == 200
    (call,) = company.network.calls
    invite = call.invite
    assert (invite.request_uri.user, invite.request_uri.host) == ("442079460148", "company.test")
    assert str(invite.from_.uri) == "sip:me@company.test"
    assert invite.first("x-tariff") == "night"
    assert "secret" not in str(await switch.api.events_after(mark))
    await call.until(call.over)


async def test_the_name_alone_calls_what_was_dialled(office: Office, company: Company) -> None:
    caller = await office.caller("sys.dial('company')")
    await caller.run("call", callee="123")
    assert [call.invite.request_uri.user for call in company.network.calls] == ["123"]


async def test_the_network_hangs_up(switch: Switch, office: Office, company: Company) -> None:
    caller = await office.caller(OUT)
    mark = await switch.api.mark()
    run = await caller.start("call-ended", callee="123")

    async def there() -> list[UdpCall]:
        return [call for call in company.network.calls if call.answered.is_set()]

    (call,) = await eventually(there, "an answered call")
    await call.hang_up()
    await run.succeeded()
    assert (await switch.api.record_after(mark))["end_reason"] == "callee hung up"


async def test_who_is_busy_has_a_voicemail_at_the_company(
    switch: Switch, office: Office, company: Company
) -> None:
    desk = await office.phone("desk", busy)
    caller = await office.caller("sys.dial('desk@local |{busy} voicemail@company')")
    mark = await switch.api.mark()
    await caller.run("call", callee="desk")
    record = await switch.api.record_after(mark)
    assert (record["status"], record["legs"], len(desk.calls)) == (200, 2, 1)
    assert [call.invite.request_uri.user for call in company.network.calls] == ["voicemail"]


async def test_what_the_company_says_reaches_the_script(
    switch: Switch, office: Office, company: Company
) -> None:
    company.network.on_invite = lambda call: call.refuse(404)
    caller = await office.caller(
        f"{OUT}\nprint(f'{{sys.last_status}} {{sys.last_legs[0].target}}')"
    )
    mark = await switch.api.mark()
    await caller.run("call-refused", callee="1", status=404)
    log = await switch.api.event_after(mark, "dialplan.log")
    assert log["message"] == "404 1@company"


@pytest.mark.parametrize("password", ["wrong", ""])
async def test_a_company_that_knows_no_such_password_is_followed_by_the_next(
    switch: Switch, office: Office, company: Company, password: str
) -> None:
    name = f"bad{len(password)}"
    server = company.kamailio.server
    await office.provider(name, server=server, username="me", password=password)
    caller = await office.caller(f"sys.dial('1@{name} | 2@company')\n")
    mark = await switch.api.mark()
    await caller.run("call", callee="100")
    assert (await switch.api.record_after(mark))["status"] == 200
    assert [call.invite.request_uri.user for call in company.network.calls] == ["2"]
    failed = await switch.api.event_after(mark, "call.leg_failed")
    assert failed["data"]["status"] == 407


async def test_nobody_else_can_answer_the_challenge_for_the_caller(
    switch: Switch, office: Office, company: Company
) -> None:
    """A realm that is not the company's: the password is not given away, and the caller hears 403
    in place of a challenge that is none of his business."""
    await office.provider(
        "choosy", server=company.kamailio.server, username="me", password="secret", realm="other"
    )
    caller = await office.caller("sys.dial('1@choosy')")
    await caller.run("call-refused", callee="1", status=403)
    assert company.network.calls == []


@pytest.mark.parametrize("more", ["", 'Digest realm="company.test",nonce="n",algorithm=NEW-512'])
async def test_a_company_with_other_algorithms(
    switch: Switch, office: Office, company: Company, tmp_path: Any, more: str
) -> None:
    """SHA-256 alone, and behind one that nobody knows."""
    port = int(company.network.address.rpartition(":")[2])
    other = Kamailio(
        tmp_path, {"me": "secret"}, port, algorithm="SHA-256", more=(more,) if more else ()
    )
    await other.start()
    name = f"sha{len(more)}"
    try:
        await office.provider(name, server=other.server, username="me", password="secret")
        caller = await office.caller(f"sys.dial('77@{name}')")
        await caller.run("call", callee="100")
        assert [call.invite.request_uri.user for call in company.network.calls] == ["77"]
    finally:
        other.stop()


async def test_a_company_that_is_down_is_followed_by_the_next(
    switch: Switch, office: Office, company: Company, tmp_path: Any
) -> None:
    down = Kamailio(tmp_path, {"me": "secret"}, 9)  # never started
    await office.provider("down", server=down.server, username="me", password="secret")
    caller = await office.caller("sys.dial('1@down[rt=1] | 2@company')")
    mark = await switch.api.mark()
    await caller.run("call", callee="100")
    assert (await switch.api.record_after(mark))["status"] == 200
    assert [call.invite.request_uri.user for call in company.network.calls] == ["2"]


async def test_a_disabled_provider_is_not_called(office: Office, company: Company) -> None:
    fields: dict[str, Any] = {"username": "me", "password": "secret", "enabled": False}
    await office.provider("off", server=company.kamailio.server, **fields)
    caller = await office.caller("sys.dial('1@off')\nsys.respond(sys.last_legs[0].status)")
    await caller.run("call-refused", callee="1", status=403)
    assert company.network.calls == []


# -- in --------------------------------------------------------------------------------------------


async def test_a_call_from_the_company_runs_the_incoming_dialplan(
    switch: Switch, office: Office, company: Company
) -> None:
    desk = await office.phone("desk", picking_up)
    name = await office.dialplan(
        "print(f'{sys.is_in} {req.from_user} {sys.account}')\n"
        "sys.set_from(name='From outside')\nsys.dial('desk@local')\n"
    )
    await switch.api.add_account("front", "secret1", in_dialplan=name)
    await company.register(f"sip:front@{switch.address('udp')}")
    mark = await switch.api.mark()
    call = company.call_in()
    await call.until(call.answered)
    assert call.heard == desk.calls[0].offer
    await call.hang_up()
    record = await switch.api.record_after(mark)
    assert (record["status"], record["direction"]) == (200, "in")
    log = await switch.api.event_after(mark, "dialplan.log")
    assert log["message"] == f"True +15551234 front@{DOMAIN}"
    from_ = desk.calls[0].invite.from_
    assert (from_.display, from_.uri.user) == ("From outside", "+15551234")


async def test_a_contact_that_is_no_account_runs_the_providers_dialplan(
    switch: Switch, office: Office, company: Company
) -> None:
    desk = await office.phone("desk", picking_up)
    name = await office.dialplan("print(sys.account)\nsys.dial('desk@local')")
    await office.provider(
        "line", server=company.kamailio.server, username="me", password="secret",
        register_contact="line77", in_dialplan=name,
    )  # fmt: skip
    await company.register(f"sip:line77@{switch.address('udp')}")
    mark = await switch.api.mark()
    call = company.call_in()
    await call.until(call.answered)
    await call.hang_up()
    assert (await switch.api.record_after(mark))["status"] == 200
    log = await switch.api.event_after(mark, "dialplan.log")
    assert (log["message"], len(desk.calls)) == (f"line77@{DOMAIN}", 1)


async def test_a_call_that_comes_back_by_the_company_is_no_loop(
    switch: Switch, office: Office, company: Company
) -> None:
    """Out by the provider, whose other customer is ourselves: two calls, two records."""
    desk = await office.phone("desk", picking_up)
    await company.register(f"sip:desk@{switch.address('udp')}")
    caller = await office.caller("sys.dial('me@company')")
    mark = await switch.api.mark()
    await caller.run("call", callee="100")
    records = await records_after(switch, mark.records, 2)
    assert {record["direction"] for record in records} == {"in", "out"}
    assert {record["status"] for record in records} == {200}
    assert (len(desk.calls), company.network.calls) == (1, [])


async def test_an_incoming_call_is_forwarded_out_again(
    switch: Switch, office: Office, company: Company
) -> None:
    """From the network in, and by the same company to a mobile phone."""
    name = await office.dialplan("sys.dial('4477@company')")
    await switch.api.add_account("mobile", "secret1", in_dialplan=name)
    await company.register(f"sip:mobile@{switch.address('udp')}")
    mark = await switch.api.mark()
    call = company.call_in()
    await call.until(call.answered)
    (onward,) = (each for each in company.network.calls if each is not call)
    assert onward.invite.request_uri.user == "4477"
    assert (call.heard, onward.heard) == (onward.offer, call.offer)
    await onward.hang_up()
    await call.until(call.over)
    assert (await switch.api.record_after(mark))["status"] == 200
