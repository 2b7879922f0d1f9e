"""A phone for `tests.support.sipworld`: a user agent of its own transaction layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tandem.sip.build import record_routes, response_to
from tandem.sip.dialog import Dialog
from tandem.sip.message import Message, Request, Response
from tandem.sip.transaction import (
    ClientTransaction,
    Hop,
    ServerTransaction,
    State,
    TransactionLayer,
)

if TYPE_CHECKING:
    from tests.support.sipworld import World

OFFER: Final = b"v=0\r\no=alice 1 1 IN IP4 192.0.2.1\r\ns=-\r\nm=audio 4000 RTP/AVP 0\r\n"
ANSWER: Final = b"v=0\r\no=bob 1 1 IN IP4 192.0.2.2\r\ns=-\r\nm=audio 5000 RTP/AVP 0\r\n"
SDP: Final = ("Content-Type: application/sdp",)

Behaviour = Callable[["Phone", ServerTransaction], None]


def ring(phone: Phone, tx: ServerTransaction) -> None:
    """180 and wait for the test."""
    phone.answer(180)


def pick_up(phone: Phone, tx: ServerTransaction) -> None:
    """180, 200."""
    phone.answer(180)
    phone.answer(200, body=ANSWER)


def silent(phone: Phone, tx: ServerTransaction) -> None:
    """No answer at all."""


def refuse(status: int, *headers: str) -> Behaviour:
    """A final answer."""

    def behave(phone: Phone, tx: ServerTransaction) -> None:
        phone.answer(status, headers=headers)

    return behave


class Phone:
    """A user agent with one call at a time: what it does with an INVITE is its behaviour, all
    else is done as the RFC says, unless a switch says otherwise."""

    def __init__(
        self, world: World, name: str, behaviour: Behaviour = pick_up, *, acks: bool = True
    ) -> None:
        self.world = world
        self.name = name
        self.display = name.title()
        self.behaviour = behaviour
        self.acks = acks
        """Whether it ACKs 2xx answers."""
        self.contact = f"Contact: <sip:{name}@{name}.invalid>"
        self.ack_body = b""
        self.methods: dict[str, Behaviour] = {}
        """How it answers requests in a dialog, 200 if not listed."""
        self.layer = TransactionLayer(
            self._send, self, world.deadlines, sent_by=f"{name}.invalid", new_token=world.token
        )
        self.dialog: Dialog | None = None
        self.early: dict[str, Dialog] = {}
        self.incoming: ServerTransaction | None = None
        self.outgoing: ClientTransaction | None = None
        self.requests: list[Request] = []
        self.responses: list[Response] = []
        self.confirmed: list[Request] = []
        """The ACKs of its 2xx."""
        self.timeouts = 0

    def _send(self, data: bytes, peer: str) -> None:
        self.world.send(self.name, "switch", data)

    def receive(self, message: Message) -> None:
        """From the network."""
        assert isinstance(message, Request | Response)
        self.layer.receive(message, Hop("proxy", False), self.world.now)

    def statuses(self, method: str) -> list[int]:
        """What came back for its own requests of this method."""
        return [r.status for r in self.responses if r.cseq.method == method]

    def of(self, method: str) -> list[Request]:
        """The requests of this method that it got, without retransmissions."""
        return [request for request in self.requests if request.method == method]

    # -- calling -------------------------------------------------------------------------------

    def call(
        self, user: str = "bob", *, body: bytes = OFFER, headers: tuple[str, ...] = ()
    ) -> ClientTransaction:
        """INVITE somebody."""
        lines = [
            f"From: {self.display} <sip:{self.name}@example.org>;tag={self.world.token()}",
            f"To: <sip:{user}@example.org>",
            f"Call-ID: {self.world.token()}@{self.name}",
            "CSeq: 1 INVITE",
            "Max-Forwards: 70",
            self.contact,
            *(SDP if body else ()),
            *headers,
        ]
        request = Request("INVITE", f"sip:{user}@example.org", lines, body)
        self.outgoing = self.layer.request(request, Hop("proxy", False), self.world.now)
        return self.outgoing

    def cancel(self) -> None:
        """CANCEL its INVITE."""
        assert self.outgoing is not None
        self.layer.cancel(self.outgoing, self.world.now)

    def send(
        self,
        method: str,
        *,
        body: bytes = b"",
        headers: tuple[str, ...] = (),
        dialog: Dialog | None = None,
    ) -> ClientTransaction:
        """A request in its dialog."""
        inside = dialog or self.dialog
        assert inside is not None
        request = inside.request(method)
        request.lines += [self.contact, *(SDP if body else ()), *headers]
        request.body = body
        tx = self.layer.request(request, Hop("proxy", False), self.world.now)
        if method == "INVITE":
            self.outgoing = tx
        return tx

    def bye(self) -> ClientTransaction:
        """Hang up."""
        return self.send("BYE")

    def answer(
        self, status: int, *, body: bytes = b"", headers: tuple[str, ...] = (), tag: str = ""
    ) -> None:
        """Answer the INVITE that came last."""
        tx = self.incoming
        assert tx is not None
        if tx.tag is None:
            tx.tag = self.world.token()
        lines = [*record_routes(tx.request), self.contact, *(SDP if body else ()), *headers]
        response = response_to(tx.request, status, tag=tag or tx.tag, headers=lines, body=body)
        if 200 <= status < 300 and not tx.request.to.tag:
            self.dialog = Dialog.from_request(tx.request, tag or tx.tag)
        self.layer.respond(tx, response, self.world.now)

    # -- the transaction user ------------------------------------------------------------------

    def on_request(self, tx: ServerTransaction, now: float) -> None:
        """Behave."""
        self.requests.append(tx.request)
        if tx.request.method == "INVITE":
            self.incoming = tx
            behaviour = self.methods.get("INVITE") if tx.request.to.tag else self.behaviour
            if behaviour is None:
                self.answer(200, body=ANSWER)
            else:
                behaviour(self, tx)
            return
        if self.dialog is not None:
            self.dialog.receive(tx.request)
        behave = self.methods.get(tx.request.method)
        if behave is None:
            self.layer.reply(tx, 200, now, headers=(self.contact,))
        else:
            behave(self, tx)

    def on_ack(self, ack: Request, hop: Hop, now: float) -> None:
        """The ACK of its 2xx."""
        self.confirmed.append(ack)
        tx = self.incoming
        if tx is not None and tx.request.cseq.number == ack.cseq.number:
            self.layer.acknowledged(tx, now)

    def on_cancel(self, tx: ServerTransaction, cancel: Request, now: float) -> None:
        """487."""
        self.requests.append(cancel)
        self.layer.reply(tx, 487, now)

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """Keep it; make dialogs; ACK."""
        self.responses.append(response)
        if tx.request.method != "INVITE" or response.status == 100 or response.status >= 300:
            return
        if response.status < 200:
            if response.to.tag and response.to.tag not in self.early:
                self.early[response.to.tag] = Dialog.from_response(tx.request, response)
            return
        if self.dialog is None:
            self.dialog = Dialog.from_response(tx.request, response)
            self.dialog.local_seq = max(
                [tx.request.cseq.number, *(d.local_seq for d in self.early.values())]
            )
        if self.acks:
            self.ack(tx.request.cseq.number)

    def ack(self, seq: int = 1) -> None:
        """ACK a 2xx."""
        assert self.dialog is not None
        ack = self.dialog.request("ACK", seq=seq)
        ack.lines += SDP if self.ack_body else ()
        ack.body = self.ack_body
        self.layer.send_ack(ack, Hop("proxy", False))

    def on_client_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """Counted."""
        self.timeouts += 1

    def on_stray_response(self, response: Response, hop: Hop, now: float) -> None:
        """Nothing."""

    def on_server_timeout(self, tx: ServerTransaction, now: float) -> None:
        """No ACK: hang up (RFC 3261 §13.3.1.4)."""
        if tx.state is State.TERMINATED and self.dialog is not None and tx is self.incoming:
            self.send("BYE")
