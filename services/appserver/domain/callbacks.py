"""Calls that wait for a provider to call back: what is asked for, and which call is the one."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from tandem.bus.hints import MAX_DOTS, MAX_USERS, NAMELESS
from tandem.dialplan.headers import HTTP_RESERVED
from tandem.sip.address import Address
from tandem.sip.errors import RemoteFault
from tandem.sip.message import Request
from tandem.sip.uri import Uri

MAX_SECONDS: Final = 300
"""Longest wait: a caller hears ringing all the time."""
DEFAULT_SECONDS: Final = 60
MAX_PATTERN: Final = 64
MAX_URL: Final = 2048
MAX_HEADERS: Final = 32
MAX_FIELD: Final = 4096
"""Characters of a name with its value, in a header or a form."""
MAX_BODY: Final = 65_536
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})

_TOKEN_RE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE_RE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class CallbackError(Exception):
    """A callback can't be waited for; the text says why."""


class InvalidCallback(CallbackError):
    """A field makes no sense; the text names it."""


class NoSuchCall(CallbackError):
    """This node has no such call, or no such account is known."""


class NotYours(CallbackError):
    """The call or the account is another customer's."""


class NotWaitable(CallbackError):
    """The call is answered already, or waits already."""


class Unavailable(CallbackError):
    """What has to be known first can't be asked for just now."""


class TooManyWaits(CallbackError):
    """The limit of the node or of the customer is reached."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """An HTTP request that makes a provider call back. It may hold secrets: `host` is all of it
    that may be shown."""

    url: str = field(repr=False)
    method: str = ""
    """Empty: POST when there is a body or a form, else GET."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    form: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def host(self) -> str:
        """Whom it asks."""
        return urlsplit(self.url).hostname or ""

    @property
    def verb(self) -> str:
        """The method that is used."""
        return self.method.upper() or ("POST" if self.body or self.form else "GET")

    def check(self) -> None:
        """Raises InvalidCallback; its text holds none of the values."""
        try:
            url = urlsplit(self.url)
            port_ok = url.port is None or url.port > 0
        except ValueError:
            raise InvalidCallback("trigger.url: not a URL") from None
        if url.scheme.lower() not in ("http", "https") or not url.hostname or not port_ok:
            raise InvalidCallback("trigger.url: must be http://… or https://…")
        if len(self.url) > MAX_URL or not self.url.isprintable() or " " in self.url:
            raise InvalidCallback("trigger.url: too long, or has characters that no URL has")
        if self.verb not in METHODS:
            raise InvalidCallback(f"trigger.method: must be one of {', '.join(sorted(METHODS))}")
        if self.body and self.form:
            raise InvalidCallback("trigger.form: not together with a body")
        if len(self.body) > MAX_BODY or sum(len(n) + len(v) for n, v in self.form) > MAX_BODY:
            raise InvalidCallback(f"trigger.body: more than {MAX_BODY} bytes")
        self._check_headers()

    def _check_headers(self) -> None:
        if len(self.headers) > MAX_HEADERS:
            raise InvalidCallback(f"trigger.headers: more than {MAX_HEADERS}")
        for name, value in self.headers:
            if not _TOKEN_RE.fullmatch(name) or name.lower() in HTTP_RESERVED:
                raise InvalidCallback("trigger.headers: a name that can't be set")
            if not _VALUE_RE.fullmatch(value) or len(name) + len(value) > MAX_FIELD:
                raise InvalidCallback(f"trigger.headers: the value of {name} can't be sent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """What is to be waited for. Exactly one of `call_id` and `account` is set."""

    customer: str
    call_id: str = ""
    """A call of the customer that is not answered yet: its caller is joined."""
    account: str = ""
    """`username@domain` of the customer's: its phones are rung first."""
    trigger: Trigger | None = None
    users: tuple[str, ...] = ()
    """User parts that the callback may be addressed to; none: the customer's accounts."""
    domains: tuple[str, ...] = ()
    """Hosts of the Request-URI, lower case; none: any that is ours."""
    pattern: str = ""
    """Of the caller's user part; empty: anybody outside."""
    seconds: float = DEFAULT_SECONDS
    keeps: bool = False
    """Whether the call of `call_id` goes on if no callback comes; False: it is hung up."""

    def check(self) -> None:
        """Raises InvalidCallback."""
        if not self.customer:
            raise InvalidCallback("customer: must not be empty")
        if bool(self.call_id) == bool(self.account):
            raise InvalidCallback("caller: either call_id or account")
        if self.account and not all(self.account.rpartition("@")[::2]):
            raise InvalidCallback("account: must be username@domain")
        if not 1 <= self.seconds <= MAX_SECONDS:
            raise InvalidCallback(f"timeout_seconds: must be 1 to {MAX_SECONDS}")
        if len(self.users) > MAX_USERS:
            raise InvalidCallback(f"users: more than {MAX_USERS}")
        if not all(0 < len(user) <= 128 and user.isprintable() for user in self.users):
            raise InvalidCallback("users: each must have 1 to 128 printable characters")
        if len(self.pattern) > MAX_PATTERN or not self.pattern.isprintable():
            raise InvalidCallback(f"pattern: at most {MAX_PATTERN} printable characters")
        if self.trigger is not None:
            self.trigger.check()


# -- which call is it? -----------------------------------------------------------------------------


def tails(user: str) -> list[str]:
    """The names that a user part may mean, lower case: `anything.username` is username's too."""
    name = user.lower()
    found = [name]
    for _ in range(MAX_DOTS):
        _, dot, name = name.partition(".")
        if not dot or not name:
            break
        found.append(name)
    return found


def caller_of(request: Request) -> str:
    """The caller's user part: From's, else (there is none, or it is withheld, RFC 3323) that of
    P-Asserted-Identity (RFC 3325); "" for neither."""
    user = _user(request.from_.uri)
    if user and user.lower() != NAMELESS:
        return user
    with suppress(RemoteFault):  # one that makes no sense names nobody
        asserted = Address.parse_list(request.values("p-asserted-identity"))
        return next((name for a in asserted if (name := _user(a.uri))), user)
    return user


def _user(uri: Uri) -> str:
    return uri.unescaped_user if uri.is_sip else uri.opaque.partition(";")[0]


# -- what happens to it ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The call waits, and the proxies know it."""

    call_id: str
    hint: str
    proxies: tuple[str, ...]
    """Those that have acknowledged the hint."""
    silent: tuple[str, ...]
    """Live ones that have not, in time."""
    acknowledged_ms: float
    """From publishing to the last acknowledgement that was waited for."""


@dataclass(frozen=True, slots=True)
class Triggered:
    """The provider was asked."""

    status: int
    """The HTTP status; 0: no answer."""


@dataclass(frozen=True, slots=True)
class Matched:
    """The callback is joined to the caller: the end."""

    caller: str
    """The URI in its From."""
    waited: float
    """Seconds from the trigger to the match."""


@dataclass(frozen=True, slots=True)
class Failed:
    """No callback: the end."""

    reason: str


Step = Waiting | Triggered | Matched | Failed
