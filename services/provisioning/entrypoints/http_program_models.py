"""The JSON of dialplans, providers and values."""

from __future__ import annotations

import time
from typing import Any, Self

from pydantic import Field, field_validator

from services.provisioning.domain.programs import (
    DialplanVersion,
    ShownBinding,
    StoredDialplan,
    StoredProvider,
)
from services.provisioning.entrypoints.http_models import UNSTORABLE, Body, Time, View, absent


class DialplanChange(Body):
    """What may be changed of a dialplan. Another `source` or `language` makes a new version."""

    name: str = absent("1 to 64 of A-Z a-z 0-9 _ . - and spaces; case does not count.", "default")
    language: str = absent("`python`, `lines` or `ruby`.", "python")
    source: str = absent("The program: 65536 characters at most.", 'sys.dial("desk@local")')
    comment: str = absent("What this version is about.", "Voicemail after 20 s")
    expected_version: int = absent("Refuse (409) if another one is published by now.", 3)


class NewDialplan(DialplanChange):
    """A dialplan to make."""

    name: str = Field(description="1 to 64 of A-Z a-z 0-9 _ . - and spaces.", examples=["default"])
    language: str = Field(description="`python`, `lines` or `ruby`.", examples=["python"])
    source: str = Field(description="The program: 65536 characters at most.")
    owner: str = absent("Whose it is: administrators only.", "alice")


class DialplanSummary(View):
    """A dialplan in a list, without its source."""

    id: str
    owner: str = Field(examples=["alice"])
    name: str = Field(examples=["default"])
    language: str = Field(examples=["python"])
    version: int = Field(description="The one that calls run.", examples=[3])
    created_at: Time
    updated_at: Time


class DialplanView(DialplanSummary):
    """A dialplan with the source of the version that is published."""

    source: str

    @classmethod
    def of(cls, dialplan: StoredDialplan) -> DialplanView:
        """As it is stored."""
        return cls.model_validate(dialplan)


class VersionSummary(View):
    """A version of a dialplan in a list."""

    version: int
    language: str
    author: str
    comment: str
    created_at: Time
    published: bool = Field(False, description="Whether it is the one that calls run.")

    @classmethod
    def of(cls, version: DialplanVersion, published: int) -> Self:
        """A version, where this one is published."""
        view = cls.model_validate(version)
        return view.model_copy(update={"published": version.version == published})


class VersionView(VersionSummary):
    """A version of a dialplan."""

    source: str


class RollBack(Body):
    """Which version to publish."""

    version: int = Field(description="One that is kept.", examples=[2])


class CallbackBody(Body):
    """How a provider is asked to call back. Of what is there, only what is sent changes; URL,
    header and field values and the body are written and never read."""

    kind: str = absent("`generic`, or `google-voice`: log in, then connect.", "generic")
    url: str = absent("With `${destination}`, `${username}`, `${password}` in it.")
    method: str = absent("The HTTP method; empty: POST with a body or fields, else GET.", "POST")
    headers: list[tuple[str, str]] = absent("HTTP headers: pairs of name and value.")
    fields: list[tuple[str, str]] = absent("Form fields: pairs of name and value.")
    body: str = absent("What is sent in place of form fields: 8192 characters at most.")
    number: str = absent("The number that it calls us back by.", "15551234567")
    phone_type: int = absent("Google Voice's kind of that telephone.", 2)
    pattern: str = absent("What the caller's number looks like: ? one character, * any.", "+1555*")
    users: list[str] = absent("Users that it may call; none: all accounts and contacts.")
    seconds: int = absent("How long it is waited for: 3 to 300.", 60)

    @field_validator("headers", "fields")
    @classmethod
    def _storable_pairs(cls, value: list[tuple[str, str]]) -> list[tuple[str, str]]:
        if any(UNSTORABLE.search(text) for pair in value for text in pair):
            raise ValueError("holds a character that can't be stored")
        return value


class CallbackView(View):
    """What may be told of it."""

    kind: str
    origin: str = Field(description="Scheme and host of its URL.", examples=["https://sip.example"])
    method: str
    header_names: list[str]
    field_names: list[str]
    has_body: bool
    number: str
    phone_type: int
    pattern: str
    users: list[str]
    seconds: int


