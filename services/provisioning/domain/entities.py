"""What provisioning keeps. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """Somebody who logs in and owns things. The user name is lower case and never changes."""

    username: str
    password_hash: str = field(repr=False)
    name: str = ""
    email: str = ""
    admin: bool = False
    suspended: bool = False
    """May not log in, and calls of its accounts get 604."""
    max_calls: int = 0
    """Calls under way at a time; 0: no limit."""
    timezone: str = "UTC"
    """An IANA name: what time dialplans see."""
    max_executions: int = 5
    """Runs at once of its dialplans, on each appserver."""
    may_email: bool = False
    """Whether its dialplans may send mail."""
    max_providers: int | None = None
    """None: as many as the operator's setting says; so is the next."""
    max_dialplans: int | None = None
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedDomain:
    """A domain that Tandem answers for. The name is the digest realm and never changes."""

    name: str
    aliases: tuple[str, ...] = ()
    owner: str | None = None
    """The only customer who may use it; None: all may."""
    position: int = 0
    """The lowest one is the default domain."""
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SipAccount:
    """What a phone registers with."""

    id: str
    owner: str
    username: str
    domain: str
    ha1: Mapping[str, str] = field(repr=False)
    enabled: bool = True
    in_dialplan: str | None = None
    out_dialplan: str | None = None
    max_bindings: int = 10
    send_keepalives: bool = True
    ip_acl: tuple[str, ...] = ()
    max_call_seconds: int = 0
    created_at: float = 0.0

    @property
    def aor(self) -> str:
        """`username@domain`, lower case: the key under which the switch knows it."""
        return f"{self.username}@{self.domain}".lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A long-lived secret for a program; only its hash is kept."""

    id: str
    owner: str
    name: str
    prefix: str
    """The first characters of the secret, to tell keys apart."""
    secret_hash: str = field(repr=False)
    created_at: float
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A login session; only the token's hash is kept."""

    secret_hash: str = field(repr=False)
    owner: str
    created_at: float
    expires_at: float
