"""Having a provider call back: the request that makes it, and the wait for the call.

A provider of the kind `callback` says how it is asked. `generic`: one HTTP request.
`google-voice`: what the service of that name wanted in 2010 (ORIGINAL §4), three requests to log
in, and a fourth that makes the call.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from services.appserver.domain.callbacks import (
    Callback,
    CallbackError,
    Failed,
    InvalidCallback,
    Matched,
    Trigger,
)
from services.appserver.handlers.dialplans.flight import ANSWERED, Flight
from services.appserver.handlers.dialplans.services import Services
from tandem.bus.dialplan_events import DialplanAsked
from tandem.dialplan.world import (
    CallbackOutcome,
    CallbackWish,
    DialplanError,
    Ended,
    HttpQuestion,
    Incoming,
)
from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.programs import CallbackForm, Provider

if TYPE_CHECKING:
    from services.appserver.handlers.dialplans.world import LiveWorld

STEP_SECONDS: Final = 5.0
"""For each request of a log-in (ORIGINAL §4)."""
MAX_COOKIES: Final = 50

_PLACE_RE: Final = re.compile(r"\$\{(destination|username|password)\}")
# Who made the pages need not mean well: what may stand between is bounded, so that no page takes
# long to search.
_GALX_RE: Final = re.compile(
    r"name=[\"']GALX[\"'][^>]{0,256}?value=[\"']([^\"']{1,256})[\"']", re.S
)
_TOKEN_RE: Final = re.compile(
    r"_rnr_se[\"'][^>]{0,64}?(?:value=|:\s{0,8})[\"']([^\"']{1,256})[\"']", re.S
)


async def wait(
    services: Services, world: LiveWorld, flight: Flight, req: Incoming, wish: CallbackWish
) -> CallbackOutcome:
    """Wait for the call. A match raises Ended; whatever else happens, the script goes on."""
    wanted = Callback(
        customer=req.customer,
        call_id=flight.call_id,
        trigger=_trigger(wish.trigger),
        users=wish.users,
        pattern=wish.pattern,
        seconds=wish.seconds,
        keeps=True,
    )
    if wish.provider:
        provider = await _provider(services, req.customer, wish.provider)
        form = provider.callback
        assert form is not None
        try:
            trigger = await _asking(services, provider, form, wish.destination)
        except _Refused as why:
            world.publish(DialplanAsked, what="callback", target=provider.name, result=str(why))
            return CallbackOutcome(False, str(why))
        wanted = replace(
            wanted,
            trigger=trigger,
            users=form.users,
            pattern=wish.pattern or form.pattern,
            seconds=min(wish.seconds, form.seconds) or wish.seconds,
        )
    return await _wait(services, flight, wanted)


async def _wait(services: Services, flight: Flight, wanted: Callback) -> CallbackOutcome:
    reason = "no callback"
    try:
        async with aclosing(services.callbacks.run(wanted)) as steps:
            async for step in steps:
                if isinstance(step, Matched):
                    flight.end(ANSWERED)
                    raise Ended("callback matched")
                if isinstance(step, Failed):
                    reason = step.reason
    except InvalidCallback as fault:
        raise DialplanError(str(fault).removeprefix("trigger.")) from None
    except CallbackError as error:
        reason = str(error)
    return CallbackOutcome(False, reason)


def _trigger(question: HttpQuestion | None) -> Trigger | None:
    if question is None:
        return None
    return Trigger(question.url, question.method, question.headers, question.body, question.form)


async def _provider(services: Services, customer: str, name: str) -> Provider:
    try:
        found = await services.lookups.providers(customer)
    except DirectoryUnavailable:
        raise DialplanError("providers are not known just now; try again later") from None
    provider = next((each for each in found if each.name.lower() == name.lower()), None)
    if provider is None:
        raise DialplanError(f"there is no provider {name}")
    if provider.callback is None:
        raise DialplanError(f'provider {name} does not call back: use sys.dial("…@{name}")')
    if not (provider.enabled and provider.owner_enabled):
        raise DialplanError(f"provider {name} is disabled")
    return provider


# -- how it is asked -------------------------------------------------------------------------------


class _Refused(Exception):
    """The provider could not be asked; the text says why, without secrets."""


async def _asking(
    services: Services, provider: Provider, form: CallbackForm, destination: str
) -> Trigger:
    """The request that makes the provider call."""
    if form.kind == "google-voice":
        base = (form.url or services.tools.config.google_voice_url).rstrip("/")
        return await _SignIn(services, base, provider.owner).trigger(provider, form, destination)
    values = {
        "destination": destination,
        "username": provider.username,
        "password": provider.password,
    }

    def filled(text: str, *, escape: bool = False) -> str:
        def value(match: re.Match[str]) -> str:
            found = values[match[1]]
            return quote(found, safe="") if escape else found

        return _PLACE_RE.sub(value, text)

    return Trigger(
        url=filled(form.url, escape=True),
        method=form.method,
        headers=tuple((name, filled(value)) for name, value in form.headers),
        body=filled(form.body).encode(),
        form=tuple((name, filled(value)) for name, value in form.fields),
    )


@dataclass(slots=True)
class _SignIn:
    """A log-in by forms, with cookies, as a browser did it."""

    services: Services
    base: str
    customer: str
    cookies: dict[str, str] = field(default_factory=dict)

    async def trigger(self, provider: Provider, form: CallbackForm, destination: str) -> Trigger:
        """Log in, and say what makes the call."""
        page = await self._fetch("GET", "/accounts/ServiceLogin")
        galx = _found(_GALX_RE, page, "its log-in page has no GALX")
        await self._fetch(
            "POST",
            "/accounts/ServiceLoginAuth?service=grandcentral",
            (("Email", provider.username), ("Passwd", provider.password), ("GALX", galx)),
        )
        page = await self._fetch("GET", "/voice")
        token = _found(_TOKEN_RE, page, "the log-in was refused: no _rnr_se")
        fields = (
            ("outgoingNumber", destination),
            ("forwardingNumber", form.number),
            ("subscriberNumber", "undefined"),
            ("remember", "0"),
            ("_rnr_se", token),
            ("phoneType", str(form.phone_type)),
        )
        return self._request("POST", "/voice/call/connect", fields)

    def _request(self, method: str, path: str, fields: Sequence[tuple[str, str]] = ()) -> Trigger:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = (("Cookie", cookies),) if cookies else ()
        return Trigger(f"{self.base}{path}", method, headers, form=tuple(fields))

    async def _fetch(self, method: str, path: str, fields: Sequence[tuple[str, str]] = ()) -> str:
        request = self._request(method, path, fields)
        try:
            request.check()
        except InvalidCallback as fault:
            raise _Refused(str(fault).removeprefix("trigger.")) from None
        page = await self.services.web.fetch(request, STEP_SECONDS, self.customer)
        if not 200 <= page.status < 400:
            said = f"answered {page.status}" if page.status else page.problem
            raise _Refused(f"{request.host}: {said}")
        for cookie in page.cookies[:MAX_COOKIES]:
            name, equals, value = cookie.partition(";")[0].partition("=")
            if equals and len(self.cookies) < MAX_COOKIES:
                self.cookies[name.strip()] = value.strip()
        return page.body.decode("utf-8", "replace")


def _found(pattern: re.Pattern[str], page: str, otherwise: str) -> str:
    match = pattern.search(page)
    if match is None:
        raise _Refused(otherwise)
    return match[1]
