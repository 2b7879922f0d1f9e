"""One call that an Asterisk machine asks about over FastAGI: who asks, which rule, and its lines.

The machine proves its customer by an API key in the URL that it asks for, since AGI has no other
place for one: `AGI(agi://HOST:4573/CUSTOMER?key=API-KEY)`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Protocol

from services.provisioning.domain.agi import (
    AgiRule,
    Command,
    Own,
    expand,
    is_comment,
    parse_command,
)
from services.provisioning.domain.agi_protocol import Reply, Request
from services.provisioning.domain.callmanager import (
    TRANSFER_DIALPLAN,
    CallRefused,
    Method,
    Refusal,
)
from services.provisioning.domain.errors import ProvisioningError
from services.provisioning.handlers.agi_rules import AgiRules
from services.provisioning.handlers.callmanager import CallManager
from services.provisioning.handlers.orders import Order, Orders
from services.provisioning.handlers.signals import Signals
from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.sessions import Sessions

NAMELESS: Final = ("", "unknown")
"""What Asterisk says of a caller without a name."""
STARTED: Final = "transfer"
SORRY: Final = "sorry"
"""What `${transfer}` is after a BLINDTRANSFER: names of prompts, as the original's were."""


class AgiRefused(Exception):
    """There is nothing to do for this call; the text says why."""


class Channel(Protocol):
    """The other end."""

    async def execute(self, command: str) -> Reply:
        """Have Asterisk execute a command of AGI's. Raises AgiFault, ConnectionError,
        TimeoutError."""

    async def tell(self, text: str) -> None:
        """Show a line on its console, if that is still possible."""


@dataclass(frozen=True, slots=True)
class Agi:
    """The use case."""

    sessions: Sessions
    rules: AgiRules
    manager: CallManager
    signals: Signals
    orders: Orders

    async def serve(self, request: Request, source: str, channel: Channel) -> None:
        """Do what the customer's rules say; `source` is the machine's address. Raises AgiRefused,
        and what `channel` raises."""
        rule, by = await self._rule(request)
        order = Order(customer=request.customer, order=Method.BLIND_TRANSFER, source=source, by=by)
        values = dict(request.values)
        for text in rule.commands:
            if is_comment(text):
                continue
            command = expand(parse_command(text), values)
            if command.own is not None:
                await self._do(command, order, values, channel)
                continue
            reply = await channel.execute(str(command))
            values |= {"result": reply.result, "value": reply.value}
            if reply.over:
                return

    async def _rule(self, request: Request) -> tuple[AgiRule, str]:
        """The rule, and whose key was shown."""
        try:
            holder = await self.sessions.verify(request.key)
            if holder is None or (holder.username != request.customer and not holder.admin):
                raise AgiRefused("this key is none of that customer")
            rule = await self.rules.choose(request.customer, request.values)
        except DirectoryUnavailable:
            raise AgiRefused("the rules can't be read now") from None
        if rule is None:
            raise AgiRefused("no rule fits this call")
        return rule, holder.username

    async def _do(
        self, command: Command, order: Order, values: dict[str, str], channel: Channel
    ) -> None:
        try:
            if command.own is Own.BLIND_TRANSFER:
                await self._transfer(command, order, values)
            else:
                _, key, body = command.words
                await self.signals.put(order.customer, key, body)
        except (ProvisioningError, DirectoryUnavailable) as fault:
            await channel.tell(f"{command.own}: {fault}")

    async def _transfer(self, command: Command, order: Order, values: dict[str, str]) -> None:
        """What came of it is `${transfer}` for the lines that follow."""
        values["transfer"] = SORRY
        _, destination, *rest = command.words
        with self.orders.told(replace(order, destination=destination)) as told:
            leg = await self.manager.find(order.customer, rest[0] if rest else _caller(values))
            told.call_id = await self.manager.blind(
                order.customer, leg, destination, TRANSFER_DIALPLAN
            )
        values["transfer"] = STARTED


def _caller(values: dict[str, str]) -> str:
    """What the dialplan put into the From of the leg: the name, else the user."""
    name = values.get("calleridname", "")
    found = values.get("callerid", "") if name.lower() in NAMELESS else name
    if found.lower() in NAMELESS:
        raise CallRefused(Refusal.NO_LEG, "The caller has no name to look for.")
    return found
