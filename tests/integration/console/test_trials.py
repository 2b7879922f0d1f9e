"""Dry runs and replays at the console page, and the versions of a dialplan."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.browser import Browser
from tests.support.consolepage import (
    ENTER,
    MARKUP,
    NARROW,
    PHONE_PASSWORD,
    ConsolePage,
)
from tests.support.switch import ADMIN_PASSWORD, DOMAIN

pytestmark = pytest.mark.asyncio(loop_scope="package")

SOURCE = "if sys.dial('${dst}@carrier') == 'failed':\n    sys.dial('desk@local')\n"
REFUSING = "sys.respond(486, 'Busy Here')\n"


async def save(api: Api, name: str, source: str) -> dict[str, Any]:
    """A dialplan of a customer's."""
    body = {"name": name, "language": "python", "source": source}
    answer = await api.client.post("/api/v1/dialplans", json=body)
    answer.raise_for_status()
    made: dict[str, Any] = answer.json()
    return made


async def change(api: Api, made: dict[str, Any], source: str) -> None:
    """Its next version."""
    path = f"/api/v1/dialplans/{made['id']}"
    (await api.client.patch(path, json={"source": source})).raise_for_status()


async def edit(page: ConsolePage, name: str) -> None:
    """Open the editor."""
    await page.button_in("#dialplans", name, "Edit")
    await page.browser.shows("#dialplan-title", f"Dialplan {name}")
    await page.browser.shows("#version", "in use")


async def add_leg(browser: Browser, number: int, to: str, status: str, after: str) -> None:
    await browser.click("#scene fieldset > button")
    row = f"[data-kind=legs] .row:nth-of-type({number}) "
    for field, text in {"to": to, "status": status, "after": after}.items():
        await browser.fill(f"{row}[data-field={field}]", text)


async def dry_run(browser: Browser, destination: str) -> None:
    await browser.fill("#dry-run-form [name=destination]", destination)
    await browser.click("#run-dry")


# -- dry runs --------------------------------------------------------------------------------------


async def test_a_dry_run_shows_each_step_with_what_the_legs_would_answer(
    page: ConsolePage,
) -> None:
    browser = page.browser
    api = await page.customer("dryer")
    await api.add_account("dryer1", PHONE_PASSWORD)
    await save(api, "Out", SOURCE.replace("desk", "dryer1"))
    provider = {"name": "carrier", "server": "sip.example.com", "username": "1"}
    (await api.client.post("/api/v1/providers", json=provider)).raise_for_status()
    await page.log_in("dryer")
    await edit(page, "Out")
    await browser.click("#dry-run summary")
    assert await page.value("#dry-run-form [name=caller]") == f"dryer1@{DOMAIN}"
    await add_leg(browser, 1, "*@carrier", "503", "1.5")
    await add_leg(browser, 2, "dryer1@*", "200", "4")
    await dry_run(browser, "0044")
    await browser.shows("#dry-run-outcome .end", "Answered by dryer1@local after 5.5 s.")
    steps = await browser.text("#dry-run-outcome .events")
    assert steps.index("ring 0044@carrier: 503") < steps.index("ring dryer1@local: 200")
    # of the first leg nothing is said any more: it rings until its time is over
    await browser.click("[data-kind=legs] .row button")
    await dry_run(browser, "0044")
    await browser.shows("#dry-run-outcome .events", "assumed, since nothing was said of it")
    assert (await api.get("/cdrs"))["total"] == 0
    await browser.resize(NARROW)
    await page.is_unharmed()


