"""A blind transfer: somebody is rung who takes a leg's place in its call.

begin ─► the pilot rings ─► 2xx ─► re-INVITE of the stayer with the answer ─► 2xx ─► joined
             │                └─ hangs up ─► the end          ├─ 491: again (reoffer.py)
             └─ nobody answers ─► the end                     └─ refused ─► BYE, the end
At the end the old call is as it was, or if its goer has left meanwhile the stayer gets a BYE.

The target is offered what the stayer last said of its media, which each leg keeps. To ask for an
offer by an INVITE without one (RFC 3725 §4) would have to be answered in its ACK, before anybody
is rung: the old call's sound would stop for as long as it rings, and phones that are asked so
change their ports. What was said last is what the stayer listens to just now; it is opened, since
the old call may be on hold. An end of which nothing is known (its description was too long, or
names no address) gets the target's offer, and its answer goes into the target's ACK.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.appserver.domain.leg import Leg
from services.appserver.domain.mangle import sdp_hosts
from services.appserver.domain.plan import Fork
from services.appserver.domain.sdp import CONTENT_TYPE, opened, places_of
from services.appserver.domain.transfers import Order
from services.appserver.handlers.calls import records, timers
from services.appserver.handlers.calls.acks import send_ack
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.dress import REPLACES
from services.appserver.handlers.calls.ending import end_invites, hung_up, reason_line, say_bye
from services.appserver.handlers.calls.live import LiveCall, Party
from services.appserver.handlers.calls.moving import Move, Moving
from services.appserver.handlers.calls.offering import ALLOW, Offering
from services.appserver.handlers.calls.setup import shortest
from services.appserver.ports import Pilot
from tandem.sip.message import Response

if TYPE_CHECKING:
    from services.appserver.handlers.calls.branch import Branch
    from services.appserver.handlers.calls.notifier import Notifier


class Transfer(Moving):
    """Such a call until the new party and the stayer are joined."""

    def __init__(
        self,
        board: Board,
        call: LiveCall,
        goer: Party,
        pilot: Pilot | None = None,
        notifier: Notifier | None = None,
        lines: Sequence[str] = (),
    ) -> None:
        move = self._one = Move(goer, 0)
        super().__init__(board, call, (move,), pilot, notifier)
        leg = move.stayer.leg
        self.from_value = leg.far_end
        self.to_value = ""
        self.body = opened(leg.said(leg.sdp)) or b""
        self.lines = ["Max-Forwards: 70", board.contact, ALLOW, REPLACES, *lines]
        if self.body:
            self.lines.append(CONTENT_TYPE)
        self._party: Party | None = None
        """Who has answered."""
        self._branch: Branch | None = None
        self._sdp_host = leg.sdp_host
        """The stayer's in the old call."""

    @property
    def joining(self) -> bool:
        """Whether somebody has answered."""
        return self._party is not None

    def steered(self, pilot: Pilot, now: float) -> None:
        """From now on the pilot rings whom it wants."""
        self._pilot = pilot
        self.steer(now)

    def ring(self, fork: Fork, now: float) -> bool:
        """Ring these legs; False if something rings, or somebody has answered."""
        return self._party is None and super().ring(fork, now)

    # -- from the branches ---------------------------------------------------------------------

    def pair(self, leg: Leg) -> Party:
        """The party of a dialog of a branch. It has no other end yet."""
        party = Party(leg, self.call)
        self._board.enter(party)
        return party

    def on_progress(self, party: Party | None, response: Response, now: float) -> None:
        """Who asked for it is told."""
        if self._notifier is not None:
            self._notifier.progress(response.status, response.reason, now)

    def on_answer(self, branch: Branch, party: Party, response: Response, now: float) -> None:
        """Somebody has answered: the stayer is told where."""
        self._attempt = None
        party.inviting = None
        party.leg.note(response)
        self._party, self._branch = party, branch
        value, options = self.call.value, branch.target.options
        value.max_seconds = shortest(value.max_seconds, self.max_seconds, options.max_seconds)
        stayer = self._one.stayer.leg
        if options.mangle:
            stayer.sdp_host = sdp_hosts(stayer.text, party.leg.text)[0]
        if self.body:
            send_ack(self._board, party.leg, branch.seq, now, keep=branch)
        else:
            party.awaiting = branch
        said = party.leg.said(response.body)
        if said:
            self._offer(self._one, said, now)
        else:
            self.finish(488, now, "media not acceptable")

    def _on_offered(self, move: Move, status: int, answer: bytes, now: float) -> None:
        party, branch = self._party, self._branch
        assert party is not None
        assert branch is not None
        if status >= 300:
            self._refused(move, status, now)
            return
        self._branch = None  # what has ended must not be a cycle
        said = move.stayer.leg.said(answer)
        late, party.awaiting = party.awaiting, None
        self._join(move.stayer, party, branch.target.uri, now)
        if late is not None:
            lines = [CONTENT_TYPE]
            send_ack(self._board, party.leg, branch.seq, now, lines=lines, body=said, keep=branch)
        elif said and places_of(said) != places_of(self.body):
            Offering(self._board, party, said, self._on_told).send(now)

    def _on_told(self, status: int, answer: bytes, now: float) -> None:
        """The new party knows where the stayer has moved, or does not want to: its user notices."""
        if status in timers.GONE and self._party is not None:
            timers.vanished(self._board, self._party, status, now)

    # -- ends ----------------------------------------------------------------------------------

    def hung_up(self, party: Party, now: float, reason: str = "") -> None:
        """One of the new call's ends has had enough."""
        if party is self._party:
            self._party = None
            end_invites(self._board, party, 487, now)
            hung_up(self._board, party, now)
            self.finish(480, now, "callee hung up")
        else:
            super().hung_up(party, now, reason)

    def _drop(self, status: int, reason: str, now: float) -> None:
        party, self._party, self._branch = self._party, None, None
        self._one.stayer.leg.sdp_host = self._sdp_host
        if party is not None:
            end_invites(self._board, party, 487, now)
            say_bye(self._board, party, [reason_line(status, reason)], now)


def open_transfer(
    board: Board,
    goer: Party,
    destination: str,
    pilot: Pilot | None,
    now: float,
    *,
    order: Order,
    notifier: Notifier | None = None,
    lines: Sequence[str] = (),
) -> Transfer:
    """Begin one; nothing rings yet."""
    assert goer.other is not None
    old = goer.call.value
    call = LiveCall(records.new_transfer(board, old, goer.other.leg, destination))
    side = Transfer(board, call, goer, pilot, notifier, lines)
    board.open(call)
    records.started(board, call.value)
    records.transfer_started(board, old, call.value, order, goer.leg.number)
    if pilot is not None:
        side.steer(now)
    return side
