"""ACKs of 2xx answers: sent by us, not by the transaction (RFC 3261 §13.2.2.4), and sent again
for every 2xx that comes again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from services.appserver.domain.leg import Leg, Way
from tandem.sip.message import Response
from tandem.sip.transaction import ClientTransaction, Hop

if TYPE_CHECKING:
    from services.appserver.handlers.calls.board import Board


class Outgoing(Protocol):
    """The context of each client transaction of the calls."""

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """A response came."""

    def on_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """None came (408), or it could not be sent (503)."""


class InviteContext:
    """What the context of an INVITE keeps for as long as its transaction lives: the number that
    its ACKs bear, and the ACKs that were sent, by To-tag."""

    __slots__ = ("acks", "seq")

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.acks: dict[str, tuple[bytes, Hop]] = {}

    def acked_again(self, board: Board, response: Response) -> bool:
        """Repeat the ACK of a 2xx that had one; False if it had none."""
        sent = self.acks.get(response.to.tag or "")
        if sent is None:
            return False
        board.layer.transmit(*sent)
        return True

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """As for every context."""
        raise NotImplementedError

    def on_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """As for every context."""
        raise NotImplementedError


def send_ack(
    board: Board,
    leg: Leg,
    seq: int,
    *,
    lines: list[str] | None = None,
    body: bytes = b"",
    keep: InviteContext | None = None,
) -> None:
    """ACK the 2xx to the INVITE with this number: "the CSeq number MUST be the same"."""

    def use(way: Way | None) -> None:
        if way is None:
            return
        ack = leg.request("ACK", way, seq=seq)
        ack.lines += lines or ()
        ack.body = body
        data = board.layer.send_ack(ack, way.hop)
        if keep is not None:
            keep.acks[leg.dialog.remote_tag] = (data, way.hop)

    board.reach(leg, use)
