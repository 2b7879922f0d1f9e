"""The JSON of the API. Types only: what values may be is decided in `domain.rules`, once, for all
surfaces. An unknown field is refused, so that a mistyped one is not silently ignored."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, field_validator

from tandem.bus.nodes import NodeAnnounced

UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def _utc(unix: float) -> str:
    return datetime.fromtimestamp(int(unix), UTC).isoformat().replace("+00:00", "Z")


Time = Annotated[
    float,
    PlainSerializer(_utc, return_type=str),
    Field(json_schema_extra={"format": "date-time"}, examples=["2026-01-31T12:00:00Z"]),
]
"""Unix seconds inside, RFC 3339 in UTC outside."""


def absent(description: str, example: Any = None) -> Any:
    """A field that may be left out; then it is not in `given`."""
    examples = None if example is None else [example]
    return Field(default_factory=lambda: None, description=description, examples=examples)


class Body(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        # JSON can say what no database stores: half a surrogate pair, a NUL.
        if isinstance(value, str) and UNSTORABLE.search(value):
            raise ValueError("holds a character that can't be stored")
        return value

    def given(self) -> dict[str, Any]:
        """Only what was sent."""
        return self.model_dump(exclude_unset=True, by_alias=True)


class View(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(from_attributes=True)


class Credentials(Body):
    """A login."""

    username: str = Field(examples=["admin"])
    password: str = Field(examples=["correct horse"])


class TokenView(View):
    """A session. Send `Authorization: Bearer TOKEN` with each request."""

    token: str
    expires_at: Time


class PasswordChange(Body):
    """A new web password."""

    old_password: str
    new_password: str = Field(description="6 to 128 characters.")


class CustomerChange(Body):
    """What may be changed of a customer; all but name, e-mail and time zone by administrators
    only."""

    name: str = absent("The name for people.", "Alice Liddell")
    email: str = absent("An e-mail address, or empty.", "alice@example.com")
    password: str = absent("A new web password: 6 to 128 characters.")
    admin: bool = absent("May do everything.", False)
    suspended: bool = absent("May not log in, and its calls are refused.", False)
    max_calls: int = absent("Calls under way at a time; 0: no limit.", 0)
    timezone: str = absent("The IANA time zone that its dialplans see.", "Europe/Dublin")
    max_executions: int = absent("Dialplan runs at a time, on each application server.", 5)
    may_email: bool = absent("Its dialplans may send mail.", False)
    max_providers: int | None = absent("How many it may have; null: as the operator's setting.")
    max_dialplans: int | None = absent("How many it may have; null: as the operator's setting.")


class NewCustomer(CustomerChange):
    """A customer to make."""

    username: str = Field(
        description="2 to 32 of a-z 0-9 _ -; lower case; never changes.", examples=["alice"]
    )
    password: str = Field(description="Web password: 6 to 128 characters.")


class CustomerView(View):
    """A customer. The id is the user name."""

    id: str = Field(validation_alias="username", examples=["alice"])
    username: str = Field(examples=["alice"])
    name: str
    email: str
    admin: bool
    suspended: bool
    max_calls: int
    timezone: str
    max_executions: int
    may_email: bool
    max_providers: int | None
    max_dialplans: int | None
    created_at: Time


class DomainChange(Body):
    """What may be changed of a domain."""

    aliases: list[str] = absent("Other names that it is served under.", ["sip.example.com"])
    owner: str | None = absent("The only customer who may use it; null: all.")
    default: bool = absent("True: make it the domain of accounts that name none.", True)


class NewDomain(DomainChange):
    """A domain to serve."""

    name: str = Field(
        description="A host name or IP address; it is the digest realm and never changes.",
        examples=["example.com"],
    )


class DomainView(View):
    """A domain. The id is the name; the list has the default domain first."""

    id: str = Field(validation_alias="name", examples=["example.com"])
    name: str = Field(examples=["example.com"])
    aliases: list[str]
    owner: str | None
    created_at: Time


class AccountChange(Body):
    """What may be changed of a SIP account."""

    username: str = absent("Needs the password again, as the domain does.", "desk")
    domain: str = absent("A served domain or an alias; the default domain if left out.", "local")
    password: str = absent("SIP password: 6 to 128 characters, not the user name.")
    owner: str = absent("Whose it is: administrators only.", "alice")
    in_dialplan: str | None = absent("Dialplan for calls to it; null: ring its phones.")
    out_dialplan: str | None = absent("Dialplan for calls from it; null: default routing.")
    enabled: bool = absent("False: calls and registrations are refused.", True)
    max_bindings: int = absent("Phones registered at a time: 1 to 100.", 10)
    send_keepalives: bool = absent("Keep the way through NAT open.", True)
    ip_acl: list[str] = absent("Networks that need no password.", ["192.0.2.0/24"])
    max_call_seconds: int = absent("How long a call may last; 0: no limit.", 0)


class NewAccount(AccountChange):
    """A SIP account to make."""

    username: str = Field(
        description="1 to 64 of A-Z a-z 0-9 _ . -; upper and lower case are the same name.",
        examples=["desk"],
    )
    password: str = Field(description="SIP password: 6 to 128 characters, not the user name.")


class AccountView(View):
    """A SIP account. Its password can't be read: only digest hashes of it are kept."""

    id: str = Field(examples=["9f86d081884c7d65"])
    username: str = Field(examples=["desk"])
    domain: str = Field(examples=["local"])
    owner: str = Field(examples=["alice"])
    in_dialplan: str | None
    out_dialplan: str | None
    enabled: bool
    max_bindings: int
    send_keepalives: bool
    ip_acl: list[str]
    max_call_seconds: int
    created_at: Time


