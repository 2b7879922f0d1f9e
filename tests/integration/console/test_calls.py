"""Calls under way at the console page: hanging up, transferring, and whose they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from tests.support.api import Api
from tests.support.consolepage import ENTER, MARKUP, NARROW, PHONE_PASSWORD, TAB, ConsolePage
from tests.support.office import busy, picking_up, ringing
from tests.support.switch import ADMIN_PASSWORD, DOMAIN
from tests.support.udpagent import UdpAgent, UdpCall

pytestmark = pytest.mark.asyncio(loop_scope="package")

TRANSFER = "sys.dial('${dst}@local')\n"
ESCAPE = "\ue00c"
RETRY_SECONDS = 40.0
"""The page asks a server that is away again after 30 s at the latest."""
SUBMIT = "#transfer-form button:not([type=button])"


@dataclass
class Line:
    """A customer's phones, and a stranger who calls them."""

    page: ConsolePage
    agents: list[UdpAgent] = field(default_factory=list)

    async def customer(self, name: str) -> Api:
        """With an account `NAME-desk` that picks up."""
        api = await self.page.customer(name)
        await self.phone(api, f"{name}-desk", picking_up)
        return api

    async def phone(self, api: Api, name: str, on_invite: Callable[[UdpCall], None]) -> UdpAgent:
        """An account and its phone, which does this with each call."""
        address = self.page.switch.address("udp")
        await api.add_account(name, PHONE_PASSWORD)
        agent = await UdpAgent.open(name, on_invite)
        self.agents.append(agent)
        await agent.register(address, name, PHONE_PASSWORD, DOMAIN)
        return agent

    async def call(self, account: str) -> UdpCall:
        """A stranger calls; his leg."""
        stranger = await UdpAgent.open("stranger")
        self.agents.append(stranger)
        return stranger.invite(self.page.switch.address("udp"), f"sip:{account}@{DOMAIN}")

    async def talk(self, customer: str) -> UdpCall:
        """A stranger talks to the desk."""
        leg = await self.call(f"{customer}-desk")
        await leg.until(leg.answered)
        return leg


@pytest_asyncio.fixture(loop_scope="package")
async def line(page: ConsolePage) -> AsyncIterator[Line]:
    """Whoever talks still is hung up on."""
    made = Line(page)
    yield made
    calls = [call for agent in made.agents for call in agent.calls if call.dialog is not None]
    for call in calls:
        if not call.over.is_set():
            await call.hang_up()
    await page.switch.api.no_calls()
    for agent in made.agents:
        agent.close()


async def open_transfer(page: ConsolePage) -> None:
    await page.button_in("#calls", "answered", "Transfer")
    await page.browser.shows("#transfer-dialog", "Who leaves")


# -- hanging up ------------------------------------------------------------------------------------


async def test_hanging_up_asks_first_and_ends_both_legs(page: ConsolePage, line: Line) -> None:
    browser = page.browser
    await line.customer("ender")
    await page.log_in("ender")
    leg = await line.talk("ender")
    await page.button_in("#calls", "answered", "Hang up")
    shown = await browser.shows("#ask", "Hang up stranger@")
    assert "Both ends are disconnected." in shown
    await browser.press(ESCAPE)
    await page.gone("#ask", "Hang up")
    await page.focuses("Hang up")
    assert not leg.over.is_set()
    await browser.press(ENTER)
    await browser.shows("#ask", "Hang up stranger@")
    await browser.press(TAB, ENTER)
    await leg.until(leg.over)
    (desk,) = line.agents[0].calls
    await desk.until(desk.over)
    await browser.shows("#calls", "No call is under way.")
    await browser.shows("#calls-said", "was hung up.")


async def test_a_call_that_rings_is_hung_up_too_and_can_not_be_transferred(
    page: ConsolePage, line: Line
) -> None:
    browser = page.browser
    api = await page.customer("ringer")
    await line.phone(api, "ringer-desk", ringing)
    await page.log_in("ringer")
    leg = await line.call("ringer-desk")
    assert "Transfer" not in await browser.shows("#calls", "ringing")
    await page.button_in("#calls", "ringing", "Hang up")
    await browser.shows("#ask", "whoever is rung stops ringing")
    await browser.click("#ask-yes")
    await leg.until(leg.over)
    assert leg.status >= 400
    await browser.shows("#calls", "No call is under way.")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (403, "You may not do this."),
        (404, "There is no such call."),
        (429, "This was asked too often. Try again in 5 s."),
        (503, "A part of Tandem does not answer. Try again in 5 s."),
    ],
)
async def test_a_call_that_is_not_hung_up_is_told_beside_the_list(
    page: ConsolePage, line: Line, status: int, told: str
) -> None:
    browser = page.browser
    customer = f"kept{status}"
    await line.customer(customer)
    await page.log_in(customer)
    await line.talk(customer)
    await browser.shows("#calls", "answered")
    body = f'{{"detail": "{told}"}}' if status == 404 else ""
    wait = "5" if status > 404 else ""
    await page.answer_with("/call-orders/", status, body, method="DELETE", wait=wait)
    await page.button_in("#calls", "answered", "Hang up")
    await browser.click("#ask-yes")
    await browser.shows("#calls-fault", told)
    assert not await browser.text("#error")
    assert "answered" in await browser.text("#calls")


