"""`sys`, as scripts of every language see it: thin over `world.World`, and the only thing of the
switch that they see. What they hand over is checked here; `stub.pyi` is the same as text for
authors and for the type checker, and a test holds the two together.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from importlib.resources import files
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tandem.dialplan import checks, numbers
from tandem.dialplan.dialstring import one_leg
from tandem.dialplan.headers import MAX_HEADERS, RESERVED
from tandem.dialplan.outside import MAX_KEY, Outside, count
from tandem.dialplan.script import Dialplan
from tandem.dialplan.world import (
    CallbackWish,
    Contact,
    Dial,
    DialplanError,
    DialStatus,
    Incoming,
    LegResult,
    Outcome,
    RunningCall,
    World,
)

MAX_DIAL_STRING: Final = 4_096
MAX_RING_SECONDS: Final = 180
MAX_CALL_SECONDS: Final = 86_400
MAX_LOG: Final = 1_024
"""Characters of one line; more is cut off."""
MAX_LOGS: Final = 200
"""Lines of one run; what comes after is dropped, and that is said once."""
MAX_TRANSFERS: Final = 20
"""Transfers that a run begins: each is a call with a record."""
MAX_CALLBACKS: Final = 3
MAX_LISTS: Final = 50
"""Times that a run may ask for the calls under way: all of a node are gone through for it."""
MAX_CALLBACK_DELAY: Final = 15
MAX_CALLBACK_SECONDS: Final = 60
MAX_BODY: Final = 8_192
MAX_SIGNAL_SECONDS: Final = 600

ATTRIBUTES: Final = frozenset({
    "username", "dialplan_name", "account", "timezone", "is_out", "is_in",
    "last_status", "last_reason", "last_legs",
})  # fmt: skip
"""What a script may read of `sys`."""

CONSTANT: Final = ATTRIBUTES - {"last_status", "last_reason", "last_legs"}
"""What of it stays the same during a run."""

METHODS: Final = frozenset({
    "dial", "transfer", "hang_up", "respond", "log",
    "callback", "provider_callback", "wait_for_callback", "wait_for_signal",
    "is_available", "account_exists", "bindings", "is_mine", "canonical_domain",
    "set_from", "clear_from", "set_header", "remove_header", "clear_headers", "custom_headers",
    "set_body", "clear_body", "enum", "web_get", "web_post", "email",
    "read", "write", "delete", "keys", "current_calls", "now", "e164",
})  # fmt: skip
"""What a script may call."""

WAITING: Final = frozenset({
    "dial", "transfer", "provider_callback", "wait_for_callback", "wait_for_signal",
})  # fmt: skip
"""Methods whose time does not count as the script's."""

REQUEST: Final = (
    "method uri user host from_name from_user from_host from_uri to_uri call_id user_agent source"
    " headers body".split()
)
"""What a script may read of `req`."""


def stub() -> str:
    """The declarations of `sys` and `req` for a type checker."""
    return files("tandem.dialplan").joinpath("stub.pyi").read_text("utf-8")


