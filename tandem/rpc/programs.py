"""What customers program the switch with, as appservers ask provisioning for it: dialplans,
providers and the leases of their registrations, the key/value store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tandem.dialplan.script import Dialplan


@dataclass(frozen=True, slots=True)
class Customer:
    """What a customer may, for calls that no account of his begins."""

    username: str
    max_calls: int = 0
    """How many of his calls may be under way at an appserver; 0: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Somebody's telephone provider as an appserver needs it."""

    id: str
    owner: str
    name: str
    """What stands after @ in a dial string; case does not count."""
    server: str
    """A SIP URI without user: `sip:sip.example.com:5060;transport=tcp`."""
    username: str
    auth_username: str = ""
    """What digest credentials name; empty: `username`."""
    password: str = field(default="", repr=False)
    """In clear, since other people's realms are unknown beforehand. Never logged, never shown."""
    realm: str = ""
    """The only realm that gets credentials; empty: whichever the server names."""
    outbound_proxy: str = ""
    """A SIP URI that requests go to in place of the server; empty: none."""
    from_header: str = ""
    """The From of calls, with substitutions; empty: `sip:username@server`."""
    custom_headers: tuple[str, ...] = ()
    """`Name: value`, put into INVITE and REGISTER."""
    in_dialplan: str | None = None
    """The dialplan for calls to its register contact where that is no account."""
    register: bool = False
    register_contact: str = ""
    """`user@domain` that the provider is to call."""
    register_server: str = ""
    """A SIP URI; empty: `server`."""
    register_expires: int = 3600
    callback: CallbackForm | None = None
    """Set for a provider that is not called by SIP but asked by HTTP to call back."""
    enabled: bool = True
    owner_enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackForm:
    """How a provider is asked to call back: `generic` with one request, or `google-voice` with a
    log-in first (ORIGINAL §4)."""

    kind: str = "generic"
    url: str = field(default="", repr=False)
    """`generic`: the URL with `${destination}`, `${username}`, `${password}` in it, as in
    `fields`; `google-voice`: the server's address, empty for the operator's setting."""
    method: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    fields: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: str = field(default="", repr=False)
    number: str = ""
    """The number that it calls us back by (`google-voice`: forwardingNumber)."""
    phone_type: int = 2
    pattern: str = ""
    """What the user part of the callback's From looks like."""
    users: tuple[str, ...] = ()
    seconds: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationReport:
    """How the registration at a provider stands, told by the appserver that holds its lease."""

    provider: str
    """The provider's id."""
    registered: bool
    contact: str = ""
    expires_at: float = 0.0
    tried_at: float = 0.0
    next_at: float = 0.0
    status: int = 0
    reason: str = ""
    """Why it is not registered, in words for people."""
    disable: bool = False
    """Give it up: it was refused for good (403, 404)."""
    released: bool = False
    """Nothing of it goes on at this node any more, so that another may have it: the answer to a
    lease of 0 seconds. `registered` may be true then, for one that moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A provider that the asking appserver alone registers at until the lease ends."""

    provider: Provider
    seconds: float
    """From the moment when it was asked for, by a steady clock; 0 for one that is to be given up:
    it comes again until its report says `released`."""
    moved: bool = False
    """With 0 seconds: another appserver goes on with it, so the registration stays as it is.
    Otherwise (disabled, deleted) it is to be unregistered."""
    last: RegistrationReport | None = None
    """How it stood when it was last told, by this node or the one before; None: never tried. A
    registration that holds for long yet need not be made anew for a change of hands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a node holds."""

    leases: Sequence[Lease] = ()
    """All of it, unless `unchanged`."""
    version: str = ""
    """Names the list, to be told with the next question; empty: it has no name."""
    unchanged: bool = False
    """The list is still the one that the node knows, and does not come again."""


class Programs(Protocol):
    """Served by provisioning. Raises `directory.DirectoryUnavailable` when it can't be asked."""

    async def dialplan(self, owner: str, name: str) -> Dialplan | None:
        """A customer's dialplan by its name, in the version that is published."""

    async def customer(self, username: str) -> Customer | None:
        """What a customer may; None if there is no such customer, or nothing limits any."""

    async def providers(self, owner: str) -> list[Provider]:
        """A customer's providers."""

    async def lease(
        self,
        node: str,
        reports: Sequence[RegistrationReport],
        *,
        leaving: bool = False,
        known: str = "",
    ) -> Holding:
        """Renew this node's leases, tell how its registrations stand (those that changed since
        the last call that was answered), and get the whole list of those that it holds. One that
        is missing from it was lost to another: drop it and send nothing. To be called every 2 s.

        `known` is the `version` of the list that the node got last, if it has obeyed all of it.

        `leaving`: the node drains or stops, and has ceased to register: all that it held is
        another's from now on, and the answer is empty."""

    async def read_value(self, owner: str, key: str) -> str | None:
        """A value of the customer's key/value store."""

    async def write_value(self, owner: str, key: str, value: str | None) -> bool:
        """Set it, or remove it with None; False if there are too many keys, or none to remove.
        Raises ValueError for a key or value that is too long or can't be stored, and
        `directory.OutcomeUnknown` when nobody can tell whether it was done."""

    async def value_keys(self, owner: str) -> list[str]:
        """The keys in use."""


class NoPrograms:
    """Implements `Programs` where nobody has any: an appserver without provisioning."""

    async def dialplan(self, owner: str, name: str) -> Dialplan | None:
        """None."""
        return None

    async def customer(self, username: str) -> Customer | None:
        """None."""
        return None

    async def providers(self, owner: str) -> list[Provider]:
        """None."""
        return []

    async def lease(
        self,
        node: str,
        reports: Sequence[RegistrationReport],
        *,
        leaving: bool = False,
        known: str = "",
    ) -> Holding:
        """None."""
        return Holding()

    async def read_value(self, owner: str, key: str) -> str | None:
        """None."""
        return None

    async def write_value(self, owner: str, key: str, value: str | None) -> bool:
        """Not kept."""
        return False

    async def value_keys(self, owner: str) -> list[str]:
        """None."""
        return []