# -- transfers -------------------------------------------------------------------------------------


async def test_a_caller_is_transferred_to_a_number_by_the_dialplan_transfer(
    page: ConsolePage, line: Line
) -> None:
    browser = page.browser
    api = await line.customer("mover")
    party = await line.phone(api, "mover-party", picking_up)
    for name in ("another", "Transfer"):
        body = {"name": name, "language": "python", "source": TRANSFER}
        (await api.client.post("/api/v1/dialplans", json=body)).raise_for_status()
    await page.log_in("mover")
    leg = await line.talk("mover")
    await open_transfer(page)
    assert await page.value("#transfer-form [name=dialplan]") == "Transfer"
    assert "Customer" not in await browser.text("#transfer-form")
    await browser.fill("#transfer-form [name=destination]", f"mover-party{ENTER}")
    await browser.shows("#calls-said", "mover-party has taken over.")
    (new,) = party.calls
    await new.until(new.answered)
    (desk,) = line.agents[0].calls
    await desk.until(desk.over)
    assert not leg.over.is_set()
    await browser.shows("#cdrs", "transferred")
    assert not await browser.text("#transfer-dialog")


async def test_who_called_may_leave_and_a_dial_string_say_where_to(
    page: ConsolePage, line: Line
) -> None:
    browser = page.browser
    api = await line.customer("leaver")
    party = await line.phone(api, "leaver-party", picking_up)
    await page.log_in("leaver")
    leg = await line.talk("leaver")
    await open_transfer(page)
    assert await page.value("#transfer-form [name=way]") == "dial"  # there is no dialplan
    assert await page.value("#transfer-form [name=leg]") == "1"
    await page.choose("#transfer-form [name=leg]", "0")
    await browser.fill("#transfer-form [name=dial]", "leaver-party@local")
    await browser.resize(NARROW)
    await page.is_unharmed()
    await browser.click(SUBMIT)
    await leg.until(leg.over)
    (new,) = party.calls
    await new.until(new.answered)
    (desk,) = line.agents[0].calls
    assert not desk.over.is_set()


async def test_a_transfer_that_nobody_takes_is_told_and_the_call_goes_on(
    page: ConsolePage, line: Line
) -> None:
    """Also while no stream brings the news."""
    browser = page.browser
    api = await line.customer("keeper")
    await line.phone(api, "keeper-party", busy)
    await page.log_in("keeper")
    leg = await line.talk("keeper")
    await open_transfer(page)
    await browser.fill("#transfer-form [name=dial]", "keeper-party@local")
    await browser.click(SUBMIT)
    await browser.shows("#calls-fault", "to keeper-party@local: Not transferred: 486")
    assert not leg.over.is_set()
    await browser.shows("#calls", "answered")


async def test_what_is_wrong_with_a_transfer_is_told_in_its_form(
    page: ConsolePage, line: Line
) -> None:
    browser = page.browser
    await line.customer("wrong")
    await page.log_in("wrong")
    leg = await line.talk("wrong")
    await open_transfer(page)
    await browser.script("document.querySelector('#transfer-form').noValidate = true")
    await browser.click(SUBMIT)
    await browser.shows("#transfer-form [data-way=dial] .field-fault", "1 to ")
    await page.focuses("dial")
    await browser.fill("#transfer-form [name=dial]", "x@local")
    for status, body, wait, told in (
        (409, f'{{"detail": "{MARKUP}"}}', "", MARKUP),
        (429, '{"detail": "Too many dialplans run."}', "", "Too many dialplans run."),
        (403, "", "", "You may not do this."),
        (503, "", "5", "A part of Tandem does not answer. Try again in 5 s."),
    ):
        await page.answer_with("/transfer$", status, body, wait=wait)
        await browser.click(SUBMIT)
        await browser.shows("#transfer-form > .fault", told)
    await page.is_unharmed()
    assert not await browser.text("#transfer-form .field-fault")
    await browser.press(ESCAPE)
    await page.gone("#transfer-dialog", "Who leaves")
    await page.answer_truly()
    await open_transfer(page)
    assert not await browser.text("#transfer-form > .fault")
    await leg.hang_up()
    await browser.fill("#transfer-form [name=dial]", "x@local")
    await browser.click(SUBMIT)
    await browser.shows("#transfer-form > .fault", "There is no such leg")