async def test_what_stands_in_the_editor_is_run_saved_or_not(page: ConsolePage) -> None:
    browser = page.browser
    await page.customer("drafter")
    await page.log_in("drafter")
    await browser.click("#new-dialplan")
    await browser.fill("#dialplan-form [name=source]", REFUSING)
    assert not await browser.text("#replays")
    await browser.click("#dry-run summary")
    await browser.fill("#dry-run-form [name=caller]", f"x@{DOMAIN}")
    await browser.fill("#dry-run-form [name=destination]", f"1{ENTER}")
    await browser.shows("#dry-run-outcome .end", "The caller gets 486 Busy Here after 0 s.")
    await browser.fill("#dialplan-form [name=source]", "x = 1\ny = x // 0\n")
    await dry_run(browser, "1")
    await browser.shows("#dry-run-outcome .end", "The program fails")
    fault = await browser.shows("#dry-run-outcome .faults", "line 2")
    assert "ZeroDivision" in fault
    await browser.click("#dry-run-outcome .faults button")
    chosen = await browser.script(
        "const field = document.activeElement;"
        "return field.value.slice(field.selectionStart, field.selectionEnd)"
    )
    assert chosen == "y = x // 0"
    await browser.fill("#dialplan-form [name=source]", "while True:\n    pass\n")
    await dry_run(browser, "1")
    await browser.shows("#dry-run-outcome .faults", "beyond the limit of time")
    await browser.fill("#dialplan-form [name=source]", f'sys.log("{MARKUP}")')
    await dry_run(browser, "1")
    await browser.shows("#dry-run-outcome .events", MARKUP)
    await page.is_unharmed()
    await browser.click("#close-dialplan")
    await browser.click("#new-dialplan")
    assert await page.value("#dry-run-form [name=destination]") == ""
    assert MARKUP not in await browser.script("return document.body.innerHTML")


async def test_web_servers_enum_callbacks_and_signals_answer_as_the_form_says(
    page: ConsolePage,
) -> None:
    browser = page.browser
    await page.customer("asker")
    await page.log_in("asker")
    await browser.click("#new-dialplan")
    source = "sys.log(sys.web_get('http://there.example/x').body)\nsys.log(sys.enum('+35312345'))\n"
    await browser.fill("#dialplan-form [name=source]", source)
    await browser.click("#dry-run summary")
    await browser.click("#dry-run-form details summary")
    await browser.fill("#dry-run-form [name=caller]", f"x@{DOMAIN}")
    for kind, fields in {
        "web": {"url": "http://there.example/*", "body": "from the web"},
        "enum": {"number": "+35312345", "uri": "sip:enum@example.com"},
        "callbacks": {"provider": "any"},
        "signals": {"key": "k", "value": "v"},
    }.items():
        await browser.click(f"[data-kind={kind}] > button")
        for field, text in fields.items():
            await browser.fill(f"[data-kind={kind}] [data-field={field}]", text)
    await dry_run(browser, "1")
    steps = await browser.shows("#dry-run-outcome .events", "from the web")
    assert "sip:enum@example.com" in steps


async def test_what_is_wrong_is_told_at_its_field(page: ConsolePage) -> None:
    """Also in a part of the form that is folded away."""
    browser = page.browser
    await page.customer("erring")
    await page.log_in("erring")
    await browser.click("#new-dialplan")
    await browser.click("#dry-run summary")
    await browser.fill("#dry-run-form [name=caller]", f"x@{DOMAIN}")
    await browser.script("document.querySelector('#dry-run-form').noValidate = true")
    await add_leg(browser, 1, "a@b", "200", "4")
    await add_leg(browser, 2, "a@b", "42", "4")
    await dry_run(browser, "1")
    wrong = "[data-kind=legs] .row:nth-of-type(2) "
    await browser.shows(f"{wrong}.field-fault", "200")
    await page.focuses("legs.1.status")
    assert not await browser.text("#error")
    await browser.fill(f"{wrong}[data-field=status]", "200")
    await browser.click("#dry-run-form details summary")
    await browser.click("[data-kind=web] > button")
    await browser.fill("[data-kind=web] [data-field=url]", "x")
    await browser.fill("[data-kind=web] [data-field=status]", "42")
    await browser.click("#dry-run-form details summary")
    await dry_run(browser, "1")
    await browser.shows("[data-kind=web] .field-fault", "100")
    assert not await browser.text(f"{wrong}.field-fault")


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (409, '{"detail": "Another dry run is under way."}', "Another dry run is under way."),
        (403, "", "You may not do this."),
        (503, "", "A part of Tandem does not answer. Try again in 5 s."),
    ],
)
async def test_a_dry_run_that_is_refused_says_why_beside_its_form(
    page: ConsolePage, status: int, body: str, told: str
) -> None:
    browser = page.browser
    await page.customer("stopped")
    await page.log_in("stopped")
    await browser.click("#new-dialplan")
    await browser.click("#dry-run summary")
    await browser.fill("#dry-run-form [name=caller]", "x@y")
    await page.answer_with("/dry-run", status, body, wait="5" if status == 503 else "")
    await dry_run(browser, "1")
    await browser.shows("#dry-run-form > .fault", told)
    assert not await browser.text("#dry-run-outcome")
    assert not await browser.text("#error")


