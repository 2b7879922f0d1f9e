"""A user agent on a UDP socket with any number of calls at a time, on our own transaction layer.

agent = await UdpAgent.open("caller")
call = agent.invite("127.0.0.1:5060", "sip:bob@example.test")
await call.answered.wait()
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from tandem.sip.address import Address
from tandem.sip.build import record_routes, response_to
from tandem.sip.deadlines import Deadlines
from tandem.sip.dialog import Dialog
from tandem.sip.digest import answer as digest_answer
from tandem.sip.digest import choose
from tandem.sip.errors import RemoteFault
from tandem.sip.message import Request, Response, parse_message
from tandem.sip.transaction import ClientTransaction, Hop, ServerTransaction, TransactionLayer
from tests.support.waiting import PATIENCE_SECONDS

SDP: Final = "Content-Type: application/sdp"
HOST: Final = "127.0.0.1"
ELSEWHERE: Final = "elsewhere.example"
"""The domain of callers: none of the switch's."""

OnInvite = Callable[["UdpCall"], None]


class UdpCall:
    """One call of an agent, made or received."""

    def __init__(self, agent: UdpAgent, invite: Request, peer: str, offer: bytes) -> None:
        self.agent = agent
        self.invite = invite
        self.peer = peer
        self.offer = offer
        """What we offer, or answer with."""
        self.heard = b""
        """Their session description that came last."""
        self.status = 0
        """The final answer to our INVITE."""
        self.dialog: Dialog | None = None
        self.client: ClientTransaction | None = None
        self.server: ServerTransaction | None = None
        self.ringing = asyncio.Event()
        self.answered = asyncio.Event()
        """Both ends have their 2xx and ACK, of the INVITE that came last."""
        self.over = asyncio.Event()
        """Refused, or hung up by either end."""
        self.reinvited = asyncio.Event()
        """An INVITE came inside the dialog."""

    @property
    def caller(self) -> str:
        """The user part of From."""
        return self.invite.from_.uri.unescaped_user

    async def until(self, event: asyncio.Event, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait for something to happen, not for ever."""
        async with asyncio.timeout(seconds):
            await event.wait()

    def accept(self) -> None:
        """200 to an INVITE that came."""
        self._answer(200, self.offer)

    def ring(self) -> None:
        """180 to an INVITE that came."""
        self._answer(180, b"")

    def refuse(self, status: int) -> None:
        """A final answer to an INVITE that came, other than 200."""
        self._answer(status, b"")

    def redirect(self, *uris: str, status: int = 302) -> None:
        """Say that others are to be called."""
        self._answer(status, b"", tuple(f"Contact: <{uri}>" for uri in uris))

    def _answer(self, status: int, body: bytes, contacts: tuple[str, ...] = ()) -> None:
        tx = self.server
        assert tx is not None
        tx.tag = tx.tag or secrets.token_hex(4)
        contacts = contacts or (self.agent.contact,)
        lines = [*record_routes(tx.request), *contacts, *((SDP,) if body else ())]
        if status == 200 and self.dialog is None:
            self.dialog = Dialog.from_request(tx.request, tx.tag)
        answer = response_to(tx.request, status, tag=tx.tag, headers=lines, body=body)
        self.agent.act(lambda now: self.agent.layer.respond(tx, answer, now))

    def cancel(self) -> None:
        """Give up."""
        client = self.client
        assert client is not None
        self.agent.act(lambda now: self.agent.layer.cancel(client, now))

    def request(self, method: str, body: bytes = b"", *, through: str = "") -> None:
        """A request in the dialog; `through` another proxy than the first of its route."""
        assert self.dialog is not None
        request = self.dialog.request(method)
        request.lines += [self.agent.contact, *((SDP,) if body else ())]
        request.body = body
        self.agent.send(request, through or _next_hop(self.dialog), self)

    async def hang_up(self, *, through: str = "") -> None:
        """BYE, and wait for its answer."""
        self.request("BYE", through=through)
        await self.until(self.over)

    # -- from the agent ------------------------------------------------------------------------

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        """An answer to a request of ours."""
        status = response.status
        if tx.request.method == "BYE" and status >= 200:
            self.over.set()
        if tx.request.method != "INVITE" or status == 100:
            return
        self.heard = response.body or self.heard
        if status < 200:
            self.ringing.set()
        elif status < 300:
            self._established(tx, response)
        else:
            self.status = status
            self.over.set()

    def _established(self, tx: ClientTransaction, response: Response) -> None:
        self.status = response.status
        if self.dialog is None:
            self.dialog = Dialog.from_response(tx.request, response)
        owes = not tx.request.body
        ack = self.dialog.request("ACK", seq=tx.request.cseq.number)
        ack.lines += [SDP] if owes else []
        ack.body = self.offer if owes else b""
        self.agent.layer.send_ack(ack, Hop(_next_hop(self.dialog), False))
        self.answered.set()

    def on_request(self, tx: ServerTransaction, now: float) -> None:
        """A request of theirs in the dialog."""
        assert self.dialog is not None
        self.dialog.receive(tx.request)
        if tx.request.method == "INVITE":
            self.reinvited.set()
            self.answered.clear()
            self.server = tx
            self.heard = tx.request.body or self.heard
            self.accept()
            return
        self.agent.layer.reply(tx, 200, now)
        if tx.request.method == "BYE":
            self.over.set()


class UdpAgent(asyncio.DatagramProtocol):
    """Make it with `open`. INVITEs that come are given to `on_invite`."""

    layer: TransactionLayer
    _transport: asyncio.DatagramTransport

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[UdpCall] = []
        self.on_invite: OnInvite = lambda call: call.ring()
        self.contact = ""
        self.address = ""
        self._deadlines = Deadlines()
        self._timer: asyncio.TimerHandle | None = None
        self._finals: dict[str, asyncio.Future[Response]] = {}

    @classmethod
    async def open(cls, name: str, on_invite: OnInvite | None = None) -> UdpAgent:
        """Bind a free port of 127.0.0.1."""
        agent = cls(name)
        if on_invite is not None:
            agent.on_invite = on_invite
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: agent, (HOST, 0))
        agent._transport = transport
        agent.address = f"{HOST}:{transport.get_extra_info('sockname')[1]}"
        agent.contact = f"Contact: <sip:{name}@{agent.address}>"
        agent.layer = TransactionLayer(
            agent._put,
            agent,
            agent._deadlines,
            sent_by=agent.address,
            new_token=lambda: secrets.token_hex(8),
        )
        return agent

    def close(self) -> None:
        """Say and hear nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._transport.close()

    def invite(
        self,
        target: str,
        uri: str,
        *,
        user: str = "",
        offer: bytes = b"",
        late: bool = False,
        headers: tuple[str, ...] = (),
        call_id: str = "",
    ) -> UdpCall:
        """INVITE through `target`, `host:port`, as `user`; `late`: without the offer."""
        body = offer or session(self.name)
        lines = [
            f"From: <sip:{user or self.name}@{ELSEWHERE}>;tag={secrets.token_hex(4)}",
            f"To: <{uri}>",
            f"Call-ID: {call_id or secrets.token_hex(8)}",
            "CSeq: 1 INVITE",
            "Max-Forwards: 70",
            self.contact,
            *(() if late else (SDP,)),
            *headers,
        ]
        request = Request("INVITE", uri, lines, b"" if late else body)
        call = UdpCall(self, request, target, body)
        self.calls.append(call)
        call.client = self.send(request, target, call)
        return call

    async def register(
        self, target: str, user: str, password: str, domain: str, *, call_id: str = ""
    ) -> None:
        """Register this agent, answering one challenge."""
        lines = [
            f"From: <sip:{user}@{domain}>;tag={secrets.token_hex(4)}",
            f"To: <sip:{user}@{domain}>",
            f"Call-ID: {call_id or secrets.token_hex(8)}",
            "Max-Forwards: 70",
            self.contact,
            "Expires: 3600",
        ]
        response = await self._ask(Request("REGISTER", f"sip:{domain}", [*lines, _cseq(1)]), target)
        if response.status == 401:
            challenge = choose(response.values("www-authenticate"))
            assert challenge is not None
            value = digest_answer(
                challenge, "REGISTER", f"sip:{domain}", user,
                password=password, cnonce="c0ffee", nc=1,
            )  # fmt: skip
            again = Request("REGISTER", f"sip:{domain}", [*lines, _cseq(2)])
            again.set("Authorization", value)
            response = await self._ask(again, target)
        assert response.status == 200, response

    async def _ask(self, request: Request, target: str) -> Response:
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.send(request, target, answer)
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await answer

    # -- plumbing ------------------------------------------------------------------------------

    def send(self, request: Request, target: str, context: Any) -> ClientTransaction:
        """Begin a transaction."""
        tx = self.layer.request(request, Hop(target, False), self._now(), context=context)
        self._arm()
        return tx

    def act(self, do: Callable[[float], None]) -> None:
        """Do something with the layer, and see to its timers."""
        do(self._now())
        self._arm()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _arm(self) -> None:
        due = self._deadlines.next()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(due, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._deadlines.run(self._now())
        self._arm()

    def _put(self, data: bytes, peer: str) -> None:
        host, _, port = peer.rpartition(":")
        if not self._transport.is_closing():
            self._transport.sendto(data, (host, int(port)))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """From the network."""
        if not data.strip(b"\r\n\0"):
            return  # a keep-alive
        message = parse_message(data)
        message.check()
        self.layer.receive(message, Hop(f"{addr[0]}:{addr[1]}", False), self._now())
        self._arm()

    def _call_of(self, request: Request) -> UdpCall | None:
        wanted = (request.call_id, request.to_tag, request.from_tag)
        return next((c for c in self.calls if c.dialog and c.dialog.id == wanted), None)

    # -- the transaction user ------------------------------------------------------------------

    def on_request(self, tx: ServerTransaction, now: float) -> None:
        """In a call, or a new one."""
        request = tx.request
        call = self._call_of(request)
        if call is not None:
            call.on_request(tx, now)
        elif request.to_tag:
            self.layer.reply(tx, 481, now)
        elif request.method != "INVITE":
            self.layer.reply(tx, 200, now)
        else:
            call = UdpCall(self, request, tx.hop.peer, session(self.name))
            call.server, call.heard = tx, request.body
            self.calls.append(call)
            self.on_invite(call)

    def on_ack(self, ack: Request, hop: Hop, now: float) -> None:
        """Of our 2xx."""
        call = self._call_of(ack)
        if call is None or call.server is None:
            return
        if ack.cseq.number == call.server.request.cseq.number:
            self.layer.acknowledged(call.server, now)
            call.heard = ack.body or call.heard
            call.answered.set()

    def on_cancel(self, tx: ServerTransaction, cancel: Request, now: float) -> None:
        """Who called gave up."""
        self.layer.reply(tx, 487, now)
        for call in self.calls:
            if call.server is tx:
                call.over.set()

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """To a request of ours."""
        if isinstance(tx.context, UdpCall):
            tx.context.on_response(tx, response)
        elif response.status >= 200 and not tx.context.done():
            tx.context.set_result(response)

    def on_client_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """No answer."""
        if isinstance(tx.context, UdpCall):
            tx.context.status = tx.context.status or status
            tx.context.over.set()

    def on_stray_response(self, response: Response, hop: Hop, now: float) -> None:
        """Nothing."""

    def on_server_timeout(self, tx: ServerTransaction, now: float) -> None:
        """Nothing: the test will miss the ACK."""


def session(name: str) -> bytes:
    """A session description that names who made it."""
    return (
        f"v=0\r\no={name} {secrets.randbits(31)} 1 IN IP4 192.0.2.1\r\ns=-\r\n"
        "c=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
    ).encode()


def _cseq(number: int) -> str:
    return f"CSeq: {number} REGISTER"


def _next_hop(dialog: Dialog) -> str:
    """`host:port` of the first Route, or of the remote target."""
    route = dialog.route_set[0] if dialog.route_set else f"<{dialog.remote_target}>"
    with suppress(RemoteFault):
        uri = Address.parse(route).uri
        return f"{uri.host}:{uri.port or 5060}"
    raise AssertionError(route)
