"""What a dialplan sees: `sys`, the switch, and `req`, the request that it runs for."""

import datetime
from typing import Final, Literal

class Leg:
    """What came of one leg of a dial."""

    target: Final[str]
    """The leg as in the dial string, filled in, without options."""
    uri: Final[str]
    """The Request-URI that was called, "" for a leg that led nowhere."""
    status: Final[int]
    """The final SIP status."""
    reason: Final[str]
    """Its reason."""
    contacts: Final[tuple[str, ...]]
    """Where a redirection (3xx) pointed to. Each can be dialled as it is: those that would call
    through one of your providers are left out."""

class Binding:
    """One phone of an account."""

    uri: Final[str]
    """The Contact that it registered."""
    received: Final[str]
    """The address that its registration came from."""
    user_agent: Final[str]
    """What it calls itself."""
    expires: Final[int]
    """Seconds until the registration ends."""

class Call:
    """A call under way."""

    id: Final[str]
    """Its id, as in events and records."""
    caller: Final[str]
    """The URI that calls."""
    destination: Final[str]
    """The URI that is called."""
    state: Final[str]
    """`setup` or `answered`."""
    seconds: Final[float]
    """Since it began."""

class WebAnswer:
    """What a web server said."""

    status: Final[int]
    """The HTTP status, 0 for no answer."""
    body: Final[str]
    """At most 8192 characters of it."""
    content_type: Final[str]
    """Such as `application/json`."""
    problem: Final[str]
    """Why there is no answer."""

class Request:
    """The request that the dialplan runs for."""

    method: Final[str]
    """`INVITE`."""
    uri: Final[str]
    """The Request-URI."""
    user: Final[str]
    """Its user part: the number that was dialled, or the account that is called."""
    host: Final[str]
    """Its host."""
    from_name: Final[str]
    """The caller's display name."""
    from_user: Final[str]
    """The user part of the caller's URI."""
    from_host: Final[str]
    """Its host."""
    from_uri: Final[str]
    """The caller's URI."""
    to_uri: Final[str]
    """The URI in To."""
    call_id: Final[str]
    """The Call-ID."""
    user_agent: Final[str]
    """What the caller's phone calls itself."""
    source: Final[str]
    """Where it came from: `udp:203.0.113.7:5060`."""
    headers: Final[dict[str, tuple[str, ...]]]
    """All other headers: values by lower-case name."""
    body: Final[str]
    """The body, as a rule an SDP offer."""