# -- whose they are --------------------------------------------------------------------------------


async def test_another_customer_sees_no_call_and_can_not_touch_it(
    page: ConsolePage, line: Line
) -> None:
    browser = page.browser
    theirs = await line.customer("private")
    await page.customer("nosy")
    leg = await line.talk("private")
    call = await theirs.live_call("answered")
    await page.log_in("nosy")
    await browser.shows("#calls", "No call is under way.")
    asked: list[Any] = await browser.script(
        """const [id] = arguments;
           const order = {leg: 0, dial: 'x@local'};
           const headers = {
             Authorization: 'Bearer ' + sessionStorage.getItem('tandem-token'),
             'Content-Type': 'application/json',
           };
           const ask = (method, path, body) =>
             fetch('/api/v1' + path, {method, headers, body: body && JSON.stringify(body)})
               .then(answer => answer.status);
           return Promise.all([
             ask('GET', '/calls/' + id), ask('DELETE', '/call-orders/' + id),
             ask('POST', `/call-orders/${id}/transfer`, order),
             ask('POST', `/call-orders/${id}/transfer`, {...order, owner: 'private'}),
           ])""",
        call["id"],
    )
    assert asked == [404, 404, 404, 403]
    assert not leg.over.is_set()


async def test_an_administrator_transfers_a_customers_call_in_the_customers_name(
    page: ConsolePage, line: Line
) -> None:
    browser = page.browser
    api = await line.customer("managed")
    party = await line.phone(api, "managed-party", picking_up)
    body = {"name": "transfer", "language": "python", "source": TRANSFER}
    (await api.client.post("/api/v1/dialplans", json=body)).raise_for_status()
    await page.log_in("admin", ADMIN_PASSWORD)
    await line.talk("managed")
    await open_transfer(page)
    await browser.fill("#transfer-form [name=destination]", "managed-party")
    await browser.click(SUBMIT)
    await browser.shows("#calls-said", "managed-party has taken over.")
    (new,) = party.calls
    await new.until(new.answered)
    await page.button_in("#calls", "managed-party", "Hang up")
    await browser.click("#ask-yes")
    await new.until(new.over)


# -- without the event stream ----------------------------------------------------------------------


async def test_calls_are_hung_up_and_transferred_while_the_stream_is_down(
    page: ConsolePage, line: Line
) -> None:
    browser = page.browser
    api = await line.customer("offline")
    await line.phone(api, "offline-party", busy)
    await page.answer_with("/events", 503)
    leg = await line.talk("offline")
    await page.log_in("offline", stream="not connected")
    await open_transfer(page)
    await browser.fill("#transfer-form [name=dial]", "offline-party@local")
    await browser.click(SUBMIT)
    await browser.shows("#calls-fault", "Not transferred: 486")
    await page.button_in("#calls", "answered", "Hang up")
    await browser.click("#ask-yes")
    await leg.until(leg.over)
    await browser.shows("#calls", "No call is under way.")
    await page.answer_truly()
    await browser.shows("#stream-state", "live", RETRY_SECONDS)
    await browser.shows("#events", "call.ended")


async def test_all_else_works_while_calls_and_events_are_away(
    page: ConsolePage, line: Line
) -> None:
    browser = page.browser
    await line.customer("partial")
    await page.answer_with("/(events|calls|cdrs)", 503, wait="5")
    await page.log_in("partial", stream="not connected")
    await browser.shows("#error", "A part of Tandem does not answer.")
    await browser.shows("#accounts", "partial-desk")
    await browser.fill("#add-key [name=name]", "made anyway")
    await browser.click("#add-key button")
    await browser.shows("#keys", "made anyway")
    await browser.click("#new-dialplan")
    await browser.fill("#dialplan-form [name=source]", "sys.respond(486, 'Busy')")
    await browser.click("#dry-run summary")
    await browser.fill("#dry-run-form [name=destination]", f"1{ENTER}")
    await browser.shows("#dry-run-outcome .end", "The caller gets 486")
    await page.answer_truly()
    await browser.shows("#stream-state", "live", RETRY_SECONDS)
    await browser.shows("#calls", "No call is under way.")
    assert not await browser.text("#error")
