"""The transaction layer: finds the transaction that a message belongs to (RFC 3261 §17.1.3,
§17.2.3), and stands between the machines and their user.

    receive(message) ─► a machine of transaction_machine.py ─► TransactionUser.on_…
    request(), respond(), cancel() ─► a machine ─► send(datagram, peer)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from tandem.sip.build import response_to
from tandem.sip.deadlines import Deadlines
from tandem.sip.hop import Hop, hop
from tandem.sip.message import Request, Response
from tandem.sip.transaction_machine import (
    ClientTransaction,
    Input,
    InviteClientTransaction,
    InviteServerTransaction,
    ServerTransaction,
    State,
    Timers,
    Transaction,
)
from tandem.sip.via import MAGIC_COOKIE

__all__ = [
    "ClientTransaction", "Hop", "ServerTransaction", "State", "Timers", "TransactionLayer",
    "TransactionUser", "hop",
]  # fmt: skip

MAX_TRANSACTIONS: Final = 200_000
"""Server transactions at once, about 3 kB each; past it a new request gets 503."""

Key: TypeAlias = tuple[str, ...]


class TransactionUser(Protocol):
    """The core above. All calls come from inside `receive` or `Deadlines.run`."""

    def on_request(self, tx: ServerTransaction, now: float) -> None:
        """A new request, neither ACK nor CANCEL. Answer it with `respond`, now or later."""

    def on_ack(self, ack: Request, hop: Hop, now: float) -> None:
        """An ACK that belongs to no transaction: one for a 2xx."""

    def on_cancel(self, tx: ServerTransaction, cancel: Request, now: float) -> None:
        """The INVITE `tx`, not finally answered, was cancelled. The CANCEL has its 200."""

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """A response to our request: every provisional, one failure, or each 2xx of an INVITE,
        also those that are sent again."""

    def on_client_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """Our request got no final answer: 408."""

    def on_stray_response(self, response: Response, hop: Hop, now: float) -> None:
        """A response of no transaction. A 2xx to an INVITE has to be ACKed all the same."""

    def on_server_timeout(self, tx: ServerTransaction, now: float) -> None:
        """No ACK came for our final answer to the INVITE `tx`."""


class TransactionLayer:
    """All transactions of one appserver.

    `send(data, peer)` puts a message on the link; `sent_by` is what our Vias name; `new_token()`
    gives random text for branches and tags. `sent(call_id, data, peer)` is told what has left.
    """

    def __init__(
        self,
        send: Callable[[bytes, str], None],
        user: TransactionUser,
        deadlines: Deadlines,
        *,
        sent_by: str,
        new_token: Callable[[], str],
        timers: Timers | None = None,
        max_transactions: int = MAX_TRANSACTIONS,
        sent: Callable[[str, bytes, str], None] = lambda call_id, data, peer: None,
    ) -> None:
        self.timers = timers or Timers()
        self._max_transactions = max_transactions
        self.deadlines = deadlines
        self._send = send
        self._sent = sent
        self._user = user
        self._via = f"SIP/2.0/UDP {sent_by};branch={MAGIC_COOKIE}"
        self._new_token = new_token
        self.answers = [0] * 7
        """Answers to requests by the hundreds of their status, provisional ones included."""
        self._servers: dict[Key, ServerTransaction] = {}
        self._clients: dict[Key, ClientTransaction] = {}

    def __len__(self) -> int:
        return len(self._servers) + len(self._clients)

    # -- from the link -------------------------------------------------------------------------

    def receive(self, message: Request | Response, hop: Hop, now: float) -> None:
        """Take a message that passed `check()`."""
        if isinstance(message, Response):
            self._receive_response(message, hop, now)
        elif message.method == "ACK":
            self._receive_ack(message, hop, now)
        else:
            self._receive_request(message, hop, now)

    def _receive_response(self, response: Response, hop: Hop, now: float) -> None:
        tx = self._clients.get((response.top[0], response.cseq.method))
        if tx is None:
            self._user.on_stray_response(response, hop, now)
            return
        tx.feed(_input_of(response.status), response, now)

    def _receive_ack(self, ack: Request, hop: Hop, now: float) -> None:
        tx = self._servers.get(server_key(ack, "INVITE"))
        if tx is None:
            self._user.on_ack(ack, hop, now)
        else:
            tx.feed(Input.ACK, ack, now)

    def _receive_request(self, request: Request, hop: Hop, now: float) -> None:
        key = server_key(request, request.method)
        tx = self._servers.get(key)
        if tx is not None:
            tx.feed(Input.REQUEST, request, now)
            return
        if self._is_full(request):
            answer = response_to(request, 503, tag=self._new_token(), headers=["Retry-After: 5"])
            self._put(request.call_id, answer.to_bytes(), hop.peer)
            return
        make = InviteServerTransaction if request.method == "INVITE" else ServerTransaction
        tx = self._servers[key] = make(self, key, hop, request)
        if request.method == "CANCEL":
            self._receive_cancel(tx, now)
        else:
            self._user.on_request(tx, now)
            if not tx.invite and tx.state in _UNANSWERED:
                # The client gives up after 64*T1 (timer F), so no answer matters after that; T4
                # more for a request that was underway.
                tx.end_at(now + self.timers.patience + self.timers.t4)

    def _is_full(self, request: Request) -> bool:
        if len(self._servers) < self._max_transactions:
            return False
        # a CANCEL makes room: there is at most one for each INVITE
        return request.method != "CANCEL" or server_key(request, "INVITE") not in self._servers

    def _receive_cancel(self, tx: ServerTransaction, now: float) -> None:
        """§9.2: answer 200 if the INVITE is known, 481 if not; the rest is the user's."""
        invite = self._servers.get(server_key(tx.request, "INVITE"))
        if invite is None:
            self.reply(tx, 481, now)
            return
        # "the To tag of the response to the CANCEL and the To tag in the response to the original
        # request SHOULD be the same"
        tx.tag = invite.tag = invite.tag or self._new_token()
        self.reply(tx, 200, now)
        if invite.state is State.PROCEEDING:
            self._user.on_cancel(invite, tx.request, now)

    # -- from the user -------------------------------------------------------------------------

    def respond(self, tx: ServerTransaction, response: Response, now: float) -> None:
        """Send an answer. One that comes after the final answer is thrown away."""
        if (tx.state, what := _input_of(response.status)) in tx.table:
            self.answers[response.status // 100] += 1
            tx.feed(what, response, now)

    def reply(
        self, tx: ServerTransaction, status: int, now: float, reason: str | None = None,
        headers: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        """Answer with no body; a To-tag is chosen once for each transaction (§8.2.6.2)."""
        if tx.tag is None and status != 100:
            tx.tag = self._new_token()
        self.respond(tx, response_to(tx.request, status, reason, tag=tx.tag, headers=headers), now)

    def acknowledged(self, tx: ServerTransaction, now: float) -> None:
        """The 2xx to this INVITE has its ACK: it is not sent again."""
        if (tx.state, Input.ACKNOWLEDGED) in tx.table:
            tx.feed(Input.ACKNOWLEDGED, None, now)

    def request(
        self, request: Request, hop: Hop, now: float, context: Any = None
    ) -> ClientTransaction:
        """Begin a client transaction: put our Via on top and send."""
        branch = self._add_via(request)
        key = (branch, request.method)
        make = InviteClientTransaction if request.method == "INVITE" else ClientTransaction
        tx = self._clients[key] = make(self, key, hop, request, context, now)
        self._put(request.call_id, tx.last, hop.peer)
        return tx

    def send_ack(self, ack: Request, hop: Hop) -> bytes:
        """Send the ACK of a 2xx, which makes no transaction (§13.2.2.4). Returns what was sent,
        to be sent again when the 2xx comes again."""
        self._add_via(ack)
        data = ack.to_bytes()
        self._put(ack.call_id, data, hop.peer)
        return data

    def send_again(self, ack: bytes, hop: Hop) -> None:
        """Send what `send_ack` has returned."""
        self._put("", ack, hop.peer)

    def cancel(self, tx: ClientTransaction, now: float) -> None:
        """Cancel an INVITE of ours: at once, or when its first provisional comes (§9.1)."""
        if tx.cancelled or tx.state not in (State.CALLING, State.PROCEEDING):
            return
        tx.cancelled = True
        if tx.state is State.PROCEEDING:
            self.send_due_cancel(tx, now)

    # -- for the machines ----------------------------------------------------------------------

    def transmit(self, tx: Transaction) -> None:
        self._put(tx.request.call_id, tx.last, tx.hop.peer)

    def deliver_response(self, tx: Transaction, response: Response, now: float) -> None:
        assert isinstance(tx, ClientTransaction)
        if tx.context is not _CANCEL:
            self._user.on_response(tx, response, now)

    def deliver_ack(self, tx: Transaction, ack: Request, now: float) -> None:
        self._user.on_ack(ack, tx.hop, now)

    def fail(self, tx: Transaction, now: float) -> None:
        if isinstance(tx, ServerTransaction):
            self._user.on_server_timeout(tx, now)
        elif isinstance(tx, ClientTransaction) and tx.context is not _CANCEL:
            self._user.on_client_failure(tx, 408, now)

    def acknowledge_failure(self, tx: Transaction, response: Response) -> None:
        """§17.1.1.3: the ACK of a refusal, in the INVITE's own branch, with its Route."""
        assert isinstance(tx, ClientTransaction)
        ack = _same_transaction(tx.request, "ACK")
        ack.set("To", response.first("to") or str(tx.request.to))
        self._put(tx.request.call_id, ack.to_bytes(), tx.hop.peer)

    def send_due_cancel(self, tx: Transaction, now: float) -> None:
        """§9.1: "a CANCEL constructed by a client MUST have only a single Via header field value
        matching the top Via value in the request being cancelled"."""
        assert isinstance(tx, ClientTransaction)
        if not tx.cancelled:
            return
        cancel = _same_transaction(tx.request, "CANCEL")
        key = (tx.request.top[0], "CANCEL")
        if key in self._clients:
            return
        own = self._clients[key] = ClientTransaction(self, key, tx.hop, cancel, _CANCEL, now)
        self._put(tx.request.call_id, own.last, tx.hop.peer)
        tx.end_at(now + self.timers.patience)

    def forget(self, tx: Transaction) -> None:
        keep: dict[Any, Any] = self._servers if isinstance(tx, ServerTransaction) else self._clients
        keep.pop(tx.key, None)

    def _add_via(self, request: Request) -> str:
        token = self._new_token()
        request.add_via(f"Via: {self._via}{token}")
        return MAGIC_COOKIE + token

    def _put(self, call_id: str, data: bytes, peer: str) -> None:
        self._send(data, peer)
        self._sent(call_id, data, peer)


_UNANSWERED: Final = frozenset({State.TRYING, State.PROCEEDING})

_CANCEL: Final = object()
"""The context of our own CANCELs: their answers mean nothing to the user."""


def _input_of(status: int) -> Input:
    if status < 200:
        return Input.PROVISIONAL
    return Input.SUCCESS if status < 300 else Input.FAILURE


def server_key(request: Request, method: str) -> Key:
    """§17.2.3: branch, sent-by and method; without the cookie, what RFC 2543 compared."""
    branch, sent_by = request.top
    if branch.startswith(MAGIC_COOKIE):
        return (branch, sent_by, method)
    return (
        str(request.via), method, request.call_id, request.from_tag or "",
        str(request.cseq.number),
        "" if method == "INVITE" else request.uri,
    )  # fmt: skip


def _same_transaction(request: Request, method: str) -> Request:
    lines = [
        *request.raw_lines("via")[:1],
        *request.raw_lines("route"),
        *request.raw_lines("from", "to", "call-id"),
        f"CSeq: {request.cseq.number} {method}",
        "Max-Forwards: 70",
        "Content-Length: 0",
    ]
    return Request(method, request.uri, lines)
