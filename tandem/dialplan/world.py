"""What a running dialplan may ask of the world, and what the world answers.

An appserver implements `World` for a call under way, `simulated.py` for a dry run. All methods are
bounded in time. A `World` refuses what makes no sense by `DialplanError`, which the script sees as
an exception of its own language; `Ended` is none of the script's business and ends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class DialplanError(Exception):
    """What the script asked for can't be done; the text says why, for its author."""


class Ended(Exception):
    """Nothing is left for the script to do."""


class DialStatus(StrEnum):
    """What came of dialling (ORIGINAL §3). An answer ends the script, which so sees the others,
    unless it stays."""

    ANSWERED = "answered"
    NO_ANSWER = "no_answer"
    """The ring time is over."""
    FAILED = "failed"
    """Every leg was refused or led nowhere."""
    ERROR = "error"
    """The dial string makes no sense, or there are too many legs."""


@dataclass(frozen=True, slots=True)
class LegResult:
    """What came of one leg."""

    target: str
    """The leg as in the dial string, filled in, options left out."""
    uri: str
    """The Request-URI that was called, "" for a leg that led nowhere."""
    status: int
    """The final SIP status; 408 and 503 may be our own finding."""
    reason: str
    contacts: tuple[str, ...] = ()
    """Where a 3xx pointed to."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a dial."""

    status: DialStatus
    sip_status: int
    """The final status of the best leg of the last attempt; 480 if no leg rang."""
    reason: str
    legs: tuple[LegResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Dial:
    """One dial, and what the script has set for it."""

    text: str
    """The dial string."""
    ring_seconds: float = 0.0
    """Longest ring of each attempt; 0: the switch's own limit (180)."""
    max_seconds: int = 0
    """Longest duration of the answered call; 0: no limit of its own."""
    from_name: str | None = None
    from_user: str | None = None
    from_host: str | None = None
    """From header set by the script, None: untouched. Options of a leg are stronger."""
    headers: tuple[tuple[str, str], ...] = ()
    """Custom headers, checked."""
    body: bytes | None = None
    content_type: str = ""
    """What the INVITE carries in place of the caller's offer."""
    failover: str = ""
    """After which failures the attempt behind a plain `|` is tried (`failover.Policy`); "": all
    but 486 and 6xx."""
    stay: bool = False
    """Whether the script goes on beside the answered call."""
    asterisk_form: bool = False
    """Whether `user,password,destination` is understood (line dialplans)."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a web server said. `status` 0: no answer, and `problem` says why."""

    status: int
    body: str = ""
    content_type: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class HttpQuestion:
    """A request to a web server."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    form: tuple[tuple[str, str], ...] = ()
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class CallbackWish:
    """Have a provider call back and wait for it: the caller is joined to the call that comes."""

    trigger: HttpQuestion | None
    """What makes the provider call; None: somebody else sees to that."""
    provider: str = ""
    """A provider of kind `callback`, whose configuration makes the trigger."""
    destination: str = ""
    """Whom that provider is to call."""
    users: tuple[str, ...] = ()
    """User parts that the callback may be addressed to; none: all of the customer's accounts."""
    pattern: str = ""
    """What the user part of the callback's From must look like."""
    seconds: int = 60


@dataclass(frozen=True, slots=True)
class CallbackOutcome:
    """A callback that did not come, or did: then the script ends."""

    matched: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Contact:
    """One phone of an account."""

    uri: str
    received: str
    user_agent: str
    expires: int


@dataclass(frozen=True, slots=True)
class RunningCall:
    """One of the customer's calls under way."""

    id: str
    caller: str
    destination: str
    state: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """The request that a dialplan runs for: what scripts see as `req`, and what the run is."""

    direction: str
    """`out` for a call of one of the owner's accounts, `in` for a call to one."""
    customer: str
    account: str = ""
    """`username@domain` of the account that calls or is called."""
    method: str = "INVITE"
    uri: str
    """The Request-URI."""
    user: str
    """Its user part."""
    host: str
    from_name: str = ""
    from_user: str = ""
    from_host: str = ""
    from_uri: str = ""
    to_uri: str = ""
    call_id: str = ""
    user_agent: str = ""
    source: str = ""
    """`udp:203.0.113.7:5060`."""
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """All other headers by lower-case name, without credentials."""
    body: str = ""


class World(Protocol):
    """What a script can do. `customer` is who it belongs to: all look-ups are his."""

    async def dial(self, dial: Dial) -> Outcome:
        """Ring; an answer raises Ended, unless `dial.stay`: then the end of the call does, in
        whatever the script waits for by then. Raises DialplanError for a bad dial string."""

    async def transfer(self, dial: Dial) -> Outcome:
        """Have somebody take the place of who answered a dial with `stay`, who stays until then; an
        answer raises Ended. Raises DialplanError if it can't begin."""

    async def hang_up(self) -> None:
        """End the call that was answered: raises Ended."""

    async def respond(self, status: int, reason: str, headers: Sequence[tuple[str, str]]) -> None:
        """Send a provisional answer; a final one (300 and above) raises Ended."""

    async def log(self, text: str) -> None:
        """Tell the customer's consoles."""

    async def callback(self, first: str, second: str, delay: float) -> None:
        """Ring `first`, then `second`, and join them; goes on without waiting for it."""

    async def wait_for_callback(self, wish: CallbackWish) -> CallbackOutcome:
        """Have a provider call back; a match raises Ended."""

    async def bindings(self, user: str, domain: str) -> list[Contact]:
        """The phones of an account of the customer's own; [] for others'."""

    async def is_available(self, user: str, domain: str) -> bool:
        """Whether an account has a phone."""

    async def account_exists(self, user: str, domain: str) -> bool:
        """Whether there is such an account."""

    async def is_mine(self, user: str, domain: str) -> bool:
        """Whether it is the customer's."""

    async def canonical_domain(self, domain: str) -> str:
        """The canonical name of a serviced domain or alias, "" for none."""

    async def enum(self, number: str, zone: str) -> str:
        """The URI that ENUM (RFC 6116) has for a number, "" for none."""

    async def http(self, question: HttpQuestion) -> HttpAnswer:
        """Ask a web server; never one on a private address."""

    async def email(self, to: Sequence[str], subject: str, body: str) -> None:
        """Send a mail by the operator's server."""

    async def read(self, key: str) -> str | None:
        """A value of the customer's store."""

    async def write(self, key: str, value: str) -> None:
        """Set one."""

    async def delete(self, key: str) -> bool:
        """Remove one; whether it was there."""

    async def keys(self) -> list[str]:
        """All keys."""

    async def current_calls(self) -> list[RunningCall]:
        """The customer's calls under way, on all servers as far as is known."""

    async def wait_for_signal(self, key: str, seconds: float) -> str | None:
        """What a voice application hands back under this key (POST /api/v1/signals/KEY); None
        if nothing came in time."""

    async def sleep(self, seconds: float) -> None:
        """Let time go by: `time.sleep` of a script."""

    def now(self) -> float:
        """Unix time in seconds."""
