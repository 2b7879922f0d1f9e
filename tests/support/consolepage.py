"""The console page in a browser, and customers who use it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from tests.support.api import Api
from tests.support.browser import Browser
from tests.support.switch import Switch
from tests.support.waiting import eventually
from tests.support.wsclient import WebPhone

PASSWORD: Final = "a long password"
"""Of each customer at the page."""
PHONE_PASSWORD: Final = "secret1"
MARKUP: Final = "<img src=x onerror=document.title='owned'>"
WIDE: Final = (1280, 900)
NARROW: Final = (360, 740)
ENTER: Final = "\ue007"
TAB: Final = "\ue004"

_CLICK_IN_ROW: Final = """
for (const row of document.querySelectorAll(arguments[0] + ' tbody tr')) {
  if (!row.textContent.includes(arguments[1])) continue;
  for (const button of row.querySelectorAll('button')) {
    if (button.textContent === arguments[2]) { button.focus(); button.click(); return true; }
  }
}
return false;"""
_ANSWER: Final = """
const [part, method, status, body, wait] = arguments;
window.unanswered ??= window.fetch;
window.fetch = (url, options) => {
  if (!new RegExp(part).test(url) || (method && (options.method ?? 'GET') !== method))
    return window.unanswered(url, options);
  const headers = {'Content-Type': 'application/problem+json'};
  if (wait) headers['Retry-After'] = wait;
  return Promise.resolve(new Response(body, {status, headers}));
};"""


@dataclass
class ConsolePage:
    """A window at the page, and phones that end with the test."""

    browser: Browser
    switch: Switch
    phones: list[WebPhone] = field(default_factory=list)
    apis: list[Api] = field(default_factory=list)

    async def close(self) -> None:
        """End the phones and the customers' connections."""
        for phone in self.phones:
            await phone.close()
        for api in self.apis:
            await api.close()

    async def customer(self, name: str) -> Api:
        """Make a customer unless it is there; its own API."""
        body = {"username": name, "password": PASSWORD}
        made = await self.switch.api.client.post("/api/v1/customers", json=body)
        assert made.status_code in (201, 409), made.text
        api = Api(str(self.switch.api.client.base_url))
        self.apis.append(api)
        await api.log_in(name, PASSWORD)
        return api

    async def open(self) -> None:
        """A fresh page, not logged in."""
        address = str(self.switch.api.client.base_url)
        await self.browser.open(address)
        await self.browser.script("sessionStorage.clear()")
        await self.browser.open(address)

    async def log_in(self, name: str, password: str = PASSWORD, *, stream: str = "live") -> None:
        """Fill in the form and wait for all that is behind it: the event stream comes last."""
        await self.browser.fill("#login [name=username]", name)
        await self.browser.fill("#login [name=password]", password)
        await self.browser.click("#login button")
        await self.browser.shows("#username", name)
        await self.browser.shows("#stream-state", stream)

    async def button_in(self, table: str, row: str, text: str) -> None:
        """Click a button of the first row of a table that has this in it."""
        await self.browser.shows(table, row)
        clicked = await self.browser.script(_CLICK_IN_ROW, table, row, text)
        assert clicked, await self.browser.text(table)

    async def answer_with(
        self, part: str, status: int, body: str = "", *, method: str = "", wait: str = ""
    ) -> None:
        """From now on a server answers this to requests whose URL fits `part`, an expression of
        JavaScript; nothing else is answered so any more."""
        await self.browser.script(_ANSWER, part, method, status, body, wait)

    async def answer_truly(self) -> None:
        """What is there answers again."""
        await self.browser.script("window.fetch = window.unanswered")

    async def gone(self, css: str, text: str) -> None:
        """Wait until an element does not show this any more."""

        async def look() -> bool:
            return text not in await self.browser.text(css)

        await eventually(look, f"{text!r} to leave {css}")

    async def value(self, css: str) -> Any:
        """What is in a field."""
        return await self.browser.script("return document.querySelector(arguments[0]).value", css)

    async def choose(self, css: str, value: str) -> None:
        """Choose in a list, as a person would."""
        chosen = await self.browser.script(
            """const field = document.querySelector(arguments[0]);
               field.value = arguments[1];
               field.dispatchEvent(new Event('change', {bubbles: true}));
               return field.value;""",
            css,
            value,
        )
        assert chosen == value, (css, chosen)

    async def focuses(self, wanted: str) -> None:
        """Wait until what has this text, or else this name, has the focus."""

        async def look() -> bool:
            found = await self.browser.script(
                "const e = document.activeElement; return e.textContent.trim() || e.name || e.id"
            )
            return bool(found == wanted)

        await eventually(look, f"the focus on {wanted!r}")

    async def is_unharmed(self) -> None:
        """Nothing that was typed or sent became markup, and nothing is wider than the window."""
        assert await self.browser.script("return document.title") == "Tandem"
        assert await self.browser.script("return document.images.length") == 0
        widths = "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
        wide = await self.browser.script(widths)
        assert wide[0] <= wide[1]

    async def phone(self, name: str) -> WebPhone:
        """A registered phone on an account that is there."""
        phone = WebPhone(name, PHONE_PASSWORD)
        await phone.connect(self.switch.address("ws"))
        self.phones.append(phone)
        assert (await phone.register()).status == 200
        return phone