class Sys(Outside):
    """The host object of one run."""

    def __init__(self, world: World, req: Incoming, dialplan: Dialplan) -> None:
        super().__init__(world, dialplan)
        self.req = req
        self._set = Dial("")
        self._last: Outcome | None = None
        self._logs = self._callbacks = self._transfers = self._lists = 0
        self._up = False
        """Whether somebody has answered, and the script goes on beside the call."""

    # -- what is known -------------------------------------------------------------------------

    @property
    def username(self) -> str:
        """The customer whose dialplan this is."""
        return self.req.customer

    @property
    def dialplan_name(self) -> str:
        """The name of the dialplan that runs."""
        return self.dialplan.name

    @property
    def account(self) -> str:
        """The account that calls or is called, `username@domain`."""
        return self.req.account

    @property
    def timezone(self) -> str:
        """The customer's time zone, an IANA name."""
        return self.dialplan.timezone

    @property
    def is_out(self) -> bool:
        """Whether one of the customer's accounts calls."""
        return self.req.direction == "out"

    @property
    def is_in(self) -> bool:
        """Whether one of the customer's accounts is called."""
        return self.req.direction == "in"

    @property
    def last_status(self) -> int:
        """The SIP status of the last dial; 0 before the first."""
        return self._last.sip_status if self._last else 0

    @property
    def last_reason(self) -> str:
        """The reason of the last dial."""
        return self._last.reason if self._last else ""

    @property
    def last_legs(self) -> list[LegResult]:
        """What became of each leg of the last dial."""
        return [_for_scripts(leg) for leg in self._last.legs] if self._last else []

    # -- the call ------------------------------------------------------------------------------

    async def dial(
        self,
        destination: str,
        ring_seconds: float = 0,
        max_seconds: int = 0,
        failover: str = "",
        stay: bool = False,
    ) -> str:
        """Ring; an answer ends the script, unless it stays beside the call."""
        self._waits("to be dialled for: use sys.transfer")
        dial = self._dial(destination, ring_seconds, max_seconds, failover, stay)
        self._last = await self.world.dial(dial)
        self._up = self._last.status is DialStatus.ANSWERED
        return self._last.status.value

    async def transfer(
        self, destination: str, ring_seconds: float = 0, max_seconds: int = 0, failover: str = ""
    ) -> str:
        """Ring somebody in place of who answered; an answer ends the script."""
        self._talks("be transferred: dial with stay=True first")
        dial = self._dial(destination, ring_seconds, max_seconds, failover)
        self._transfers = count(self._transfers, MAX_TRANSFERS, "transfers")
        self._last = await self.world.transfer(dial)
        return self._last.status.value

    async def hang_up(self) -> None:
        """End the answered call, and the script."""
        self._talks("be hung up on: use sys.respond")
        await self.world.hang_up()

    def _dial(
        self,
        destination: object,
        ring_seconds: object,
        max_seconds: object,
        failover: object,
        stay: object = False,
    ) -> Dial:
        return replace(
            self._set,
            text=checks.line(destination, "the dial string", MAX_DIAL_STRING, least=1),
            ring_seconds=checks.number(ring_seconds, "ring_seconds", 0, MAX_RING_SECONDS),
            max_seconds=checks.whole(max_seconds, "max_seconds", 0, MAX_CALL_SECONDS),
            failover=checks.line(failover, "failover", 256),
            stay=checks.flag(stay, "stay"),
        )

    def _waits(self, what: str) -> None:
        """Raises DialplanError once the caller has somebody to talk to."""
        if self._up:
            raise DialplanError(f"the caller talks already, and does not wait {what}")

    def _talks(self, what: str) -> None:
        """Raises DialplanError until then."""
        if not self._up:
            raise DialplanError(f"nobody has answered yet who could {what}")

    async def respond(
        self, status: int, reason: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer the caller; 300 and above ends the script."""
        self._waits("for an answer: use sys.hang_up")
        code = checks.whole(status, "the status", 101, 699)
        if 200 <= code <= 299:
            raise DialplanError("a 2xx answer is for who is called, not for a dialplan")
        text = checks.line(reason, "the reason", 128)
        barred = checks.ANSWER_HEADERS if 300 <= code <= 399 else RESERVED
        await self.world.respond(code, text, checks.headers(headers, barred))

    async def callback(self, first: str, second: str, delay_seconds: float = 0) -> None:
        """Ring `first`, then `second`, and join them, while the script goes on."""
        one = checks.line(first, "the first destination", MAX_DIAL_STRING, least=1)
        two = checks.line(second, "the second destination", MAX_DIAL_STRING, least=1)
        delay = checks.number(delay_seconds, "delay_seconds", 0, MAX_CALLBACK_DELAY)
        self._callbacks = count(self._callbacks, MAX_CALLBACKS, "callbacks")
        await self.world.callback(one, two, delay)

    async def provider_callback(
        self, provider: str, destination: str, pattern: str = "", seconds: int = 60
    ) -> str:
        """Have a provider of kind `callback` call back; a match ends the script."""
        wish = CallbackWish(
            None,
            provider=checks.line(provider, "the provider", 64, least=1),
            destination=checks.line(destination, "the destination", 128, least=1),
            pattern=checks.pattern(pattern),
            seconds=checks.whole(seconds, "seconds", 3, MAX_CALLBACK_SECONDS),
        )
        return await self._wait(wish)

    async def wait_for_callback(
        self,
        url: str = "",
        method: str = "",
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        body: str = "",
        users: list[str] | None = None,
        pattern: str = "",
        seconds: int = 60,
    ) -> str:
        """Ask a web server to have somebody call back; a match ends the script."""
        trigger = self.question(method, url, headers, form, body, 10) if url else None
        wish = CallbackWish(
            trigger,
            users=tuple(checks.sip_user(u) for u in checks.lines(users, "users", 10, 128)),
            pattern=checks.pattern(pattern),
            seconds=checks.whole(seconds, "seconds", 3, MAX_CALLBACK_SECONDS),
        )
        return await self._wait(wish)

    async def _wait(self, wish: CallbackWish) -> str:
        self._waits("for a callback")
        self.count_question()
        return (await self.world.wait_for_callback(wish)).reason or "no callback"

    async def wait_for_signal(self, key: str, seconds: float = 60) -> str | None:
        """What a voice application hands back under this key; None if nothing comes in time."""
        name = checks.line(key, "the key", MAX_KEY, least=1)
        longest = checks.number(seconds, "seconds", 0, MAX_SIGNAL_SECONDS)
        return await self.world.wait_for_signal(name, longest)

    async def log(self, text: object) -> None:
        """Tell the customer's consoles."""
        if not isinstance(text, str | int | float | bool | None):
            raise DialplanError("log takes text; use an f-string to show anything else")
        self._logs += 1
        if self._logs <= MAX_LOGS:
            line = str(text)
            cut = line if len(line) <= MAX_LOG else line[: MAX_LOG - 1] + "…"
            await self.world.log(cut.encode("utf-8", "replace").decode())
        elif self._logs == MAX_LOGS + 1:
            await self.world.log(f"more than {MAX_LOGS} lines: the rest is left out")

    # -- accounts ------------------------------------------------------------------------------

    async def is_available(self, user: str = "", domain: str = "") -> bool:
        """Whether an account has a phone."""
        return await self.world.is_available(*self._account(user, domain))

    async def account_exists(self, user: str, domain: str = "") -> bool:
        """Whether there is such an account."""
        return await self.world.account_exists(*self._account(user, domain))

    async def bindings(self, user: str = "", domain: str = "") -> list[Contact]:
        """The phones of one of the customer's accounts."""
        return await self.world.bindings(*self._account(user, domain))

    async def is_mine(self, user: str, domain: str = "") -> bool:
        """Whether an account is the customer's."""
        return await self.world.is_mine(*self._account(user, domain))

    async def canonical_domain(self, domain: str) -> str:
        """The canonical name of a domain of the switch, "" for others."""
        return await self.world.canonical_domain(checks.host(domain, "the domain"))

    def _account(self, user: object, domain: object) -> tuple[str, str]:
        """The account that is meant: without a user the one that calls or is called; without a
        domain one in that one's domain."""
        own, _, home = self.req.account.rpartition("@")
        if user == "" and not own:
            raise DialplanError("name a user: this call belongs to no account")
        return (
            checks.sip_user(user) if user != "" else own,
            checks.host(domain, "the domain") if domain != "" else home or "local",
        )

    async def current_calls(self) -> list[RunningCall]:
        """The customer's calls under way."""
        self._lists = count(self._lists, MAX_LISTS, "lists of calls")
        return await self.world.current_calls()

    # -- what the next dials carry -------------------------------------------------------------

    async def set_from(
        self, name: str | None = None, user: str | None = None, host: str | None = None
    ) -> None:
        """Set the From header of the dials that follow."""
        self._set = replace(
            self._set,
            from_name=None if name is None else checks.line(name, "the name", 128).strip(),
            from_user=None if user is None else checks.sip_user(user),
            from_host=None if host is None else checks.host(host),
        )

    async def clear_from(self) -> None:
        """Leave From as the caller has it."""
        self._set = replace(self._set, from_name=None, from_user=None, from_host=None)

    async def set_header(self, name: str, value: str) -> None:
        """Add a header to the dials that follow, in place of one of the same name."""
        one = checks.header(name, value)
        kept = self._headers_without(one[0])
        if len(kept) >= MAX_HEADERS:
            raise DialplanError(f"too many headers: {MAX_HEADERS} at most")
        self._set = replace(self._set, headers=(*kept, one))

    async def remove_header(self, name: str) -> None:
        """Take back a header that was set."""
        known = checks.header_name(name)
        self._set = replace(self._set, headers=self._headers_without(known))

    async def clear_headers(self) -> None:
        """Take back all headers that were set."""
        self._set = replace(self._set, headers=())

    async def custom_headers(self) -> list[str]:
        """The headers that are set."""
        return [f"{name}: {value}" for name, value in self._set.headers]

    def _headers_without(self, name: str) -> tuple[tuple[str, str], ...]:
        return tuple(h for h in self._set.headers if h[0].lower() != name.lower())

    async def set_body(self, body: str, content_type: str = "application/sdp") -> None:
        """Set the body of the dials that follow, in place of the caller's offer."""
        content = checks.text(body, "the body", MAX_BODY, least=1).encode()
        self._set = replace(self._set, body=content, content_type=checks.mime_type(content_type))

    async def clear_body(self) -> None:
        """Send the caller's offer again."""
        self._set = replace(self._set, body=None, content_type="")

    # -- small things --------------------------------------------------------------------------

    async def now(self) -> datetime.datetime:
        """The time in the customer's zone."""
        return self.local_now()

    async def e164(self, number: str, region: str = "") -> str:
        """A telephone number as `+442079460123`, "" for what is none."""
        text = checks.line(number, "the number", 64)
        return numbers.e164(text, checks.line(region, "the region", 2))

    def local_now(self) -> datetime.datetime:
        """The same for runners: the clock that a script sees."""
        try:
            zone: datetime.tzinfo = ZoneInfo(self.dialplan.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            zone = datetime.UTC
        return datetime.datetime.fromtimestamp(self.world.now(), zone)


def method(sys: Sys, name: str) -> Callable[..., Awaitable[Any]]:
    """What a script may call by this name. Raises AttributeError for anything else."""
    if name not in METHODS:
        raise AttributeError(f"sys has no method {name!r}")
    found: Callable[..., Awaitable[Any]] = getattr(sys, name)
    return found


def _for_scripts(leg: LegResult) -> LegResult:
    """What came of a leg. A script may dial a contact as it is."""
    contacts = tuple(filter(None, map(one_leg, leg.contacts)))
    return leg if contacts == leg.contacts else replace(leg, contacts=contacts)