class Sys:
    """The switch."""

    username: Final[str]
    """The customer whose dialplan this is."""
    dialplan_name: Final[str]
    """The name of the dialplan that runs."""
    account: Final[str]
    """The account that calls or is called, `username@domain`."""
    timezone: Final[str]
    """The customer's time zone: `Europe/Dublin`."""
    is_out: Final[bool]
    """Whether one of the customer's accounts calls."""
    is_in: Final[bool]
    """Whether one of the customer's accounts is called."""
    last_status: Final[int]
    """The SIP status of the last dial, 0 before the first."""
    last_reason: Final[str]
    """The reason of the last dial."""
    last_legs: Final[list[Leg]]
    """What came of each leg of the last dial."""

    def dial(
        self,
        destination: str,
        ring_seconds: float = 0,
        max_seconds: int = 0,
        failover: str = "",
        stay: bool = False,
    ) -> Literal["answered", "no_answer", "failed", "error"]:
        """Ring a dial string. An answer ends the script; else it says what came of it: nobody
        answered in time, every leg was refused, or the string makes no sense. `ring_seconds` is
        the longest ring of each attempt (at most 180), `max_seconds` the longest duration of the
        answered call, `failover` after which failures the attempt behind `|` is made. With `stay`
        the script goes on after an answer (`answered`), until the call ends."""

    def transfer(
        self, destination: str, ring_seconds: float = 0, max_seconds: int = 0, failover: str = ""
    ) -> Literal["no_answer", "failed", "error"]:
        """Ring a dial string for the caller, who talks to who answered a dial with `stay`. Who
        answers now takes that one's place, and the script ends; until then, and if nobody does,
        the call is as it was. At most 20 of a run."""

    def hang_up(self) -> None:
        """End a call that was answered by a dial with `stay`, and the script."""

    def respond(self, status: int, reason: str = "", headers: dict[str, str] | None = None) -> None:
        """Answer the caller: 101 to 199 is progress, 300 to 699 ends the call and the script. A
        redirection names its `Contact` in `headers`."""

    def log(self, text: str | float | bool | None) -> None:
        """Show a line on the consoles and in the call's steps. `print()` does the same."""

    def callback(self, first: str, second: str, delay_seconds: float = 0) -> None:
        """Ring `first`, then `second`, and join them, while the script goes on; begins after
        `delay_seconds` (at most 15). `first` sees the other party calling, `second` sees
        `first`."""

    def provider_callback(
        self, provider: str, destination: str, pattern: str = "", seconds: int = 60
    ) -> str:
        """Have a provider of the kind `callback` call `destination` and call back, and join the
        caller to the call that comes, which ends the script. Else it says why none came. `pattern`
        (`*` and `?`) is what the user part of its caller looks like."""

    def wait_for_callback(
        self,
        url: str = "",
        method: str = "",
        headers: dict[str, str] | None = None,
        form: dict[str, str] | None = None,
        body: str = "",
        users: list[str] | None = None,
        pattern: str = "",
        seconds: int = 60,
    ) -> str:
        """The same with an HTTP request of your own, or with none when something else sees to the
        call. `users` are the user parts that it may be addressed to; none: all your accounts."""

    def wait_for_signal(self, key: str, seconds: float = 60) -> str | None:
        """Wait for what a voice application hands back by `POST /api/v1/signals/KEY` (at most 600
        seconds); None if nothing came."""

    def is_available(self, user: str = "", domain: str = "") -> bool:
        """Whether an account has a phone; yours that calls or is called if none is named."""

    def account_exists(self, user: str, domain: str = "") -> bool:
        """Whether there is such an account."""

    def bindings(self, user: str = "", domain: str = "") -> list[Binding]:
        """The phones of one of your accounts; none for others'."""

    def is_mine(self, user: str, domain: str = "") -> bool:
        """Whether an account is yours."""

    def canonical_domain(self, domain: str) -> str:
        """The canonical name of a domain of the switch or an alias of it, "" for others."""

    def current_calls(self) -> list[Call]:
        """Your calls under way on this application server, this one among them."""

    def set_from(
        self, name: str | None = None, user: str | None = None, host: str | None = None
    ) -> None:
        """Set display name, user and host of From in the dials that follow; what is None stays the
        caller's. The options of a leg (`fd`, `fu`, `fh`) are stronger."""

    def clear_from(self) -> None:
        """Leave From as the caller has it."""

    def set_header(self, name: str, value: str) -> None:
        """Add a header to the dials that follow, in place of one of that name; 20 at most. Headers
        that make up a dialog, such as Via or To, are the switch's own."""

    def remove_header(self, name: str) -> None:
        """Take back a header that was set."""

    def clear_headers(self) -> None:
        """Take back all headers that were set."""

    def custom_headers(self) -> list[str]:
        """The headers that are set: `Name: value`."""

    def set_body(self, body: str, content_type: str = "application/sdp") -> None:
        """Set the body of the dials that follow, in place of the caller's offer."""

    def clear_body(self) -> None:
        """Send the caller's offer again."""

    def enum(self, number: str, zone: str = "e164.arpa") -> str:
        """The URI that ENUM (RFC 6116) has for a number, "" for none."""

    def web_get(
        self,
        url: str,
        seconds: float = 10,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
    ) -> WebAnswer:
        """Ask a web server, never one on a private address; `params` become the URL's query. At
        most 60 seconds, and 20 requests a run."""

    def web_post(
        self,
        url: str,
        body: str = "",
        content_type: str = "text/plain",
        form: dict[str, str] | None = None,
        seconds: float = 10,
        headers: dict[str, str] | None = None,
    ) -> WebAnswer:
        """Send a body or a form (8192 characters at most) to a web server."""

    def email(self, to: str | list[str], subject: str, body: str) -> None:
        """Send a mail by the operator's server, if that is allowed to you: 3 a run, 5 addressees,
        256 characters of subject, 2048 of text."""

    def read(self, key: str) -> str | None:
        """A value of your key/value store, None for none."""

    def write(self, key: str, value: str) -> None:
        """Set a value: 64 characters of key, 1024 of value."""

    def delete(self, key: str) -> bool:
        """Remove a key; whether it was there."""

    def keys(self) -> list[str]:
        """All keys in use."""

    def now(self) -> datetime.datetime:
        """The time in your zone, as `datetime.datetime.now()` has it without a zone."""

    def e164(self, number: str, region: str = "") -> str:
        """A telephone number as `+442079460123`, "" for what is none. `region` (`GB`) is where a
        number without `+` or `00` would be dialled."""

sys: Final[Sys]
req: Final[Request]
