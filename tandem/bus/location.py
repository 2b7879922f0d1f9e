"""Bindings as they travel: from the appserver that took a REGISTER to all others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Binding:
    """One binding of an address-of-record: RFC 3261 §10, RFC 5626.

    The AOR is `username@domain` in canonical form (lower-case canonical domain).
    """

    aor: str
    owner: str
    """The customer whose account it is."""
    contact: str
    """The Contact URI as the phone sent it."""
    received: str
    """Where the REGISTER really came from: `udp:203.0.113.7:5060`, `tls:[2001:db8::1]:4711`."""
    path: tuple[str, ...]
    """The Path values, topmost first; the first is our proxy's, its token names the flow."""
    q: float
    """Preference, 0.0 to 1.0."""
    instance: str
    """The +sip.instance value without quotes, "" for none."""
    reg_id: int
    """The reg-id, 0 for none."""
    call_id: str
    """The Call-ID of the last REGISTER: RFC 3261 §10.3 step 7 compares CSeq numbers within one."""
    cseq: int
    user_agent: str
    registered_at: float
    """Unix time in seconds of the last REGISTER that changed it."""
    expires_at: float
    """Unix time in seconds."""
    node: str
    """The appserver that took the REGISTER."""
    proxy: str
    """The proxy that holds the flow."""


@dataclass(frozen=True, slots=True)
class BindingStored:
    """A binding was added or refreshed."""

    binding: Binding
    renewed: bool = False
    """Whether only its time and CSeq are new, so that a durable copy need not hurry."""


@dataclass(frozen=True, slots=True)
class BindingRemoved:
    """A binding ended. `reason`: `unregistered`, `expired`, `replaced`, `limit`, `flow closed`,
    `account removed`."""

    binding: Binding
    reason: str
