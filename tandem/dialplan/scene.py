"""What a dry run is given: the time, what exists, and what the outside would say. All of it is
plain data that goes through JSON as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from tandem.dialplan.world import Incoming, RunningCall

RING_SECONDS: Final = 180.0
"""Longest ring of an attempt when nothing shorter is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LegSays:
    """What a leg answers."""

    to: str
    """The leg (`2127@provider`) or its URI, with `*` and `?`; case does not count."""
    status: int = 480
    """200 to 299: it answers."""
    reason: str = ""
    after: float = 2.0
    """Seconds of ringing."""
    contacts: tuple[str, ...] = ()
    """Where a redirection points to."""

    def fits(self, *names: str) -> bool:
        """Whether a leg with one of these names is meant."""
        wanted = self.to.lower().removeprefix("sip:")
        return any(fnmatchcase(name.lower().removeprefix("sip:"), wanted) for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSays:
    """What a web server answers."""

    url: str
    """With `*` and `?`."""
    status: int = 200
    body: str = ""
    content_type: str = "text/plain"
    after: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountIs:
    """An account of the switch."""

    user: str
    domain: str
    phones: int = 1
    mine: bool = True
    enabled: bool = True
    dialplan: str = ""
    """The incoming dialplan of its own, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackComes:
    """A callback that comes, for `provider` or, if that is empty, for any other request."""

    provider: str = ""
    after: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalComes:
    """What a voice application hands back."""

    key: str
    value: str
    after: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All that a dry run needs beside the dialplan and the call."""

    at: float
    """Unix time at which the call begins."""
    accounts: tuple[AccountIs, ...] = ()
    domains: Mapping[str, str] = field(default_factory=dict)
    """Names of the switch, aliases among them, and the canonical name of each."""
    providers: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()
    """Providers that are not called."""
    legs: tuple[LegSays, ...] = ()
    """The first that fits counts. A leg that none fits rings until its time is over."""
    web: tuple[WebSays, ...] = ()
    """A URL that none fits is not answered."""
    enum: Mapping[str, str] = field(default_factory=dict)
    """URIs by number."""
    values: Mapping[str, str] = field(default_factory=dict)
    """The key/value store."""
    callbacks: tuple[CallbackComes, ...] = ()
    signals: tuple[SignalComes, ...] = ()
    calls: tuple[RunningCall, ...] = ()
    caller_waits: float = 3_600.0
    """Seconds after which the caller hangs up."""


def incoming_call(
    caller: str, destination: str, *, customer: str, direction: str = "out", name: str = ""
) -> Incoming:
    """A call for a dry run. `caller` is `user@host`; `destination` is that, or a number."""
    user, _, host = caller.rpartition("@")
    to, at, to_host = destination.rpartition("@")
    to, to_host = (to, to_host) if at else (destination, host)
    account = f"{user}@{host}" if direction == "out" else f"{to}@{to_host}"
    return Incoming(
        direction=direction,
        customer=customer,
        account=account,
        uri=f"sip:{to}@{to_host}",
        user=to,
        host=to_host,
        from_name=name,
        from_user=user,
        from_host=host,
        from_uri=f"sip:{user}@{host}" if user else f"sip:{host}",
        to_uri=f"sip:{to}@{to_host}",
        call_id="dry-run",
        source="udp:192.0.2.1:5060",
    )
