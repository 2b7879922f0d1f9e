"""The half of `sys` that has nothing to do with calls: web servers, mail, ENUM and the customer's
key/value store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlencode

from tandem.dialplan import checks
from tandem.dialplan.dialstring import one_leg
from tandem.dialplan.script import Dialplan
from tandem.dialplan.world import DialplanError, HttpAnswer, HttpQuestion, World

MAX_QUESTIONS: Final = 20
"""Requests to web servers in one run, triggers of callbacks included; and as many ENUM look-ups."""
MAX_WEB_SECONDS: Final = 60
MAX_WEB_CHARS: Final = 8_192
"""Of what is sent and of what is given to the script."""
MAX_URL: Final = 2_048
MAX_MAILS: Final = 3
MAX_ADDRESSEES: Final = 5
MAX_SUBJECT: Final = 256
MAX_MAIL: Final = 2_048
MAX_WRITES: Final = 100
"""Changes of stored values in one run, as many as there are keys: each is a transaction of the
database that all customers share."""
MAX_KEY: Final = 64
MAX_VALUE: Final = 1_024


class Outside:
    """What a run may ask of others."""

    def __init__(self, world: World, dialplan: Dialplan) -> None:
        self.world = world
        self.dialplan = dialplan
        self._questions = self._mails = self._writes = self._enums = 0

    # -- the world outside ---------------------------------------------------------------------

    async def enum(self, number: str, zone: str = "e164.arpa") -> str:
        """The URI that ENUM has for a number, "" for none."""
        digits = checks.line(number, "the number", 64, least=1)
        self._enums = count(self._enums, MAX_QUESTIONS, "ENUM look-ups")
        return one_leg(await self.world.enum(digits, checks.host(zone, "the zone")))

    async def web_get(
        self,
        url: str,
        seconds: float = 10,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> HttpAnswer:
        """Ask a web server."""
        query = urlencode(checks.fields(params, "params", MAX_URL))
        if query:
            url = checks.line(url, "the URL", MAX_URL, least=1)
            url += ("&" if "?" in url else "?") + query
        return await self._ask(self.question("GET", url, headers, None, "", seconds))

    async def web_post(
        self,
        url: str,
        body: str = "",
        content_type: str = "text/plain",
        form: Mapping[str, str] | None = None,
        seconds: float = 10,
        headers: Mapping[str, str] | None = None,
    ) -> HttpAnswer:
        """Send a body or a form to a web server."""
        question = self.question("POST", url, headers, form, body, seconds)
        if body:
            kind = ("Content-Type", checks.mime_type(content_type))
            question = replace(question, headers=(*question.headers, kind))
        return await self._ask(question)

    async def _ask(self, question: HttpQuestion) -> HttpAnswer:
        self.count_question()
        answer = await self.world.http(question)
        return replace(answer, body=answer.body[:MAX_WEB_CHARS])

    def question(
        self,
        method: object,
        url: object,
        headers: object,
        form: object,
        body: object,
        seconds: object,
    ) -> HttpQuestion:
        where = checks.line(url, "the URL", MAX_URL, least=1)
        if not where.lower().startswith(("http://", "https://")):
            raise DialplanError("the URL must begin with http:// or https://")
        if body and form:
            raise DialplanError("either a body or a form, not both")
        return HttpQuestion(
            method=checks.line(method, "the method", 16).upper(),
            url=where,
            headers=checks.headers(headers, checks.WEB_HEADERS),
            body=checks.text(body, "the body", MAX_WEB_CHARS).encode(),
            form=checks.fields(form, "the form", MAX_WEB_CHARS),
            seconds=checks.number(seconds, "seconds", 0.1, MAX_WEB_SECONDS),
        )

    async def email(self, to: str | list[str], subject: str, body: str) -> None:
        """Send a mail by the operator's server."""
        if not self.dialplan.may_email:
            raise DialplanError("mails are not allowed: the operator has to allow them to you")
        addressees = checks.mail_addresses(to, MAX_ADDRESSEES)
        about = checks.line(subject, "the subject", MAX_SUBJECT)
        content = checks.text(body, "the mail", MAX_MAIL)
        self._mails = count(self._mails, MAX_MAILS, "mails")
        await self.world.email(addressees, about, content)

    # -- the key/value store -------------------------------------------------------------------

    async def read(self, key: str) -> str | None:
        """The value of a key, None for none."""
        return await self.world.read(checks.line(key, "the key", MAX_KEY, least=1))

    async def write(self, key: str, value: str) -> None:
        """Set the value of a key."""
        name = checks.line(key, "the key", MAX_KEY, least=1)
        content = checks.text(value, "the value", MAX_VALUE)
        self._count_write()
        await self.world.write(name, content)

    async def delete(self, key: str) -> bool:
        """Remove a key; whether it was there."""
        name = checks.line(key, "the key", MAX_KEY, least=1)
        self._count_write()
        return await self.world.delete(name)

    async def keys(self) -> list[str]:
        """All keys in use."""
        return await self.world.keys()

    def _count_write(self) -> None:
        self._writes = count(self._writes, MAX_WRITES, "changes of stored values")

    def count_question(self) -> None:
        """One more request to a web server."""
        self._questions = count(self._questions, MAX_QUESTIONS, "requests to web servers")


def count(so_far: int, most: int, what: str) -> int:
    """One more than so far. Raises DialplanError over the limit."""
    if so_far >= most:
        raise DialplanError(f"too many {what} in one run: {most} at most")
    return so_far + 1
