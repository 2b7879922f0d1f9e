"""What customers program the switch with, as provisioning keeps it. Times are Unix seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from tandem.dialplan.script import Language


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDialplan:
    """A dialplan with the version of it that is published."""

    id: str
    owner: str
    name: str
    """Unique among the owner's, whatever the case."""
    language: Language
    source: str = field(repr=False)
    version: int = 1
    """The one that is published; not the newest after a roll-back."""
    created_at: float = 0.0
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DialplanVersion:
    """A version that was saved once. Versions never change."""

    dialplan: str
    """The dialplan's id."""
    version: int
    language: Language
    source: str | None = field(default=None, repr=False)
    """None in a list."""
    author: str = ""
    """The user name of who saved it."""
    comment: str = ""
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackOutline:
    """What may be shown of how a provider is asked to call back: no value that may be secret."""

    kind: str = "generic"
    origin: str = ""
    """Scheme, host and port of its URL: keys may stand in all the rest of it."""
    method: str = ""
    header_names: tuple[str, ...] = ()
    field_names: tuple[str, ...] = ()
    has_body: bool = False
    number: str = ""
    phone_type: int = 2
    pattern: str = ""
    users: tuple[str, ...] = ()
    seconds: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredProvider:
    """A provider. `sealed` holds all that nobody may read: see `handlers.sealing`."""

    id: str
    owner: str
    name: str
    """Unique among the owner's, whatever the case."""
    server: str = ""
    username: str = ""
    auth_username: str = ""
    realm: str = ""
    outbound_proxy: str = ""
    from_header: str = ""
    custom_headers: tuple[str, ...] = ()
    in_dialplan: str | None = None
    register: bool = False
    register_contact: str = ""
    register_server: str = ""
    register_expires: int = 3600
    callback: CallbackOutline | None = None
    enabled: bool = True
    sealed: str = field(default="", repr=False)
    has_password: bool = False
    removed_at: float | None = None
    """Deleted, and kept until it is unregistered."""
    created_at: float = 0.0
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderBinding:
    """How the registration at a provider stands, and which appserver sees to it."""

    provider: str
    """The provider's id."""
    owner: str
    node: str | None = None
    """The appserver that was given it last; None: nobody has it."""
    registered: bool = False
    contact: str = ""
    expires_at: float = 0.0
    tried_at: float = 0.0
    next_at: float = 0.0
    status: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownBinding:
    """A provider binding with what people want to see beside it."""

    binding: ProviderBinding
    provider_name: str
    lease_until: float | None
    """Until when the node holds it; None: nobody does."""

    def state(self, now: float) -> str:
        """How it stands, in one word."""
        binding = self.binding
        if binding.registered and binding.expires_at > now:
            return "registered"
        if binding.status or binding.reason:
            return "failed" if self.lease_until else "unregistered"
        return "trying" if self.lease_until else "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredValue:
    """A value that a customer's dialplans keep."""

    owner: str
    key: str
    value: str
    updated_at: float = 0.0
