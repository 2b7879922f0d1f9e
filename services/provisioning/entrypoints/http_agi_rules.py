"""/agi-rules: what a customer's Asterisk machines are told over FastAGI."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from services.provisioning.domain.agi import AgiRule
from services.provisioning.entrypoints.http_models import Body, View, absent
from services.provisioning.entrypoints.http_route import Caller, Cases, Owner, owner_of, routes

router = routes("/agi-rules", 403, 409)


class RuleOrder(Body):
    """One rule."""

    extension: str = absent("What agi_extension looks like; empty: anything.", "1*")
    caller: str = absent("What agi_callerid looks like; empty: anything.", "")
    commands: list[str] = Field(
        description="AGI commands, BLINDTRANSFER and SIGNAL; `;` begins a comment.",
        examples=[["ANSWER", 'GET DATA "enter-number" 5000 10', "BLINDTRANSFER ${result}"]],
    )


class RulesOrder(Body):
    """All rules, in the order in which they are tried."""

    items: list[RuleOrder]


class RuleView(View):
    """One rule."""

    extension: str
    caller: str
    commands: list[str]


class RulesView(View):
    """All rules."""

    items: list[RuleView]


@router.get("", summary="List the AGI rules")
async def read(caller: Caller, cases: Cases, owner: Owner = None) -> RulesView:
    """In the order in which they are tried."""
    return _view(await cases.agi_rules.of(caller, owner_of(caller, owner)))


@router.put("", summary="Replace the AGI rules")
async def replace(body: RulesOrder, caller: Caller, cases: Cases, owner: Owner = None) -> RulesView:
    """The first rule that fits a call is the one."""
    items = [item.given() for item in body.items]
    return _view(await cases.agi_rules.replace(caller, owner_of(caller, owner), items))


def _view(rules: Sequence[AgiRule]) -> RulesView:
    return RulesView(items=[RuleView.model_validate(rule) for rule in rules])
