"""Challenges to requests inside a dialog: the far end has credentials for us to use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.appserver.domain.leg import Leg
from tandem.sip.digest_client import CHALLENGED
from tandem.sip.message import Response
from tandem.sip.transaction import ClientTransaction

if TYPE_CHECKING:
    from services.appserver.handlers.calls.board import Board


def sent_again(
    board: Board, leg: Leg, tx: ClientTransaction, response: Response, now: float
) -> ClientTransaction | None:
    """The transaction of the request that now goes with credentials, in the same context; None if
    this is no challenge that we can answer."""
    if leg.digest is None or response.status not in CHALLENGED or tx.cancelled:
        return None
    seq = leg.dialog.local_seq + 1
    request = leg.digest.again(tx.request, response, seq)
    if request is None:
        return None
    leg.dialog.local_seq = seq
    return board.layer.request(request, tx.hop, now, context=tx.context)
