"""An offer to one end of a call that is to be joined to somebody else. It waits for other INVITEs
in that dialog, and is made again after a glare.

"If a UAC receives a 491 response to a re-INVITE, it SHOULD start a timer with a value T chosen as
follows: 1. If the UAC is the owner of the Call-ID of the dialog ID, T has a randomly chosen value
between 2.1 and 4 seconds in units of 10 ms. 2. If the UAC is not the owner ..., between 0 and 2
seconds in units of 10 ms" (RFC 3261 §14.1).

An INVITE that has a provisional answer may wait for its final one for ever (§17.1.1.2), so it is
cancelled after OFFER_SECONDS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.limits import BUSY_SECONDS, GLARE_TRIES, OFFER_SECONDS
from services.appserver.handlers.calls.live import Party
from services.appserver.handlers.calls.offering import Offering, Then

if TYPE_CHECKING:
    from tandem.sip.deadlines import Deadline


class Reoffer:
    """`then(status, answer, now)` is called once, unless the party's call ends before that or this
    is stopped while it waits."""

    __slots__ = ("_again", "_board", "_body", "_limit", "_party", "_then", "_tries", "under_way")

    def __init__(self, board: Board, party: Party, body: bytes, then: Then) -> None:
        self._board = board
        self._party = party
        self._body = body
        self._then = then
        self._tries = 0
        self._again: Deadline | None = None
        self._limit: Deadline | None = None
        self.under_way = False
        """Whether the INVITE was sent, and has no final answer yet."""

    def send(self, now: float) -> None:
        """Make the offer, now or as soon as may be."""
        self._again = None
        if self._party.call.ended:
            return
        if busy(self._party):
            self._later(BUSY_SECONDS, now)
        else:
            self.under_way = True
            self._limit = self._board.deadlines.at(now + OFFER_SECONDS, self._too_long)
            Offering(self._board, self._party, self._body, self._on_answer).send(now)

    def stop(self, now: float) -> None:
        """Nobody wants it any more: no new try; what is under way is cancelled, and if it is
        answered all the same, `then` hears of it."""
        self._tries = GLARE_TRIES
        if self._again is not None:
            self._again.cancel()
            self._again = None
        else:
            self._cancel(now)

    def _too_long(self, now: float) -> None:
        """A phone that asks its user, maybe, who is not there: it is answered 487."""
        self._limit = None
        self._cancel(now)

    def _cancel(self, now: float) -> None:
        if self.under_way and self._party.inviting is not None:
            self._board.layer.cancel(self._party.inviting, now)

    def _on_answer(self, status: int, answer: bytes, now: float) -> None:
        self.under_way = False
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        if status == 491 and self._tries < GLARE_TRIES:
            self._later(self._glare_seconds(), now)
        else:
            self._then(status, answer, now)

    def _later(self, seconds: float, now: float) -> None:
        self._tries += 1
        if self._tries > GLARE_TRIES:
            self._then(491, b"", now)
        else:
            self._again = self._board.deadlines.at(now + seconds, self.send)

    def _glare_seconds(self) -> float:
        """Who was called does not own the Call-ID."""
        dice = crc32(self._board.new_token().encode())
        if self._party.leg.dialog.uas:
            return (dice % 201) / 100
        return 2.1 + (dice % 191) / 100


def busy(party: Party) -> bool:
    """§14.1: "a UAC MUST NOT initiate a new INVITE transaction within a dialog while another INVITE
    transaction is in progress in either direction"."""
    return (
        party.inviting is not None
        or party.unanswered
        or party.unacknowledged
        or party.awaiting is not None
    )
