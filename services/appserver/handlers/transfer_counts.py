"""How many transfers there were, by what was asked for and what came of it."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from services.appserver.domain.transfers import ORDERS, Order, Refused
from services.appserver.handlers.watch import Look
from tandem.bus.transfer_events import (
    TransferCompleted,
    TransferFailed,
    TransferRefused,
    TransferStarted,
)
from tandem.runtime.metrics import Metrics

OUTCOMES: Final = ("completed", "failed", "refused")


class TransferCounts:
    """Learns from their events (`watch.Looks`). One that joins two calls is one, though each call
    tells of it."""

    def __init__(self) -> None:
        self.looks: dict[Any, Look] = {
            TransferStarted: self._started,
            TransferCompleted: lambda event: self._over(event, "completed"),
            TransferFailed: lambda event: self._over(event, "failed"),
            TransferRefused: lambda event: self._count(Order(event.kind, event.by), "refused"),
        }
        """See `watch.Looks`."""
        self._ends = Counter({(*order, outcome): 0 for order in ORDERS for outcome in OUTCOMES})
        self._moving: dict[str, Order] = {}
        """What is under way, by the id of the new call."""

    def register(self, metrics: Metrics) -> None:
        """Show them."""
        labels = ("kind", "by", "outcome")
        metrics.labelled("tandem_transfers", labels, lambda: self._ends, "Transfers")
        metrics.gauge("tandem_transferring", lambda: len(self._moving), "Transfers under way")

    def _started(self, event: TransferStarted) -> None:
        self._moving[event.new_call_id] = Order(event.kind, event.by)

    def _over(self, event: TransferCompleted | TransferFailed, outcome: str) -> None:
        order = self._moving.pop(event.new_call_id, None)
        if order is not None:
            self._count(order, outcome)

    def _count(self, order: Order, outcome: str) -> None:
        self._ends[*order, outcome] += 1


def refusal(order: Order, customer: str, call_id: str, why: Refused) -> TransferRefused:
    """What is told of one that no phone has asked for."""
    return TransferRefused(
        owners=(customer,),
        call_id=call_id,
        kind=order.kind,
        by=order.by,
        status=0,
        reason=why.detail,
    )
