"""The call manager: what may be asked of calls over HTTP, by whom, and why it may be refused."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Final

from services.provisioning.domain.errors import ProvisioningError, invalid
from services.provisioning.domain.rules import Rule, clean, line, networks
from tandem.bus.hints import pattern_matches

CALLBACK_DIALPLAN: Final = "webcallback"
TRANSFER_DIALPLAN: Final = "transfer"
"""The dialplans that a web callback and a blind transfer run (ORIGINAL §5)."""
MAX_DESTINATIONS: Final = 100
"""Patterns of one method that is open: they are gone through for each request."""
MAX_PATTERN: Final = 64
"""Characters of one."""
_UNSAFE: Final = frozenset('&|<>[]{}"$,;?@=%')


class Method(StrEnum):
    """What the call manager does."""

    WEB_CALLBACK = "webcallback"
    BLIND_TRANSFER = "blindtransfer"
    DUAL_TRANSFER = "dualtransfer"


class Refusal(StrEnum):
    """Why something was not begun. Nothing has changed then, but for SILENT, where nobody knows."""

    NO_CUSTOMER = "no customer"
    SUSPENDED = "suspended"
    NO_LEG = "no leg"
    """No leg is named by that, or more than one."""
    ELSEWHERE = "elsewhere"
    """The two calls are on two appservers."""
    NO_DIALPLAN = "no dialplan"
    TOO_MANY_RUNS = "too many runs"
    TOO_MANY_CALLS = "too many calls"
    """As many of the customer's calls are under way as may."""
    BAD_DESTINATION = "bad destination"
    NOT_NOW = "not now"
    """The call is already in a transfer, or about to end."""
    OVERLOADED = "overloaded"
    """No appserver takes calls now."""
    UNSUPPORTED = "unsupported"
    SILENT = "silent"
    """Appservers that would know do not answer."""


class CallRefused(ProvisioningError):
    """It was not begun."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.refusal = refusal


class LegRule(IntEnum):
    """How an identifier names a leg (tandem.callcontrol.v1): a lower one goes before."""

    CALL_ID = 1
    FROM_USER = 2
    CONTAINS = 3


@dataclass(frozen=True, slots=True)
class LegRef:
    """One leg of a call under way."""

    call_id: str
    """Tandem's id of the call."""
    number: int
    """0 for the caller; from 1 in the order in which legs were placed."""


@dataclass(frozen=True, slots=True)
class FoundLeg:
    """A leg that an identifier names."""

    ref: LegRef
    rule: LegRule


@dataclass(frozen=True, slots=True)
class Place:
    """A leg, and the appserver that has it."""

    node: str
    ref: LegRef


def choose(answers: Sequence[tuple[str, Sequence[FoundLeg] | None]]) -> Place:
    """The one leg that an identifier names over all appservers; None for one that is silent.

    A SIP Call-ID is one of a kind, so whoever has it is believed though others are silent. By the
    other rules another leg at a silent one might fit as well, and the wrong one would be cut off:
    so it is refused. Raises CallRefused.
    """
    found = [(leg.rule, node, leg.ref) for node, legs in answers for leg in legs or ()]
    best = min((rule for rule, _, _ in found), default=None)
    silent = [node for node, legs in answers if legs is None]
    if silent and best is not LegRule.CALL_ID:
        told = f"These appservers do not answer: {', '.join(silent)}."
        raise CallRefused(Refusal.SILENT, told)
    fit = [Place(node, ref) for rule, node, ref in found if rule is best]
    if len(fit) != 1:
        told = "That names no leg." if not fit else "That names more than one leg."
        raise CallRefused(Refusal.NO_LEG, told)
    return fit[0]


# -- methods that are open ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One method that a customer has opened to listed addresses, which need no key for it."""

    owner: str
    method: str
    networks: tuple[str, ...]
    """In CIDR form."""
    destinations: tuple[str, ...] = ()
    """Patterns of what may be called: `?` is one character, `*` any number, a leading + counts for
    nothing. Of a method without a destination: none."""

    def admits(self, source: str) -> bool:
        """Whether this address may call without a key."""
        try:
            address = ipaddress.ip_address(source.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in ipaddress.ip_network(network) for network in self.networks)

    def allows(self, destination: str) -> bool:
        """Whether that may be called without a key. What means something in a dial string never
        is, whatever the patterns: dialplans put one together of it."""
        if not _UNSAFE.isdisjoint(destination):
            return False
        return any(pattern_matches(pattern, destination) for pattern in self.destinations)


def _method(value: str) -> str:
    if value not in tuple(Method):
        raise ValueError(f"one of {', '.join(Method)}")
    return value


def _networks(value: Sequence[str]) -> tuple[str, ...]:
    if not value:
        raise ValueError("name the addresses that need no key")
    return networks(value)


def _destinations(value: Sequence[str]) -> tuple[str, ...]:
    if len(value) > MAX_DESTINATIONS:
        raise ValueError(f"at most {MAX_DESTINATIONS} patterns")
    pattern = line(MAX_PATTERN, required=True)
    return tuple(dict.fromkeys(str(pattern(item)) for item in value))


_RULES: Final[Mapping[str, Rule]] = {
    "method": _method,
    "networks": _networks,
    "destinations": _destinations,
}


def access(owner: str, values: Mapping[str, Any]) -> Access:
    """A method that is opened. Raises Invalid."""
    made = Access(owner=owner, **clean(_RULES, values))
    has_destination = made.method != Method.DUAL_TRANSFER
    if has_destination and not made.destinations:
        raise invalid("destinations", "say what may be called, * for everything")
    if made.destinations and not has_destination:
        raise invalid("destinations", f"{made.method} has no destination")
    return made
