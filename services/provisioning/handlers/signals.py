"""Signals: what voice applications hand back to dialplans that wait, wherever these run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.provisioning.domain.errors import Conflict, Unanswered, invalid
from services.provisioning.handlers.nodes import ask_all
from services.provisioning.ports import CallControl
from tandem.bus.nodes import Nodes
from tandem.rpc.callcontrol import MAX_SIGNAL_BYTES, signal_key


@dataclass(frozen=True, slots=True)
class Put:
    """What became of a signal."""

    delivered: int
    """How many waited, and have it."""
    kept: bool
    """Whether it is kept for a dialplan that begins to wait soon."""
    silent: tuple[str, ...] = ()
    """Appservers that did not answer: who waits there has it not."""


class Signals:
    """The use case."""

    def __init__(self, nodes: Nodes, control: CallControl) -> None:
        self._nodes = nodes
        self._control = control

    async def put(self, customer: str, key: str, body: str) -> Put:
        """Give it to all who wait under the key, on all appservers; if nobody does anywhere, have
        each appserver keep it for a while, since nobody knows where the call that will wait is.

        Only when nobody waits: a copy beside a delivered one would be heard by the next wait.
        Raises Invalid, Conflict when too many are kept, Unanswered
        when none answers.
        """
        try:
            signal_key(key)
        except ValueError as fault:
            raise invalid("key", str(fault)) from None
        if len(body.encode()) > MAX_SIGNAL_BYTES:
            raise invalid("body", f"at most {MAX_SIGNAL_BYTES} bytes")
        put, _ = await self._round(customer, key, body, keep=False)
        if put.delivered:
            return put
        kept, asked = await self._round(customer, key, body, keep=True)
        # who was silent in the first round, and was not even asked in the second, has it not either
        lost = tuple(node for node in put.silent if node not in asked)
        return replace(kept, silent=(*kept.silent, *lost))

    async def _round(
        self, customer: str, key: str, body: str, *, keep: bool
    ) -> tuple[Put, frozenset[str]]:
        """What came of it, and who was asked."""
        full: list[Conflict] = []

        async def one(address: str) -> tuple[int, bool]:
            try:
                return await self._control.put_signal(address, customer, key, body, keep=keep)
            except Conflict as fault:
                full.append(fault)
                return 0, False

        answers = await ask_all(self._nodes, one)
        heard = [answer for _, answer in answers if answer is not None]
        silent = tuple(node for node, answer in answers if answer is None)
        if not heard:
            told = f"These appservers do not answer: {', '.join(silent)}."
            raise Unanswered(told if silent else "There is no application server.")
        put = Put(sum(n for n, _ in heard), any(kept for _, kept in heard), silent)
        if full and not put.delivered and not put.kept:
            raise full[0]
        return put, frozenset(node for node, _ in answers)
