"""The console page in a real browser, as its user meets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.browser import Browser
from tests.support.switch import ADMIN_PASSWORD, DOMAIN, Switch
from tests.support.waiting import eventually
from tests.support.wsclient import WebPhone

pytestmark = pytest.mark.asyncio(loop_scope="module")

NARROW = (360, 740)
WIDE = (1280, 900)
MARKUP = "<script>document.title='owned'</script><img src=x onerror=document.title='owned'>"


@dataclass
class Console:
    """The page, logged in, and phones that end with the test."""

    browser: Browser
    switch: Switch
    phones: list[WebPhone] = field(default_factory=list)

    async def log_in(self, password: str = ADMIN_PASSWORD) -> None:
        """Fill in the form and send it."""
        await self.browser.fill("#login [name=username]", "admin")
        await self.browser.fill("#login [name=password]", password)
        await self.browser.click("#login button")

    async def phone(self, name: str) -> WebPhone:
        """A registered phone on an account that is there."""
        phone = WebPhone(name, "secret1")
        await phone.connect(self.switch.address("ws"))
        self.phones.append(phone)
        assert (await phone.register()).status == 200
        return phone

    async def button_of(self, account: str, text: str) -> None:
        """Click a button in the row of this account."""
        await self.browser.shows("#accounts", f"{account}@{DOMAIN}")
        clicked = await self.browser.script(
            """for (const row of document.querySelectorAll('#accounts tbody tr')) {
                 if (row.cells[0].textContent !== arguments[0]) continue;
                 for (const button of row.querySelectorAll('button')) {
                   if (button.textContent === arguments[1]) { button.click(); return true; }
                 }
               }
               return false;""",
            f"{account}@{DOMAIN}",
            text,
        )
        assert clicked, await self.browser.text("#accounts")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """One window for all tests."""
    browser = Browser(tmp_path_factory.mktemp("browser"))
    try:
        await browser.start(WIDE)
        yield browser
    finally:
        await browser.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, switch: Switch) -> AsyncIterator[Console]:
    """A fresh page, not logged in. Whatever the test did, the browser had nothing to report but
    answers of 4xx, which Chromium calls errors."""
    await browser.open(str(switch.api.client.base_url))
    await browser.script("sessionStorage.clear()")
    await browser.open(str(switch.api.client.base_url))
    console = Console(browser, switch)
    yield console
    for phone in console.phones:
        await phone.close()
    faults = [line for line in await browser.log() if not _expected(line)]
    assert faults == []


@pytest_asyncio.fixture(loop_scope="module")
async def console(page: Console) -> Console:
    """Logged in, with the event stream running."""
    await page.log_in()
    await page.browser.shows("#stream-state", "live")
    return page


def _expected(line: str) -> bool:
    return line.startswith("DEBUG") or "responded with a status of 4" in line


# -- logging in ------------------------------------------------------------------------------------


async def test_a_wrong_password_is_told_and_the_right_one_logs_in(page: Console) -> None:
    await page.log_in("wrong")
    assert "do not match" in await page.browser.shows("#error", "do not match")
    assert not await page.browser.text("#accounts")
    await page.log_in()
    await page.browser.shows("#username", "admin")
    assert not await page.browser.text("#error")


async def test_a_reload_keeps_the_session_and_logging_out_ends_it(console: Console) -> None:
    browser = console.browser
    await browser.open(str(console.switch.api.client.base_url))
    await browser.shows("#stream-state", "live")
    await browser.click("#logout")
    await browser.shows("#login", "Log in")
    assert not await browser.text("#console")
    assert await browser.script("return sessionStorage.length") == 0


async def test_a_session_that_ended_leads_back_to_the_log_in(console: Console) -> None:
    """As if it had expired: the page is not told, and finds out by a 401."""
    # in one go, or the page might find out by itself and have no form any more
    ended = await console.browser.script(
        """return fetch('/api/v1/logout', {method: 'POST', headers: {
             Authorization: 'Bearer ' + sessionStorage.getItem('tandem-token')}})
           .then(answer => {
             const form = document.querySelector('#add-account');
             form.elements.username.value = 'late';
             form.elements.password.value = 'secret1';
             form.requestSubmit();
             return answer.ok;
           })"""
    )
    assert ended
    await console.browser.shows("#error", "Your session has ended")
    await console.browser.shows("#login", "Log in")
    assert not await console.browser.text("#console")


# -- accounts --------------------------------------------------------------------------------------


async def test_an_added_account_comes_with_what_to_enter_in_the_phone(console: Console) -> None:
    browser = console.browser
    await browser.fill("#add-account [name=username]", "fresh")
    await browser.fill("#add-account [name=password]", "secret1")
    await browser.click("#add-account button")
    shown = await browser.shows("#phone-settings", "fresh")
    await browser.shows("#accounts", f"fresh@{DOMAIN}")
    for wanted in (DOMAIN, console.switch.address("udp"), console.switch.address("tls")):
        assert wanted in shown
    assert f"ws://{console.switch.address('ws')}" in shown
    assert "secret1" not in await browser.text("body")


async def test_a_refused_account_says_why(console: Console) -> None:
    browser = console.browser
    await browser.fill("#add-account [name=username]", "weak")
    await browser.fill("#add-account [name=password]", "weak")
    await browser.click("#add-account button")
    await browser.shows("#error", "password: ")
    assert "weak@" not in await browser.text("#accounts")


async def test_disabling_and_deleting_ask_first(console: Console) -> None:
    browser, api = console.browser, console.switch.api
    made = await api.add_account("asked", "secret1")
    await browser.open(str(api.client.base_url))
    await console.button_of("asked", "Disable")
    await browser.shows("#ask", f"Disable asked@{DOMAIN}?")
    await browser.click("#ask-no")
    assert (await api.get(f"/sip-accounts/{made['id']}"))["enabled"] is True
    await console.button_of("asked", "Disable")
    await browser.click("#ask-yes")
    await browser.shows("#accounts", "disabled")
    assert (await api.get(f"/sip-accounts/{made['id']}"))["enabled"] is False
    await console.button_of("asked", "Enable")
    await _gone(browser, "#accounts", "disabled")
    await console.button_of("asked", "Delete")
    await browser.click("#ask-yes")
    await _gone(browser, "#accounts", f"asked@{DOMAIN}")
    assert (await api.client.get(f"/api/v1/sip-accounts/{made['id']}")).status_code == 404


async def test_a_new_password_is_what_phones_need_then(console: Console) -> None:
    browser, api = console.browser, console.switch.api
    await api.add_account("changed", "oldsecret")
    await browser.open(str(api.client.base_url))
    await console.button_of("changed", "New password")
    await browser.fill("#ask input[type=password]", "secret1")
    await browser.click("#ask-yes")
    await _gone(browser, "body", "New password for")
    await eventually(lambda: _registers(console), "the new password to count")


async def _registers(console: Console) -> bool:
    phone = WebPhone("changed", "secret1")
    await phone.connect(console.switch.address("ws"))
    console.phones.append(phone)
    return (await phone.register()).status == 200


async def _gone(browser: Browser, css: str, text: str) -> None:
    async def look() -> bool:
        return text not in await browser.text(css)

    await eventually(look, f"{text!r} to leave {css}")


# -- providers and dialplans -----------------------------------------------------------------------


async def test_a_provider_is_added_shown_and_changed(console: Console) -> None:
    browser, api = console.browser, console.switch.api
    await browser.click("#new-provider")
    await browser.shows("#provider-form", "New provider")
    for name, text in {
        "name": "carrier", "server": "sip.example.com", "username": "77", "password": "rosebud7",
        "register_contact": "someone",
    }.items():  # fmt: skip
        await browser.fill(f"#provider-form [name={name}]", text)
    await browser.click("#save-provider")
    shown = await browser.shows("#providers", "carrier")
    assert f"someone@{DOMAIN}" in shown
    await browser.click("#providers td.actions button")
    await browser.shows("#provider-form", "Provider carrier")
    await browser.fill("#provider-form [name=server]", "nowhere")
    await browser.click("#save-provider")
    await browser.shows("#error", "server: ")
    await browser.fill("#provider-form [name=server]", "sip.example.org")
    await browser.click("#save-provider")
    await browser.shows("#providers", "sip.example.org")
    (kept,) = (await api.get("/providers"))["items"]
    assert kept["has_password"] is True
    assert "rosebud7" not in await browser.script("return document.documentElement.outerHTML")


async def test_a_dialplan_shows_faults_at_their_lines_and_goes_back_to_a_version(
    console: Console,
) -> None:
    browser, api = console.browser, console.switch.api
    await api.add_account("planned", "secret1")
    right = "exten => _X.,1,Dial(planned@local)"
    await browser.click("#new-dialplan")
    await browser.shows("#dialplan-editor", "New dialplan")
    await browser.fill("#dialplan-form [name=name]", "Mine")
    await browser.script(
        "document.querySelector('#dialplan-form').elements.language.value = 'lines'"
    )
    await browser.fill("#dialplan-form [name=source]", f"{right}\nexten => broken")
    await browser.click("#save-dialplan")
    assert "exten => broken" in await browser.shows("#dialplan-faults", "line 2, column ")
    chosen = await browser.script(
        "const field = document.activeElement;"
        "return field.value.slice(field.selectionStart, field.selectionEnd)"
    )
    assert chosen == "exten => broken"
    await browser.fill("#dialplan-form [name=source]", right)
    await browser.click("#save-dialplan")
    await browser.shows("#dialplan-title", "saved as version 1")
    assert not await browser.text("#dialplan-faults")
    await browser.fill("#dialplan-form [name=source]", f"; second\n{right}")
    await browser.click("#save-dialplan")
    await browser.shows("#dialplan-title", "saved as version 2")
    await browser.shows("#version", "2, in use")
    await browser.script("document.querySelector('#version').value = '1'")
    await browser.click("#roll-back")
    await browser.shows("#dialplan-title", "back at version 1")
    (kept,) = (await api.get("/dialplans"))["items"]
    assert (kept["version"], kept["name"]) == (1, "Mine")
    assert (
        await browser.script(
            "return document.querySelector('#dialplan-form').elements.source.value"
        )
        == right
    )


async def test_an_account_is_given_a_dialplan(console: Console) -> None:
    browser, api = console.browser, console.switch.api
    made = await api.add_account("given", "secret1")
    if not (await api.get("/dialplans"))["items"]:
        body = {"name": "Mine", "language": "lines", "source": ""}
        assert (await api.client.post("/api/v1/dialplans", json=body)).status_code == 201
    await browser.open(str(api.client.base_url))
    await browser.shows("#use-dialplan", f"given@{DOMAIN}")
    await browser.script(
        "const form = document.querySelector('#use-dialplan').elements;"
        "form.account.value = arguments[0];"
        "form.account.dispatchEvent(new Event('change'));"
        "form.out.value = 'Mine';",
        made["id"],
    )
    await browser.click("#use-dialplan button")
    await browser.shows("#use-done", "Saved.")
    account = await api.get(f"/sip-accounts/{made['id']}")
    assert (account["out_dialplan"], account["in_dialplan"]) == ("Mine", None)


# -- what happens ----------------------------------------------------------------------------------


async def test_registrations_calls_and_events_appear_by_themselves(console: Console) -> None:
    browser, api = console.browser, console.switch.api
    for name in ("ann", "ben"):
        await api.add_account(name, "secret1")
    ann, ben = await console.phone("ann"), await console.phone("ben")
    await browser.shows("#bindings", f"ben@{DOMAIN}")
    await browser.shows("#events", "registration.added")
    calling = asyncio.create_task(ann.call("ben"))
    incoming = await ben.incoming()
    await incoming.ring()
    await browser.shows("#calls", "ringing")
    await incoming.accept()
    call = await calling
    await browser.shows("#calls", "answered")
    await call.hang_up()
    await browser.shows("#cdrs", "200 ")
    await browser.shows("#calls", "No call is under way.")


async def test_a_failed_call_shows_why_step_by_step(console: Console) -> None:
    browser, api = console.browser, console.switch.api
    for name in ("cat", "dan"):
        await api.add_account(name, "secret1")
    cat, dan = await console.phone("cat"), await console.phone("dan")
    calling = asyncio.create_task(cat.call("dan"))
    await (await dan.incoming()).refuse(486)
    assert (await calling).status == 486
    await browser.shows("#cdrs", "486 ")
    await browser.shows("#events", "call.leg_failed")
    await browser.click("#cdrs td.actions button")
    steps = await browser.shows("#steps", "call.leg_failed")
    assert "486" in steps
    await browser.click("#close-steps")
    await browser.fill("#filter input", "nonsense=1")
    await browser.click("#filter button")
    await browser.shows("#error", "nonsense")


async def test_what_a_phone_says_of_itself_is_text(console: Console) -> None:
    browser, api = console.browser, console.switch.api
    for name in ("eve", "fay"):
        await api.add_account(name, "secret1")
    await console.phone("fay")
    eve = WebPhone("eve", "secret1")
    await eve.connect(console.switch.address("ws"))
    console.phones.append(eve)
    eve.user_agent = MARKUP
    eve.display = MARKUP
    assert (await eve.register()).status == 200
    await browser.shows("#bindings", MARKUP)
    assert (await eve.call("nobody")).status == 404
    await browser.shows("#cdrs", "404 ")
    assert await browser.script("return document.title") == "Tandem"
    assert await browser.script("return document.querySelectorAll('img').length") == 0


# -- the page itself -------------------------------------------------------------------------------


async def test_it_fits_a_phone(console: Console, tmp_path: Path) -> None:
    browser = console.browser
    await browser.resize(NARROW)
    try:
        wide = await browser.script(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert wide[0] <= wide[1]
        await browser.fill("#add-account [name=username]", "pocket")
        await browser.fill("#add-account [name=password]", "secret1")
        await browser.click("#add-account button")
        await browser.shows("#phone-settings", "pocket")
        await browser.click("#close-settings")
    finally:
        await browser.resize(WIDE)


async def test_scripts_from_elsewhere_do_not_run(page: Console) -> None:
    """The policy holds, and the browser says so: the one test that provokes a violation."""
    await page.browser.script(
        """const script = document.createElement('script');
           script.textContent = "document.title = 'owned'";
           document.body.append(script);"""
    )
    assert await page.browser.script("return document.title") == "Tandem"
    log = await page.browser.log()
    assert any("Content Security Policy" in line for line in log), log
