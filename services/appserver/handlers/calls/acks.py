"""ACKs of 2xx answers: sent by us, not by the transaction (RFC 3261 §13.2.2.4), and sent again
for every 2xx that comes again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from services.appserver.domain.headers import passed
from services.appserver.domain.leg import Leg, Way
from tandem.sip.message import Request, Response
from tandem.sip.transaction import ClientTransaction, Hop

if TYPE_CHECKING:
    from services.appserver.handlers.calls.board import Board
    from services.appserver.handlers.calls.live import Party


class Outgoing(Protocol):
    """The context of each client transaction of the calls."""

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """A response came."""

    def on_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """None came (408), or it could not be sent (503)."""


class Awaiting(Protocol):
    """What one end of a call waits with for the ACK of the other."""

    def on_their_ack(self, board: Board, party: Party, ack: Request, now: float) -> None:
        """It came: go on with `party`, which waited."""

    def on_no_ack(self, board: Board, party: Party, now: float) -> None:
        """The call ends before it came."""


class InviteContext:
    """What the context of an INVITE keeps for as long as its transaction lives: the number that
    its ACKs bear, and the ACKs that were sent, by To-tag."""

    __slots__ = ("acks", "seq")

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.acks: dict[str, tuple[bytes, Hop]] = {}

    def acked_again(self, board: Board, response: Response) -> bool:
        """Repeat the ACK of a 2xx that had one; False if it had none."""
        sent = self.acks.get(response.to_tag or "")
        if sent is None:
            return False
        board.layer.send_again(*sent)
        return True

    def on_their_ack(self, board: Board, party: Party, ack: Request, now: float) -> None:
        """Our own 2xx can be ACKed now, with the same body."""
        lines = passed(ack) if ack.body else None
        body = party.other.leg.said(ack.body) if party.other is not None else ack.body
        send_ack(board, party.leg, self.seq, now, lines=lines, body=body, keep=self)

    def on_no_ack(self, board: Board, party: Party, now: float) -> None:
        """Our own 2xx must have its ACK all the same."""
        send_ack(board, party.leg, self.seq, now, keep=self)

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
    now: float,
    *,
    lines: list[str] | None = None,
    body: bytes = b"",
    keep: InviteContext | None = None,
) -> None:
    """ACK the 2xx to the INVITE with this number: "the CSeq number MUST be the same"."""
    board.reach(leg, _Ack(board, leg, seq, lines or (), body, keep).send, now)


class _Ack:
    """An ACK that is to be sent."""

    __slots__ = ("_board", "_body", "_keep", "_leg", "_lines", "_seq")

    def __init__(
        self,
        board: Board,
        leg: Leg,
        seq: int,
        lines: Sequence[str],
        body: bytes,
        keep: InviteContext | None,
    ) -> None:
        self._board = board
        self._leg = leg
        self._seq = seq
        self._lines = lines
        self._body = body
        self._keep = keep

    def send(self, way: Way | None, now: float) -> None:
        """Send it by this way."""
        if way is None:
            return
        ack = self._leg.request("ACK", way, seq=self._seq)
        ack.lines += self._lines
        ack.body = self._body
        data = self._board.layer.send_ack(ack, way.hop)
        if self._keep is not None:
            self._keep.acks[self._leg.dialog.remote_tag] = (data, way.hop)