def _unset() -> Any:
    return None


class ProviderChange(Body):
    """What may be changed of a provider."""

    name: str = absent("What stands after @ in a dial string: A-Z a-z 0-9 _ -.", "blueface")
    server: str = absent("A host, host:port or SIP URI without user.", "sip.blueface.ie")
    username: str = absent("The user name at the provider.", "1234567")
    auth_username: str = absent("The name for digest, if it is another one.")
    password: str = absent("255 characters at most. Never shown.")
    realm: str = absent("The only digest realm that gets the password; empty: any.")
    outbound_proxy: str = absent("Where requests go in place of the server; empty: nowhere else.")
    from_header: str = absent("The From of calls, with ${…}; empty: user name and server.")
    custom_headers: list[str] = absent("Put into INVITE and REGISTER.", ["X-Account: 1234"])
    in_dialplan: str | None = absent("Dialplan for calls to a contact that is no account.")
    registers: bool = Field(default_factory=_unset, alias="register", description="Register at it.")
    register_contact: str = absent("Whom it shall call: user@domain, or a user of the default one.")
    register_server: str = absent("Where to register, if not at the server.")
    register_expires: int = absent("Seconds: 60 to 3600.", 3600)
    callback: CallbackBody | None = absent("For one that is asked by HTTP to call back; null: not.")
    enabled: bool = absent("False: neither called nor registered at.", True)

    @field_validator("custom_headers")
    @classmethod
    def _storable_lines(cls, value: list[str]) -> list[str]:
        if any(UNSTORABLE.search(text) for text in value):
            raise ValueError("holds a character that can't be stored")
        return value


class NewProvider(ProviderChange):
    """A provider to make."""

    name: str = Field(description="1 to 64 of A-Z a-z 0-9 _ -.", examples=["blueface"])
    owner: str = absent("Whose it is: administrators only.", "alice")


class ProviderView(View):
    """A provider. Its password can't be read."""

    id: str
    owner: str
    name: str
    server: str = Field(examples=["sip:sip.blueface.ie"])
    username: str
    auth_username: str
    has_password: bool
    realm: str
    outbound_proxy: str
    from_header: str
    custom_headers: list[str]
    in_dialplan: str | None
    registers: bool = Field(alias="register")
    register_contact: str
    register_server: str
    register_expires: int
    callback: CallbackView | None
    enabled: bool
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, provider: StoredProvider) -> ProviderView:
        """All but the secrets."""
        return cls.model_validate(provider)


class ProviderBindingView(View):
    """How the registration at a provider stands."""

    provider: str = Field(description="The provider's id.")
    name: str = Field(description="The provider's name.", examples=["blueface"])
    owner: str
    state: str = Field(description="`registered`, `failed`, `trying`, `waiting` or `unregistered`.")
    reason: str = Field(description="Why it is not registered.")
    status: int = Field(description="The registrar's last answer, 0 for none.", examples=[200])
    contact: str
    node: str | None = Field(description="The application server that sees to it.")
    lease_until: Time | None
    expires_at: Time | None
    tried_at: Time | None
    next_at: Time | None

    @classmethod
    def of(cls, shown: ShownBinding) -> ProviderBindingView:
        """As it was last told."""
        binding = shown.binding
        return cls(
            provider=binding.provider,
            name=shown.provider_name,
            owner=binding.owner,
            state=shown.state(time.time()),
            reason=binding.reason,
            status=binding.status,
            contact=binding.contact,
            node=binding.node if shown.lease_until else None,
            lease_until=shown.lease_until,
            expires_at=binding.expires_at or None,
            tried_at=binding.tried_at or None,
            next_at=binding.next_at or None,
        )


class NewValue(Body):
    """A value to keep."""

    value: str = Field(description="1024 characters at most.", examples=["on holiday"])


class ValueView(View):
    """A value that dialplans keep."""

    owner: str
    key: str
    value: str
    updated_at: Time
