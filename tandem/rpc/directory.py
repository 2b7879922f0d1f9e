"""The Directory: what appservers ask provisioning for, and what it tells them unasked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tandem.bus.directory import DirectoryChanged as DirectoryChanged
from tandem.bus.location import Binding


@dataclass(frozen=True, slots=True)
class Domain:
    """A serviced domain. Account look-ups use `name`; a request may use any alias."""

    name: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """A SIP account as an appserver needs it."""

    id: str
    owner: str
    """The customer's user name."""
    username: str
    domain: str
    ha1: Mapping[str, str]
    """`MD5`, `SHA-256`, `SHA-512-256` → hex of H(username:domain:password). Never logged."""
    enabled: bool = True
    owner_enabled: bool = True
    """False for a suspended customer: 604 (ORIGINAL §1.1)."""
    in_dialplan: str | None = None
    out_dialplan: str | None = None
    max_bindings: int = 10
    send_keepalives: bool = True
    ip_acl: tuple[str, ...] = ()
    """Networks in CIDR form from which no digest is asked for; empty: always ask."""
    max_call_seconds: int = 0
    """How long a call of this account may last; 0: no limit of its own."""
    max_calls: int = 0
    """How many calls of its owner may be under way; 0: no limit."""
    contact_only: bool = False
    """Made of the register contact of a provider: it can be called, but has no password, so that
    nobody registers or calls as it."""

    @property
    def aor(self) -> str:
        """`username@domain`."""
        return f"{self.username}@{self.domain}"


class Directory(Protocol):
    """Raises `DirectoryUnavailable` when it can't be asked."""

    async def account(self, username: str, domain: str) -> Account | None:
        """The account with exactly this user name (case as stored is ignored) in this canonical
        domain."""

    async def domains(self) -> list[Domain]:
        """All serviced domains, the default one first."""

    async def bindings(self) -> list[Binding]:
        """The durable copy of all bindings that have not expired: the snapshot for a start."""


class DirectoryUnavailable(Exception):
    """Provisioning or its database does not answer. A write that ends so changed nothing."""


class OutcomeUnknown(DirectoryUnavailable):
    """The one exception from that: the answer to the commit itself was lost, so the change was
    made as a whole or not at all, and nobody here can tell."""
