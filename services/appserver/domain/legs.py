"""Which leg an identifier names: what callers of the call manager know of a call is a SIP Call-ID,
or what a dialplan put into the From of a leg (ORIGINAL §5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from services.appserver.domain.call import Call, CallState
from services.appserver.domain.leg import Leg
from services.appserver.domain.plan import SELF
from tandem.rpc.callcontrol import MAX_IDENTIFIER
from tandem.sip.address import Address
from tandem.sip.errors import RemoteFault


class LegRule(IntEnum):
    """How an identifier names a leg; a lower one goes before a higher one."""

    CALL_ID = 1
    """It is the SIP Call-ID."""
    FROM_USER = 2
    """It is the user part of the From of a leg that we placed, as a dial string's `fu` set it."""
    CONTAINS = 3
    """It is a part of our own From (To, of a leg that called us), as the original had it."""


@dataclass(frozen=True, slots=True)
class LegRef:
    """One leg of a call under way."""

    call_id: str
    """Tandem's id of the call."""
    number: int
    """0 for the caller; from 1 in the order in which legs were placed."""


@dataclass(frozen=True, slots=True)
class Found:
    """The legs that an identifier names: all by the first rule by which any does."""

    rule: LegRule | None = None
    legs: tuple[LegRef, ...] = ()

    @property
    def only(self) -> LegRef | None:
        """The leg if exactly one is named: two are as bad as none."""
        return self.legs[0] if len(self.legs) == 1 else None


NONE: Final = Found()


def find(identifier: str, customer: str, calls: Iterable[Call]) -> Found:
    """The legs of this customer's answered calls that `identifier` names."""
    if not identifier or len(identifier) > MAX_IDENTIFIER:
        return NONE
    by_rule: dict[LegRule, list[LegRef]] = {}
    for call in calls:
        if customer not in call.owners:
            continue
        for leg in legs_of(call):
            rule = rule_of(identifier, leg)
            if rule is not None:
                by_rule.setdefault(rule, []).append(LegRef(call.id, leg.number))
    if not by_rule:
        return NONE
    best = min(by_rule)
    return Found(best, tuple(by_rule[best]))


def legs_of(call: Call) -> tuple[Leg, ...]:
    """The legs of an answered call that lead out of here: before there is nothing to transfer.
    Where a call came back to ourselves two calls have one leg between them, which nobody knows."""
    if call.state is not CallState.UP:
        return ()
    return tuple(leg for leg in (call.a, call.b) if leg is not None and leg.proxy != SELF)


def rule_of(identifier: str, leg: Leg) -> LegRule | None:
    """The first rule by which this leg is named."""
    dialog = leg.dialog
    if identifier == dialog.call_id:
        return LegRule.CALL_ID
    local = _parsed(dialog.local)
    if local is None:
        return None
    if not dialog.uas and identifier == local.uri.unescaped_user:
        return LegRule.FROM_USER
    # without its tag, which is random: a short identifier would be found in one now and then
    return LegRule.CONTAINS if identifier in str(replace(local, params=())) else None


def _parsed(value: str) -> Address | None:
    try:
        return Address.parse(value)
    except RemoteFault:
        return None
