"""NOTIFYs to who sent a REFER: RFC 3515 §2.4.4. One is sent after the other's answer, and the first
a moment after the 202, so that none overtakes; what became old meanwhile is left out.

202 ─► 100 Trying ─► 180 Ringing … ─► the final status, which ends the subscription ─► `when_told`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from services.appserver.domain.leg import Way
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.challenges import sent_again
from services.appserver.handlers.calls.limits import NOTIFY_SECONDS, STEERED_SECONDS, TOLD_SECONDS
from services.appserver.handlers.calls.live import Party
from tandem.sip.build import clean
from tandem.sip.message import Response
from tandem.sip.transaction import ClientTransaction

if TYPE_CHECKING:
    from tandem.sip.deadlines import Deadline


class Notifier:
    """The subscription that one REFER made, and the context of its NOTIFYs."""

    def __init__(self, board: Board, party: Party, event: str) -> None:
        self._board = board
        self._party = party
        self._event = event
        """`refer`, with the CSeq of the REFER where there were others before it."""
        self._queue = [("100 Trying", False)]
        """What is to be told, and whether it is the last. The first is always told."""
        self._busy = True
        """Whether it must wait: for the time of the first, or the answer to the one before."""
        self._begun = False
        """Whether the first was told."""
        self._last = False
        """Whether the one under way is the last."""
        self._over = False
        self._then: list[Callable[[float], None]] = []
        self._limit: Deadline | None = None
        self._ends_at = 0.0

    def start(self, now: float) -> None:
        """The 202 has left. By then it has come to something: a subscription that ended before
        would leave the referrer without the outcome."""
        self._ends_at = now + STEERED_SECONDS
        self._board.deadlines.at(now + NOTIFY_SECONDS, self._go_on)

    def progress(self, status: int, reason: str, now: float) -> None:
        """The target rings."""
        self._say(f"{status} {reason}", False, now)

    def final(self, status: int, reason: str, now: float) -> None:
        """What came of it."""
        self._say(f"{status} {reason}", True, now)

    def when_told(self, then: Callable[[float], None], now: float) -> None:
        """Do this once the last has its answer, or soon if none comes."""
        if self._over:
            then(now)
            return
        self._then.append(then)
        if self._limit is None:
            self._limit = self._board.deadlines.at(now + TOLD_SECONDS, self._told)

    def _say(self, line: str, last: bool, now: float) -> None:
        if self._over or self._last or (self._queue and self._queue[-1][1]):
            return
        self._queue[0 if self._begun else 1 :] = [(line, last)]
        if not self._busy:
            self._go_on(now)

    def _go_on(self, now: float) -> None:
        self._busy, self._begun = False, True
        if not self._queue or self._over:
            return
        leg = self._party.leg
        if self._board.party(*leg.key) is not self._party:  # it has hung up
            self._told(now)
            return
        self._busy = True
        self._board.reach(leg, self._send, now)

    def _send(self, way: Way | None, now: float) -> None:
        if way is None or not self._queue:
            self._told(now)
            return
        line, self._last = self._queue.pop(0)
        left = max(1, round(self._ends_at - now))
        state = "terminated;reason=noresource" if self._last else f"active;expires={left}"
        notify = self._party.leg.request("NOTIFY", way)
        notify.lines += [
            self._board.contact,
            f"Event: {self._event}",
            f"Subscription-State: {state}",
            "Content-Type: message/sipfrag;version=2.0",
        ]
        notify.body = f"SIP/2.0 {clean(line)}\r\n".encode()
        self._board.layer.request(notify, way.hop, now, context=self)

    def _told(self, now: float) -> None:
        """The last was heard, or nobody listens."""
        self._over = True
        self._queue.clear()
        if self._limit is not None:
            self._limit.cancel()
        waiting, self._then = self._then, []
        for then in waiting:
            then(now)

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """Go on; who refuses wants no more of them (RFC 6665 §4.2.2)."""
        if response.status < 200 or sent_again(self._board, self._party.leg, tx, response, now):
            return
        if self._last or response.status >= 300:
            self._told(now)
        else:
            self._go_on(now)

    def on_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """No answer: the same."""
        self._told(now)
