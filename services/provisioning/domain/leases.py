"""Who registers at a provider: one live appserver, the same in the eyes of all.

Rendezvous hashing of the provider over the appservers that ask gives each to one of them, evenly,
and moves only what it must when one comes or goes. What was given stays its holder's until that
one dies or has given it up, so no two ever have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

from services.provisioning.domain.programs import ProviderBinding, StoredProvider
from tandem.rpc.programs import RegistrationReport

LEASE_SECONDS: Final = 6.0
"""How long a lease lasts: two of its renewals, which come every 2 s, may be lost; and with the next
one's turn to ask another takes over within 8 s, which leaves 2 s for it to register."""
MAX_REASON: Final = 255
MAX_CONTACT: Final = 2048
MAX_NODE: Final = 128
"""Characters that are stored of what appservers report."""


State = tuple[str, float, bool, bool, bool, bool]
"""What a lease depends on: the provider's id and when it was changed; whether it is to be
registered, is enabled, was removed, and whether its owner is suspended."""


@dataclass(frozen=True, slots=True)
class Held:
    """A provider that a node was given."""

    provider: StoredProvider
    binding: ProviderBinding
    owner_enabled: bool

    @property
    def wanted(self) -> bool:
        """Whether it is to be registered."""
        provider = self.provider
        here = provider.enabled and provider.removed_at is None and self.owner_enabled
        return provider.register and here

    def told(self, report: RegistrationReport) -> Held:
        """As the holder reports it. One that was given up although nobody goes on with it counts
        as unregistered, whatever came of that."""
        binding = replace(
            self.binding,
            node=None if report.released else self.binding.node,
            registered=report.registered,
            contact=_storable(report.contact, MAX_CONTACT),
            expires_at=report.expires_at,
            tried_at=report.tried_at,
            next_at=report.next_at,
            status=report.status,
            reason=_storable(report.reason, MAX_REASON),
        )
        provider = replace(self.provider, register=False) if report.disable else self.provider
        after = replace(self, provider=provider, binding=binding)
        if report.released and not after.wanted:
            after = replace(after, binding=replace(binding, registered=False))
        return after


@dataclass(frozen=True, slots=True)
class Orphan:
    """A provider that no live node holds."""

    provider: str
    owner: str
    known: bool
    """Whether there is a binding of it."""


def chosen(provider: str, nodes: Sequence[str]) -> str:
    """Which of the live nodes is to have it; "" if there is none."""
    return max(nodes, key=lambda node: _weight(node, provider), default="")


def _weight(node: str, provider: str) -> bytes:
    return blake2b(f"{node} {provider}".encode("utf-8", "replace"), digest_size=8).digest()


def version_of(states: Sequence[State], nodes: Sequence[str]) -> str:
    """Names what a node holds: all that its leases say, and so what they are worked out from."""
    text = repr((sorted(states), sorted(nodes)))
    return blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def report_of(binding: ProviderBinding) -> RegistrationReport | None:
    """What was last told of it; None if it was never tried."""
    if not binding.tried_at:
        return None
    return RegistrationReport(
        provider=binding.provider,
        registered=binding.registered,
        contact=binding.contact,
        expires_at=binding.expires_at,
        tried_at=binding.tried_at,
        next_at=binding.next_at,
        status=binding.status,
        reason=binding.reason,
    )


def _storable(text: str, limit: int) -> str:
    """What a database takes of what a stranger's server said."""
    clean = "".join(c if c.isprintable() else "?" for c in text[:limit])
    return clean.encode("utf-8", "replace").decode()
