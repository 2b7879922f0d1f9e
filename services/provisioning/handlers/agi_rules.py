"""AGI rules: what a customer's Asterisk machines are told to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.provisioning.domain.agi import MAX_RULES, AgiRule, agi_rule
from services.provisioning.domain.errors import Invalid, invalid
from services.provisioning.domain.scope import EVERYTHING, Scope
from services.provisioning.ports import Store
from tandem.rpc.sessions import Principal


class AgiRules:
    """The use cases."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of(self, caller: Principal, owner: str) -> Sequence[AgiRule]:
        """A customer's, in the order in which they are tried; nothing for another's."""
        async with self._store.read(Scope.of(caller)) as work:
            return await work.agi_rules.of(owner)

    async def replace(
        self, caller: Principal, owner: str, items: Sequence[Mapping[str, Any]]
    ) -> Sequence[AgiRule]:
        """Put these in their place. Raises Invalid, NotFound, Conflict."""
        if len(items) > MAX_RULES:
            raise invalid("items", f"at most {MAX_RULES} rules")
        made = [_rule(number, owner, values) for number, values in enumerate(items)]
        async with self._store.write(Scope.of(caller)) as work:
            await work.agi_rules.replace(owner, made)
        return made

    async def choose(self, owner: str, values: Mapping[str, str]) -> AgiRule | None:
        """The first that fits a call with these `agi_` values."""
        async with self._store.read(EVERYTHING) as work:
            rules = await work.agi_rules.of(owner)
        return next((rule for rule in rules if rule.fits(values)), None)


def _rule(number: int, owner: str, values: Mapping[str, Any]) -> AgiRule:
    try:
        return agi_rule(owner, values)
    except Invalid as fault:
        errors = [(f"items.{number}.{name}", text) for name, text in fault.errors]
        raise Invalid(errors) from None
