"""Calls that begin with us: one end is rung, then the other, and both are joined.

first ring ─► INVITE with a held offer ─► 2xx: waits, held ─► `second` ─► ring
                                                                           │
     joined ◄─ 2xx ◄─ re-INVITE with the other's answer ◄─ 2xx ◄─ INVITE with its answer, opened
        └─ it moved ─► re-INVITE of the other

RFC 3725 §4.4 (flow IV) sends the second INVITE without an offer. Many providers refuse such an
INVITE, and gateways answer it with all that they know, which a phone then can't match. So the
second end is offered what the first has answered to the held offer, opened for sound: its address
and codecs are known from that, and with few phones they are others in the re-INVITE; for those
the other end is told once more. Only an answer that names no address is no offer (an old way to
hold): then it is flow IV after all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from services.appserver.domain.best_response import Failure, end_reason, passed_status
from services.appserver.domain.call import CallState
from services.appserver.domain.headers import retagged
from services.appserver.domain.loops import Looped
from services.appserver.domain.mangle import sdp_hosts
from services.appserver.domain.plan import SELF, Fork, Target
from services.appserver.domain.sdp import CONTENT_TYPE, HELD_WIDE, opened, places_of
from services.appserver.handlers.calls import records, timers
from services.appserver.handlers.calls.acks import send_ack
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.dialout import Dialout
from services.appserver.handlers.calls.ending import end_call, reason_line
from services.appserver.handlers.calls.limits import GLARE_SECONDS
from services.appserver.handlers.calls.live import LiveCall, Party, Steered
from services.appserver.handlers.calls.offering import Offering
from services.appserver.handlers.calls.setup import shortest
from services.appserver.ports import Pilot
from tandem.sip.message import Response

if TYPE_CHECKING:
    from services.appserver.handlers.calls.attempt import Attempt
    from services.appserver.handlers.calls.branch import Branch


def name_of(target: Target) -> str:
    """The URI that an end is known by: of an account's phones its AOR, and not their contacts."""
    return f"sip:{target.account}" if target.account else target.uri


class Connect(Dialout):
    """Such a call until both ends are there. Its pilot has the forks of both rung."""

    def __init__(
        self,
        board: Board,
        call: LiveCall,
        caller: str,
        second: Callable[[float], None],
        pilot: Pilot,
    ) -> None:
        super().__init__(board, call, caller, body=HELD_WIDE, pilot=pilot)
        self.to_value = ""
        self._second = second
        self._offer: bytes | None = None
        """What the other end was told of the first one's sound."""

    @property
    def looped(self) -> Looped:
        """What rings the first end is nobody's call, the rest comes from there."""
        caller = self.caller
        proxy = caller.leg.proxy if caller is not None and caller.leg.proxy != SELF else ""
        return Looped(None, self.call.value.source, proxy)

    def begin(self, fork: Fork, now: float) -> None:
        """Ring the first end."""
        self.call.setup = self
        self.steer(now)
        self.ring(fork, now)

    def attempt(self, targets: list[Target], ring_seconds: float, now: float) -> Attempt:
        """Ring one end or the other."""
        if targets and self.caller is None:
            self.call.value.caller = name_of(targets[0])
        elif targets:
            self.call.value.destination = name_of(targets[0])
        return super().attempt(targets, ring_seconds, now)

    # -- answers -------------------------------------------------------------------------------

    def on_answer(self, branch: Branch, party: Party, response: Response, now: float) -> None:
        """The first end is there, or the second."""
        value = self.call.value
        value.max_seconds = shortest(
            value.max_seconds, self.max_seconds, branch.target.options.max_seconds
        )
        if self.caller is not None:
            self._on_second(branch, party, response, now)
            return
        super().on_answer(branch, party, response, now)
        value.caller = name_of(branch.target)
        self._offer = opened(party.leg.said(response.body))
        self.from_value = retagged(party.leg.dialog.remote, "")
        self.body = self._offer or b""
        if self._offer is None:
            self.lines.remove(CONTENT_TYPE)
        self._second(now)

    def _on_second(self, branch: Branch, party: Party, response: Response, now: float) -> None:
        """Offer the first end what the second has said. The call is up, but nobody's yet: either
        may hang up, and it is answered when both can talk."""
        board, call, caller = self._board, self.call, self.caller
        assert caller is not None
        pilot, self._pilot = self._pilot, None
        self._end(now)
        if pilot is not None:
            call.waiter = Steered(pilot, call.waiter)
        party.inviting = None
        party.leg.note(response)
        party.other, caller.other = caller, party
        call.a, call.b = caller, party
        call.value.state = CallState.UP
        call.value.a, call.value.b = caller.leg, party.leg
        if branch.target.options.mangle:
            caller.leg.sdp_host = sdp_hosts(caller.leg.text, party.leg.text)[0]
        timers.start(board, call, None, now)
        if self._offer is None:
            party.awaiting = branch
        else:
            send_ack(board, party.leg, branch.seq, now, keep=branch)
        Bridging(board, call, branch, self._offer, party.leg.said(response.body)).send(now)


class Bridging:
    """Two ends that were rung one after the other, until they can talk."""

    __slots__ = ("_board", "_branch", "_call", "_retried", "_said", "_told")

    def __init__(
        self, board: Board, call: LiveCall, branch: Branch, told: bytes | None, said: bytes
    ) -> None:
        self._board = board
        self._call = call
        self._branch = branch
        self._told = told
        """What the second end was offered; None: its own 2xx is the offer."""
        self._said = said
        """What it said."""
        self._retried = False

    def send(self, now: float) -> None:
        """Offer the first end what the second has said."""
        if self._call.a is not None:
            Offering(self._board, self._call.a, self._said, self._on_answer).send(now)

    def _on_answer(self, status: int, answer: bytes, now: float) -> None:
        caller, callee = self._call.a, self._call.b
        assert caller is not None
        assert callee is not None
        if status >= 300:
            self._refused(status, now)
            return
        said = caller.leg.said(answer)
        if callee.awaiting is not None:
            callee.awaiting, seq = None, self._branch.seq
            lines = [CONTENT_TYPE]
            send_ack(self._board, callee.leg, seq, now, lines=lines, body=said, keep=self._branch)
        elif said and places_of(said) != places_of(self._told or b""):
            Offering(self._board, callee, said, self._on_told).send(now)
        target = self._branch.target.uri
        records.answered(self._board, self._call.value, callee.leg.number, target)
        self._call.joined(now)

    def _on_told(self, status: int, answer: bytes, now: float) -> None:
        """The second end knows where the first has moved. One that does not want to know may
        hear nothing; its user notices, and can hang up."""
        if status in timers.GONE and self._call.b is not None:
            timers.vanished(self._board, self._call.b, status, now)

    def _refused(self, status: int, now: float) -> None:
        """Once more after a glare (RFC 3261 §14.1), else it is the end."""
        if status == 491 and not self._retried:
            self._retried = True
            self._board.deadlines.at(now + GLARE_SECONDS, self.send)
            return
        status = 480 if status == 491 else passed_status(status)
        lines = [reason_line(status, "The two ends could not be joined")]
        reason = end_reason(Failure(status, None))
        end_call(self._board, self._call, reason, now, lines=lines, status=status)
