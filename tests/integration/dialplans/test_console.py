"""A customer at the console page: a provider and how its registration stands, a dialplan and its
faults, and the steps of a call that it took."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.browser import Browser
from tests.support.kamailio import Kamailio
from tests.support.office import PASSWORD, Office, picking_up
from tests.support.sipp import SippPhone
from tests.support.switch import DOMAIN, Switch

pytestmark = pytest.mark.asyncio(loop_scope="package")

NAME, LOGIN = "marie", "a long password"
FAULTY = "if req.user == '100':\n    sys.dail('mariedesk@local')\nelse:\n    sys.dial('carrier')\n"
RIGHT = FAULTY.replace("dail", "dial")


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def browser(
    switch: Switch, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Browser]:
    """A window in which the customer has logged in; it had nothing to complain of but answers of
    4xx, which Chromium calls errors."""
    body = {"username": NAME, "password": LOGIN}
    (await switch.api.client.post("/api/v1/customers", json=body)).raise_for_status()
    await switch.api.add_account("marie1", PASSWORD, owner=NAME)
    browser = Browser(tmp_path_factory.mktemp("browser"))
    try:
        await browser.start((1280, 1500))
        await browser.open(str(switch.api.client.base_url))
        await browser.fill("#login [name=username]", NAME)
        await browser.fill("#login [name=password]", LOGIN)
        await browser.click("#login button")
        await browser.shows("#stream-state", "live")
        yield browser
        log = [line for line in await browser.log() if not line.startswith("DEBUG")]
        assert [line for line in log if "responded with a status of 4" not in line] == []
    finally:
        await browser.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def company(
    office: Office, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Kamailio]:
    """A telephone company that takes every call."""
    network = await office.outside("network", picking_up)
    port = int(network.address.rpartition(":")[2])
    made = Kamailio(tmp_path_factory.mktemp("company"), {"marie": "good one"}, port)
    await made.start()
    yield made
    made.stop()


async def save_provider(browser: Browser, **fields: str) -> None:
    for name, text in fields.items():
        await browser.fill(f"#provider-form [name={name}]", text)
    await browser.click("#save-provider")


async def test_a_provider_shows_why_it_is_not_registered_at_and_when_it_is(
    browser: Browser, company: Kamailio, tmp_path: Path
) -> None:
    await browser.click("#new-provider")
    await browser.shows("#provider-form", "New provider")
    await save_provider(
        browser, name="carrier", server=f"{company.server.removeprefix('sip:')}",
        username="marie", password="bad one", register_contact="marie1",
    )  # fmt: skip
    shown = await browser.shows("#providers", "401")
    assert "carrier" in shown
    assert f"marie1@{DOMAIN}" in shown
    await browser.screenshot(tmp_path / "failed.png")
    await browser.click("#providers td.actions button")
    await browser.shows("#provider-form", "Provider carrier")
    register = "return document.querySelector('#provider-form').elements.register.checked"
    if not await browser.script(register):
        await browser.click("#provider-form [name=register]")
    await save_provider(browser, password="good one")
    await browser.shows("#providers", "registered until")
    assert list(company.registrations()) == ["marie"]
    await browser.screenshot(tmp_path / "registered.png")


async def test_a_dialplan_is_written_mended_where_it_is_wrong_and_used(
    browser: Browser, company: Kamailio, switch: Switch, office: Office, tmp_path: Path
) -> None:
    await browser.click("#new-dialplan")
    await browser.shows("#dialplan-editor", "New dialplan")
    await browser.fill("#dialplan-form [name=name]", "main")
    await browser.fill("#dialplan-form [name=source]", FAULTY)
    await browser.click("#save-dialplan")
    shown = await browser.shows("#dialplan-faults", "line 2, column ")
    assert "sys.dail('mariedesk@local')" in shown
    await browser.screenshot(tmp_path / "faults.png")
    await browser.fill("#dialplan-form [name=source]", RIGHT)
    await browser.click("#save-dialplan")
    await browser.shows("#dialplan-title", "saved as version 1")
    await browser.shows("#use-dialplan", f"marie1@{DOMAIN}")
    await browser.script(
        "const form = document.querySelector('#use-dialplan').elements; form.out.value = 'main';"
    )
    await browser.click("#use-dialplan button")
    await browser.shows("#use-done", "Saved.")
    phone = SippPhone(office.folder, "marie1", PASSWORD, switch.address("udp"))
    await phone.run("call", callee="4711")
    await browser.shows("#cdrs", "200 ")
    await browser.click("#cdrs td.actions button")
    steps = await browser.shows("#steps", "dialplan.ended")
    assert "Dials carrier" in steps
    await browser.screenshot(tmp_path / "steps.png")
    await browser.click("#close-steps")
