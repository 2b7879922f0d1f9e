"""What may be asked of calls from outside of SIP, and why it may be refused."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

TRANSFER_DIALPLAN: Final = "transfer"
"""The dialplan that a blind transfer runs unless another is named (ORIGINAL §5)."""


class Order(NamedTuple):
    """What was asked for, in the words of events and metrics."""

    kind: str
    """`blind`, `attended` or `dual`."""
    by: str
    """`http`, `refer` or `dialplan`."""


BLIND: Final = Order("blind", "http")
DUAL: Final = Order("dual", "http")
HANDOVER: Final = Order("blind", "dialplan")
REFERRED: Final = Order("blind", "refer")
ATTENDED: Final = Order("attended", "refer")
ORDERS: Final = (BLIND, DUAL, HANDOVER, REFERRED, ATTENDED)
"""All there are."""


class Refusal(StrEnum):
    """Why it was not begun. Then nothing has changed: the calls are as they were."""

    NO_LEG = "no leg"
    """No leg is named by that, more than one is, or its call has ended meanwhile."""
    NO_DIALPLAN = "no dialplan"
    """The customer has no dialplan with this name."""
    TOO_MANY_RUNS = "too many runs"
    """As many of the customer's dialplans run as may."""
    TOO_MANY_CALLS = "too many calls"
    """As many of the customer's calls are under way here as may."""
    BAD_DESTINATION = "bad destination"
    """The destination or dial string makes no sense."""
    NOT_NOW = "not now"
    """The call is already in a transfer, or about to end."""
    OVERLOADED = "overloaded"
    """This node has as many calls as it takes, or drains."""
    UNSUPPORTED = "unsupported"
    """This node can't do that at all."""


class Refused(Exception):
    """It was not begun; the text says why, for people."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.refusal = refusal
        self.detail = detail
