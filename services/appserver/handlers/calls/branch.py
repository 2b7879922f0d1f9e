"""One target of a fork: rung by its hops in order until one of them leads to somebody.

send ─► 1xx ─► 2xx          the attempt decides: the first wins, a later one is ACKed and BYEd
  │      ├───► 3xx-6xx      this branch has failed
  │      └───► 401, 407     sent again with credentials, once
  └─ 503, 430, 408 or a transport failure before any 1xx ─► the next hop
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.appserver.domain.best_response import Failure
from services.appserver.domain.headers import retagged
from services.appserver.domain.leg import Leg
from services.appserver.domain.location import token_of
from services.appserver.domain.mangle import public, sdp_hosts
from services.appserver.domain.plan import (
    BAD_WAY,
    NEXT_HOP_ON,
    PLAIN,
    SELF,
    Credentials,
    NextHop,
    Target,
)
from services.appserver.domain.routing import reachable
from services.appserver.handlers.calls import records
from services.appserver.handlers.calls.acks import InviteContext, send_ack
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.dress import dressed
from services.appserver.handlers.calls.ending import send_bye
from services.appserver.handlers.calls.live import Party
from tandem.sip.dialog import Dialog
from tandem.sip.digest_client import CHALLENGED, DigestClient
from tandem.sip.message import Request, Response
from tandem.sip.transaction import ClientTransaction
from tandem.sip.transaction import hop as link_hop

if TYPE_CHECKING:
    from services.appserver.handlers.calls.attempt import Attempt
    from services.appserver.handlers.calls.side import Side
    from tandem.sip.deadlines import Deadline


class Branch(InviteContext):
    """The context of the INVITE that rings one target."""

    __slots__ = (
        "_attempt", "_board", "_call_id", "_digest", "_hop", "_last_status", "_limit", "_tag",
        "breadth", "early", "number", "over", "provisional", "side", "target", "tx", "won",
    )  # fmt: skip

    def __init__(self, board: Board, side: Side, attempt: Attempt, target: Target) -> None:
        super().__init__(0)
        self._attempt = attempt
        self._board = board
        self._digest: DigestClient | None = None
        self._limit: Deadline | None = None
        self._call_id = board.new_token()
        self._tag = board.new_token()
        self._hop = 0
        self._last_status = 0
        self.side = side
        self.target = target
        self.number = 0
        """Of its leg, from 1 in the order in which legs of the call are rung."""
        self.breadth = 0
        """How many branches it may become; 0: as many as each of its fork."""
        self.early: dict[str, Party] = {}
        """Our parties of the early dialogs that the far end made, by its To-tag."""
        self.over = False
        """Whether it has failed, won or been given up."""
        self.provisional = False
        self.won = False
        """Whether its 2xx made the call."""
        self.tx: ClientTransaction | None = None

    @property
    def hop(self) -> NextHop:
        """The way that it takes."""
        return self.target.hops[self._hop]

    # -- sending -------------------------------------------------------------------------------

    def send(self, now: float) -> None:
        """Ring the target by the hop that is next."""
        hop = self.target.hops[self._hop]
        self.seq += 1
        side, options = self.side, self.target.options
        what = side if options is PLAIN else dressed(side, self.target, self.breadth)
        lines = [
            *(f"Route: {route}" for route in hop.route),
            f"From: {retagged(what.from_value, self._tag)}",
            f"To: {what.to_value or '<' + self.target.uri + '>'}",
            f"Call-ID: {self._call_id}",
            f"CSeq: {self.seq} INVITE",
            *what.lines,
        ]
        if options.credentials is not None:
            lines += self._credentials(options.credentials).lines("INVITE", self.target.uri)
        body = what.body
        if options.mangle and options.body is None:
            body = public(body, sdp_hosts(side.call.value.source, hop.text)[0])
        invite = Request("INVITE", self.target.uri, lines, body)
        invite.unsized = True
        call = side.call.value
        records.forwarded(self._board, call, self.number, self.target.uri, hop.text, self._call_id)
        self._watch()
        self.tx = self._board.layer.request(
            invite, link_hop(hop.proxy, hop.reliable), now, context=self
        )
        if hop.proxy == SELF:  # it comes in later, never from inside of the send
            self._board.loops.tell(invite.top[0], side.looped)

    def _credentials(self, given: Credentials) -> DigestClient:
        if self._digest is None:
            self._digest = DigestClient(
                given.username, given.password, self._board.new_token, realm=given.realm
            )
        return self._digest

    def ring_for(self, seconds: float, now: float) -> None:
        """Give it up after so long."""
        self._limit = self._board.deadlines.at(now + seconds, self._rang_enough)

    def _rang_enough(self, now: float) -> None:
        self.abandon(408, now)

    def _is_over(self) -> None:
        self.over = True
        self._unwatch()
        if self._limit is not None:
            self._limit.cancel()

    def _watch(self) -> None:
        """Be told when the connection that it rings over is gone."""
        hop = self.target.hops[self._hop]
        if hop.pinned and not hop.movable and hop.route:
            self._board.ringing.setdefault(token_of(hop.route[0]), set()).add(self)

    def _unwatch(self) -> None:
        hop = self.target.hops[self._hop]
        if hop.pinned and not hop.movable and hop.route:
            token = token_of(hop.route[0])
            ringing = self._board.ringing.get(token)
            if ringing is not None:
                ringing.discard(self)
                if not ringing:
                    del self._board.ringing[token]

    def proxy_lost(self, proxy: str, now: float) -> None:
        """The proxy is away. What rings on UDP goes on: its answer may pass yet. What did not
        ring is tried by another proxy, and a connection is gone."""
        hop = self.target.hops[self._hop]
        if self.over or self.tx is None or hop.proxy != proxy:
            return
        if not hop.movable:
            self.abandon(430, now)
        elif not self.provisional:
            ways = reachable(hop, self._board.proxies, now)
            hops = self.target.hops
            self.target = replace(
                self.target, hops=(*hops[: self._hop + 1], *ways, *hops[self._hop + 1 :])
            )
            self._board.layer.cancel(self.tx, now)
            self._fail(430, None, now)

    def give_up(self, now: float) -> None:
        """Somebody else answered, or nobody is interested any more: CANCEL."""
        if self.over:
            return
        self._is_over()
        self._forget_early()
        tx, self.tx = self.tx, None
        if tx is not None:
            self._board.layer.cancel(tx, now)

    def _forget_early(self, but: Party | None = None) -> None:
        for party in self.early.values():
            if party is not but:
                self._board.leave(party)
                if party.other is not None:
                    self._board.leave(party.other)
                party.part()
        self.early.clear()

    # -- the client transaction ----------------------------------------------------------------

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """A response, maybe of a hop that was given up."""
        if tx is self.tx:
            self._judge(response.status not in BAD_WAY, now)
        if response.status < 200:
            if tx is self.tx and not self.over:
                self._on_provisional(response, now)
        elif response.status < 300:
            self._on_success(tx, response, now)
        elif tx is self.tx and not self.over and not self._sent_again(tx, response, now):
            self._fail(response.status, response, now)

    def on_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """No final answer."""
        if tx is self.tx and not self.over:
            self._judge(self.provisional, now)
            self._fail(status, None, now)

    def _sent_again(self, tx: ClientTransaction, response: Response, now: float) -> bool:
        """Whether it was a challenge that we could answer: the leg goes on."""
        if self._digest is None or response.status not in CHALLENGED:
            return False
        invite = self._digest.again(tx.request, response, self.seq + 1)
        if invite is None:
            return False
        self.seq += 1
        self._forget_early()
        self.tx = self._board.layer.request(invite, tx.hop, now, context=self)
        return True

    def _judge(self, good: bool, now: float) -> None:
        if self._board.judge is not None:
            self._board.judge(self.hop, good, now)

    def _on_provisional(self, response: Response, now: float) -> None:
        if response.status == 100:
            return
        self.provisional = True
        if response.status != self._last_status:
            self._last_status = response.status
            records.progressed(self._board, self.side.call.value, self.number, response)
        # without a To-tag it makes no dialog (an RFC 2543 server)
        tag = response.to_tag
        party = self.party(response) if tag in self.early or (tag and not self.side.full) else None
        self.side.on_progress(party, response, now)

    def _on_success(self, tx: ClientTransaction, response: Response, now: float) -> None:
        if self.acked_again(self._board, response):
            return
        if self.won and self._board.party(self._tag, response.to_tag or "") is not None:
            return  # the ACK of the winner waits for the caller's
        if self.over or tx is not self.tx:
            self._refuse_late(tx, response, now)
            return
        party = self.party(response)
        party.leg.dialog.confirm(response)
        self._is_over()
        self.won = True
        self.tx = None
        self._forget_early(but=party)
        self._attempt.on_answer(self, party, response, now)

    def _refuse_late(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """A late 2xx, or one of a further fork: ACK it, then BYE (§13.2.2.4)."""
        leg = self._leg(Dialog.from_response(tx.request, response))
        send_ack(self._board, leg, tx.request.cseq.number, now, keep=self)
        send_bye(self._board, leg, [], now)

    def _fail(self, status: int, response: Response | None, now: float) -> None:
        failure = Failure(status, response, self.provisional)
        records.leg_failed(self._board, self.side.call.value, self.number, failure)
        self._forget_early()
        self._unwatch()
        more = self._hop + 1 < len(self.target.hops)
        if more and status in NEXT_HOP_ON and not self.provisional:
            self._hop += 1
            self.send(now)
            return
        self._is_over()
        self.tx = None
        self._attempt.on_failure(self, failure, now)

    # -- dialogs -------------------------------------------------------------------------------

    def party(self, response: Response) -> Party:
        """Our party of the dialog that this response belongs to, made if it is new."""
        tag = response.to_tag or ""
        party = self.early.get(tag)
        if party is None:
            assert self.tx is not None
            leg = self._leg(Dialog.from_response(self.tx.request, response))
            party = self.early[tag] = self.side.pair(leg)
            if self.target.options.mangle:
                self._mangle(party)
            party.inviting = self.tx
            party.invite_seq = self.seq
        return party

    def _mangle(self, party: Party) -> None:
        """Have private addresses replaced in what the two say from now on."""
        caller, callee = sdp_hosts(self.side.call.value.source, self.hop.text)
        party.leg.sdp_host = callee
        if party.other is not None:
            party.other.leg.sdp_host = caller

    def _leg(self, dialog: Dialog) -> Leg:
        hop = self.target.hops[self._hop]
        options = self.target.options
        leg = Leg(
            dialog=dialog,
            number=self.number,
            proxy=hop.proxy,
            reliable=hop.reliable,
            pinned=hop.pinned,
            account=self.target.account,
            text=hop.text,
        )
        if options is not PLAIN:
            leg.transfer, leg.provider = options.transfer, options.provider
            leg.digest = self._digest
        return leg

    def abandon(self, status: int, now: float) -> None:
        """It can't go on: the far end hung up before it answered, or made no sense."""
        if self.over or self.tx is None:
            return
        tx, self.tx = self.tx, None
        self._board.layer.cancel(tx, now)
        self._unwatch()
        self._hop = len(self.target.hops) - 1
        self._fail(status, None, now)