# -- replays ---------------------------------------------------------------------------------------


async def made_calls(page: ConsolePage, customer: str) -> tuple[Api, dict[str, Any]]:
    """A customer whose dialplan rings a phone for 100, and refuses all else; one call of each."""
    api = await page.customer(customer)
    source = f"if req.user == '100':\n    sys.dial('{customer}-desk@local')\nelse:\n    {REFUSING}"
    made = await save(api, "office", source)
    await api.add_account(f"{customer}-desk", PHONE_PASSWORD)
    await api.add_account(f"{customer}-boss", PHONE_PASSWORD, out_dialplan="office")
    boss, desk = await page.phone(f"{customer}-boss"), await page.phone(f"{customer}-desk")
    assert (await boss.call("200")).status == 486
    calling = asyncio.create_task(boss.call("100"))
    await (await desk.incoming()).refuse(486)
    assert (await calling).status == 486
    return api, made


async def test_the_last_calls_are_replayed_on_what_stands_in_the_editor(
    page: ConsolePage,
) -> None:
    browser = page.browser
    api, made = await made_calls(page, "again")
    await page.log_in("again")
    await browser.shows("#cdrs", "200@")
    await edit(page, "office")
    await browser.click("#replays summary")
    await browser.click("#replay-last")
    await browser.shows("#replay-said", "0 of 2 calls would go otherwise.")
    await browser.fill("#dialplan-form [name=source]", made["source"].replace("486", "603"))
    await browser.click("#replay-last")
    await browser.shows("#replay-said", "1 of 2 calls would go otherwise.")
    shown = await browser.text("#replayed")
    assert "again-desk@local, 486" in shown
    await page.button_in("#replayed", "differs", "Steps")
    await browser.shows("#replay-outcome .events", "respond 603")
    await browser.click("#close-steps")
    await browser.resize(NARROW)
    await page.is_unharmed()
    assert (await api.get(f"/dialplans/{made['id']}"))["version"] == 1


async def test_one_call_is_replayed_from_its_steps_on_the_version_that_is_chosen(
    page: ConsolePage,
) -> None:
    browser = page.browser
    api, made = await made_calls(page, "chooser")
    await change(api, made, "sys.respond(404, 'Gone')\n")
    await page.log_in("chooser")
    await page.button_in("#cdrs", "200@", "Steps")
    await browser.shows("#replay-call", "Dialplan office")
    choices = await browser.script(
        "return [...document.querySelector('#replay-call').elements.program.options]"
        ".map(o => o.text)"
    )
    assert choices == ["version 2, in use", "version 1, ran for this call"]
    await browser.click("#replay-call button")
    await browser.shows("#replay-outcome .end", "Then: 486. Now: 404: differs.")
    await page.choose("#replay-call [name=program]", "1")
    await browser.click("#replay-call button")
    await browser.shows("#replay-outcome .end", "Then: 486. Now: 486: the same.")
    await browser.click("#close-steps")
    await edit(page, "office")
    await browser.fill("#dialplan-form [name=source]", "sys.respond(480, 'Not saved')\n")
    await page.button_in("#cdrs", "200@", "Steps")
    await browser.shows("#replay-call", "what stands in the editor")
    await browser.click("#replay-call button")
    await browser.shows("#replay-outcome .events", "respond 480 Not saved")
    assert "call.started" in await browser.text("#steps")


