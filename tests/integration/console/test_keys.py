"""API keys at the console page."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.support.browser import Browser
from tests.support.consolepage import ENTER, MARKUP, NARROW, TAB, ConsolePage
from tests.support.switch import ADMIN_PASSWORD
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def status_with(page: ConsolePage, key: str) -> int:
    """What a program gets that comes with this key."""
    base = page.switch.api.client.base_url
    async with httpx.AsyncClient(base_url=base, trust_env=False) as program:
        return (await program.get("/api/v1/me", headers={"X-API-Key": key})).status_code


async def add_key(browser: Browser, name: str) -> None:
    await browser.fill("#add-key [name=name]", name)
    await browser.click("#add-key button")


async def test_a_key_is_made_shown_once_used_and_revoked(page: ConsolePage, tmp_path: Path) -> None:
    browser = page.browser
    await page.customer("keyed")
    await page.log_in("keyed")
    await browser.shows("#keys", "No keys")
    assert not await browser.text("#key-owner")
    await add_key(browser, "backup")
    await browser.shows("#new-key-title", "The key backup of keyed")
    secret = await page.value("#key-secret")
    assert await status_with(page, secret) == 200
    shown = await browser.shows("#keys", "backup")
    assert secret[:10] in shown
    assert secret not in shown
    await browser.screenshot(tmp_path / "key.png")
    await browser.click("#close-key")
    assert not await browser.text("#new-key")
    assert await page.value("#key-secret") == ""
    await page.button_in("#keys", "backup", "Revoke")
    await browser.shows("#ask", "Revoke the key backup?")
    await browser.click("#ask-no")
    assert await status_with(page, secret) == 200
    await page.button_in("#keys", "backup", "Revoke")
    await browser.click("#ask-yes")
    await browser.shows("#keys", "No keys")
    assert await status_with(page, secret) == 401


@pytest.mark.parametrize("clipboard", [True, False])
async def test_a_key_is_copied_by_its_button_also_where_a_page_has_no_clipboard(
    page: ConsolePage, clipboard: bool
) -> None:
    """As over plain HTTP from another computer."""
    browser = page.browser
    await page.customer("copying")
    await page.log_in("copying")
    if not clipboard:
        await browser.script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    await add_key(browser, "copied")
    await browser.shows("#new-key-title", "The key copied")
    await page.focuses("Copy")
    await browser.click("#copy-key")
    await browser.shows("#key-copied", "Copied.")
    await browser.paste("#filter [name=filter]")
    assert await page.value("#filter [name=filter]") == await page.value("#key-secret")


async def test_a_key_is_made_by_keyboard_alone(page: ConsolePage) -> None:
    browser = page.browser
    await page.customer("typist")
    await page.log_in("typist")
    await browser.shows("#keys", "No keys")
    await browser.fill("#add-key [name=name]", f"typed{TAB}{ENTER}")
    await browser.shows("#new-key-title", "The key typed")
    await browser.press(TAB, ENTER)
    assert not await browser.text("#new-key")
    await browser.shows("#keys", "typed")
    await browser.script("document.querySelector('#keys button').focus()")
    await browser.press(ENTER)
    await browser.shows("#ask", "Revoke the key typed?")
    await browser.press("\ue00c")
    await page.gone("#ask", "Revoke")
    await page.focuses("Revoke")
    label = await browser.script(
        "return document.querySelector('#keys button').getAttribute('aria-label')"
    )
    assert label == "Revoke: typed"


async def test_an_administrator_makes_one_for_a_customer_and_sees_whose_each_is(
    page: ConsolePage,
) -> None:
    browser = page.browser
    theirs = await page.customer("employee")
    await page.log_in("admin", ADMIN_PASSWORD)
    await browser.shows("#key-owner", "Customer")
    await browser.fill("#key-owner input", "nobody-of-this-name")
    await add_key(browser, "crm")
    await browser.shows("#key-owner .field-fault", "there is no such customer")
    await page.focuses("owner")
    assert not await browser.text("#error")
    await browser.fill("#key-owner input", "employee")
    await browser.click("#add-key button")
    await browser.shows("#new-key-title", "The key crm of employee")
    assert not await browser.text("#key-owner .field-fault")
    await browser.shows("#keys", "employee")
    assert [key["name"] for key in (await theirs.get("/api-keys"))["items"]] == ["crm"]


async def test_a_customer_sees_and_ends_no_keys_but_its_own(page: ConsolePage) -> None:
    browser = page.browser
    theirs, mine = await page.customer("victim"), await page.customer("mallory")
    made = await theirs.client.post("/api/v1/api-keys", json={"name": "precious"})
    await mine.client.post("/api/v1/api-keys", json={"name": "own"})
    await page.log_in("mallory")
    assert "precious" not in await browser.shows("#keys", "own")
    # also when the page is made to ask for it
    await browser.script(
        """const form = document.querySelector('#add-key');
           document.querySelector('#key-owner').hidden = false;
           form.elements.name.value = 'foisted';
           form.elements.owner.value = 'victim';
           form.requestSubmit();"""
    )
    await browser.shows("#add-key", "Only an administrator makes keys for others.")
    asked = await browser.script(
        """const headers = {Authorization: 'Bearer ' + sessionStorage.getItem('tandem-token')};
           return Promise.all(['GET', 'DELETE'].map(method =>
             fetch('/api/v1/api-keys/' + arguments[0], {method, headers})
               .then(answer => answer.status)))""",
        made.json()["id"],
    )
    assert asked == [404, 404]
    assert (await theirs.get("/api-keys"))["total"] == 1


@pytest.mark.parametrize(
    ("status", "wait", "told"),
    [
        (403, "", "You may not do this."),
        (429, "30", "This was asked too often. Try again in 30 s."),
        (503, "5", "A part of Tandem does not answer. Try again in 5 s."),
    ],
)
async def test_what_is_refused_is_told_beside_the_form(
    page: ConsolePage, status: int, wait: str, told: str
) -> None:
    browser = page.browser
    await page.customer("refused")
    await page.log_in("refused")
    await browser.shows("#keys", "No keys")
    await page.answer_with("/api-keys", status, method="POST", wait=wait)
    await add_key(browser, "never")
    assert await browser.shows("#add-key > .fault", "") == told
    assert not await browser.text("#error")
    assert await page.value("#add-key [name=name]") == "never"


async def test_a_key_that_comes_late_is_not_shown_to_who_has_logged_in_since(
    page: ConsolePage,
) -> None:
    browser = page.browser
    for name in ("hasty", "next"):
        await page.customer(name)
    await page.log_in("hasty")
    await browser.script(
        """const real = window.fetch;
           window.fetch = async (url, options) => {
             const answer = await real(url, options);
             if (url.endsWith('/api-keys') && options.method === 'POST')
               await new Promise(come => { window.letCome = come; });
             return answer;
           };"""
    )
    await add_key(browser, "late")
    await eventually(lambda: browser.script("return 'letCome' in window"), "the answer")
    await browser.click("#logout")
    await browser.shows("#login", "Log in")
    await page.log_in("next")
    # its button is on again when the page has done with it
    await browser.script("window.letCome()")
    off = "return document.querySelector('#add-key button').disabled"

    async def done() -> bool:
        return not await browser.script(off)

    await eventually(done, "the end of the request")
    assert not await browser.text("#new-key")
    assert await page.value("#key-secret") == ""
    assert "late" not in await browser.shows("#keys", "No keys")


async def test_a_name_is_text_and_logging_out_leaves_no_secret(page: ConsolePage) -> None:
    browser = page.browser
    await page.customer("tidy")
    await page.log_in("tidy")
    await add_key(browser, MARKUP)
    await browser.shows("#new-key-title", MARKUP)
    await browser.shows("#keys", MARKUP)
    await browser.resize(NARROW)
    await page.is_unharmed()
    secret = await page.value("#key-secret")
    await browser.click("#logout")
    await browser.shows("#login", "Log in")
    held = "return document.documentElement.outerHTML + document.querySelector('#key-secret').value"
    page_text = await browser.script(held)
    assert secret not in page_text
    assert MARKUP not in page_text