class KeyChange(Body):
    """What may be changed of an API key."""

    name: str = Field(description="What it is for: 1 to 64 characters.", examples=["backup"])


class NewKey(KeyChange):
    """An API key to make."""

    lifetime_days: int = absent("Days until it expires: 1 to 3650.", 365)
    owner: str = absent("Whose it is: administrators only.", "alice")


class KeyView(View):
    """An API key, without its secret."""

    id: str
    owner: str
    name: str
    prefix: str = Field(description="The first characters of the secret.", examples=["tdm_a1b2c3"])
    created_at: Time
    expires_at: Time


class NewKeyView(KeyView):
    """An API key just made."""

    secret: str = Field(description="Shown this once; send it as X-API-Key or as Bearer token.")


class BindingView(View):
    """A phone's registration."""

    aor: str = Field(examples=["desk@local"])
    owner: str
    contact: str = Field(examples=["sip:desk@192.0.2.7:5060"])
    received: str = Field(examples=["udp:192.0.2.7:5060"])
    path: list[str]
    q: float
    instance: str
    reg_id: int
    user_agent: str
    registered_at: Time
    expires_at: Time
    node: str
    proxy: str


class NodeView(View):
    """A server of the cluster."""

    id: str = Field(examples=["appserver-1"])
    kind: str = Field(examples=["appserver"])
    state: str = Field(description="`active`, `draining`, `stopped` or `lost`.")
    version: str
    started_at: Time
    silent_seconds: float = Field(description="Since it was last heard.")
    weight: int
    sip: str = Field(description="Its end of the internal SIP link.")
    public: list[str]
    grpc: str
    http: str
    calls: int
    bindings: int
    hints: int

    @classmethod
    def of(cls, said: NodeAnnounced, silent_seconds: float) -> NodeView:
        """What it said, and how long ago."""
        return cls(
            id=said.node,
            kind=said.kind,
            state=said.state,
            version=said.version,
            started_at=said.incarnation / 1000,
            silent_seconds=round(silent_seconds, 3),
            weight=said.weight,
            sip=said.sip,
            public=list(said.public),
            grpc=said.grpc,
            http=said.http,
            calls=said.calls,
            bindings=said.bindings,
            hints=said.hints,
        )