async def test_a_call_that_no_dialplan_ran_for_offers_no_replay(page: ConsolePage) -> None:
    browser = page.browser
    api = await page.customer("plain")
    await api.add_account("plain1", PHONE_PASSWORD)
    phone = await page.phone("plain1")
    assert (await phone.call("nobody")).status == 404
    await page.log_in("plain")
    await page.button_in("#cdrs", "nobody@", "Steps")
    await browser.shows("#steps", "call.ended")
    assert not await browser.text("#replay-call")


async def test_a_replay_that_is_refused_says_why_in_the_dialog(page: ConsolePage) -> None:
    browser = page.browser
    await made_calls(page, "halted")
    await page.log_in("halted")
    await page.button_in("#cdrs", "200@", "Steps")
    await browser.shows("#replay-call", "Dialplan office")
    await page.answer_with("/replay", 503, wait="5")
    await browser.click("#replay-call button")
    await browser.shows("#replay-call .fault", "A part of Tandem does not answer.")
    await browser.click("#close-steps")
    await page.answer_with("/dialplans", 503, wait="5")
    await page.button_in("#cdrs", "200@", "Steps")
    await browser.shows("#steps-fault", "A part of Tandem does not answer.")
    await browser.shows("#steps", "call.started")


async def test_an_administrator_replays_a_customers_calls_and_nobody_elses(
    page: ConsolePage,
) -> None:
    """Two customers may have dialplans of one name."""
    browser = page.browser
    await made_calls(page, "namesake1")
    await made_calls(page, "namesake2")
    await page.log_in("admin", ADMIN_PASSWORD)
    await page.button_in("#cdrs", "namesake1-boss", "Steps")
    await browser.shows("#replay-call", "Dialplan office")
    await browser.click("#replay-call button")
    await browser.shows("#replay-outcome .end", "the same.")
    await browser.click("#close-steps")
    wanted = await browser.script(
        """const token = sessionStorage.getItem('tandem-token');
           return fetch('/api/v1/dialplans', {headers: {Authorization: 'Bearer ' + token}})
             .then(answer => answer.json())
             .then(page => page.items.filter(d => d.name === 'office').map(d => d.owner))"""
    )
    await browser.script(
        """[...document.querySelectorAll('#dialplans tbody tr')]
             .filter(row => row.cells[0].textContent === 'office')[arguments[0]]
             .querySelector('button').click()""",
        wanted.index("namesake2"),
    )
    await browser.shows("#version", "by namesake2")
    await browser.click("#replays summary")
    await browser.click("#replay-last")
    await browser.shows("#replay-said", "0 of 2 calls would go otherwise.")
    assert "namesake1" not in await browser.text("#replayed")


# -- versions --------------------------------------------------------------------------------------


async def test_the_version_in_use_is_marked_and_another_one_looked_at_run_and_used(
    page: ConsolePage,
) -> None:
    browser = page.browser
    api = await page.customer("versed")
    made = await save(api, "plan", REFUSING)
    await change(api, made, "sys.respond(404, 'Second')\n")
    await page.log_in("versed")
    await edit(page, "plan")
    assert "2, in use" in await browser.text("#version")
    await page.choose("#version", "1")
    await browser.click("#view-version")
    await browser.shows("#dialplan-title", "as it was in version 1")
    assert await page.value("#dialplan-form [name=source]") == REFUSING
    await browser.click("#dry-run summary")
    await browser.fill("#dry-run-form [name=caller]", "x@y")
    await dry_run(browser, "1")
    await browser.shows("#dry-run-outcome .end", "The caller gets 486")
    assert (await api.get(f"/dialplans/{made['id']}"))["version"] == 2
    await page.answer_with("/rollback", 409, '{"detail": "It was changed meanwhile."}')
    await browser.click("#roll-back")
    await browser.shows("#dialplan-editor > .fault", "It was changed meanwhile.")
    await page.open()
    await page.log_in("versed")
    await edit(page, "plan")
    await page.choose("#version", "1")
    await browser.click("#roll-back")
    await browser.shows("#version", "1, in use")
    assert (await api.get(f"/dialplans/{made['id']}"))["version"] == 1
