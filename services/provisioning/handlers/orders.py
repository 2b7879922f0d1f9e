"""Tells the customer what programs ask of his calls, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from services.provisioning.domain.errors import ProvisioningError
from tandem.bus.ports import Publisher, Topic
from tandem.bus.web_events import CallOrdered
from tandem.rpc.directory import DirectoryUnavailable

BEGUN = "begun"
MAX_TEXT = 255
"""Characters of a destination, or of a reason, that are told."""


@dataclass(slots=True, kw_only=True)
class Order:
    """One thing that is asked for."""

    customer: str
    order: str
    """As in `CallOrdered`."""
    destination: str = ""
    source: str = ""
    by: str = ""
    """Whose key was shown, "" for none."""
    call_id: str = ""
    """Tandem's id of the call, once it is known."""


class Orders:
    """Publishes."""

    def __init__(self, bus: Publisher) -> None:
        self._bus = bus

    @contextmanager
    def told(self, order: Order) -> Iterator[Order]:
        """Tell of it when it has been done, or has failed."""
        try:
            yield order
        except (ProvisioningError, DirectoryUnavailable) as fault:
            self._tell(order, str(fault) or "the directory does not answer")
            raise
        self._tell(order, BEGUN)

    def _tell(self, order: Order, outcome: str) -> None:
        event = CallOrdered(
            owners=(order.customer,),
            call_id=order.call_id or None,
            order=order.order,
            destination=_one_line(order.destination),
            source=order.source,
            by=order.by,
            outcome=_one_line(outcome),
        )
        self._bus.publish(Topic.EVENTS, event)


def _one_line(text: str) -> str:
    """What a program sent, fit for a console."""
    return "".join(c if c.isprintable() else "?" for c in text[:MAX_TEXT])
