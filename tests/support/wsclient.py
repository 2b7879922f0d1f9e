"""A small SIP phone over WebSocket (RFC 7118), for what baresip and SIPp can't do: SHA-256, odd
credentials, and an end that vanishes in the middle."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tandem.sip.build import response_to
from tandem.sip.dialog import Dialog
from tandem.sip.digest import Challenge, answer, choose
from tandem.sip.message import Request, Response, parse_message
from tests.support.switch import DOMAIN
from tests.support.waiting import PATIENCE_SECONDS

SDP: Final = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 0\r\na=sendrecv\r\n"
)


@dataclass
class Call:
    """One call of the phone."""

    phone: WebPhone
    invite: Request
    dialog: Dialog | None = None
    status: int = 0
    """The final status of an outgoing one."""
    tag: str = field(default_factory=lambda: secrets.token_hex(4))

    async def ring(self) -> None:
        """180."""
        await self._reply(180)

    async def accept(self) -> None:
        """200 with a body; returns when the ACK is there."""
        self.dialog = Dialog.from_request(self.invite, self.tag)
        await self.answer()

    async def answer(self) -> None:
        """The same for an INVITE inside of a call."""
        await self._reply(200, body=SDP)
        await self.phone.request_of("ACK")

    async def refuse(self, status: int) -> None:
        """Any final status; returns when the ACK is there."""
        await self._reply(status)
        await self.phone.request_of("ACK")

    async def _reply(self, status: int, body: bytes = b"") -> None:
        headers = [
            *self.invite.raw_lines("record-route"),
            f"Contact: <{self.phone.contact}>",
            *(["Content-Type: application/sdp"] if body else []),
        ]
        response = response_to(self.invite, status, tag=self.tag, headers=headers, body=body)
        await self.phone.send(response)

    async def hang_up(self) -> Response:
        """BYE, and its answer."""
        assert self.dialog is not None
        return await self.phone.exchange(self.dialog.request("BYE"))


class WebPhone:
    """One connection and one account."""

    transport = "WS"
    """In its Vias."""

    def __init__(self, user: str, password: str, domain: str = DOMAIN) -> None:
        self.user = user
        self.password = password
        self.domain = domain
        self.contact = f"sip:{user}@{secrets.token_hex(4)}.invalid;transport=ws"
        self.algorithms: list[str] = []
        """Of the last challenges."""
        self.user_agent = "tests web phone"
        self.display = ""
        self._socket: ClientConnection | None = None
        self._pump: asyncio.Task[None] | None = None
        self._responses: asyncio.Queue[Response] = asyncio.Queue()
        self._requests: asyncio.Queue[Request] = asyncio.Queue()
        self._challenge: Challenge | None = None
        self._last: Request | None = None
        self._count = 0
        self._seq = 0
        self._call_id = secrets.token_hex(8)
        self._tag = secrets.token_hex(4)

    # -- the connection ------------------------------------------------------------------------

    async def connect(self, address: str, *, secure: bool = False) -> None:
        """Open the WebSocket; a self-signed certificate is taken."""
        context = None
        if secure:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._socket = await connect(
            f"{'wss' if secure else 'ws'}://{address}/",
            subprotocols=[Subprotocol("sip")],
            ssl=context,
            proxy=None,
        )
        assert self._socket.subprotocol == "sip"
        self._pump = asyncio.create_task(self._read())

    async def close(self, *, abruptly: bool = False) -> None:
        """End the connection; abruptly: as if the phone's network went away."""
        if self._socket is None or self._pump is None:
            return
        if abruptly:
            self._socket.transport.abort()
        await self._socket.close()
        await self._pump
        self._socket = None

    async def send(self, message: Request | Response) -> None:
        """Send one message in one frame."""
        assert self._socket is not None
        await self._socket.send(message.to_bytes().decode())

    async def _read(self) -> None:
        assert self._socket is not None
        with suppress(ConnectionClosed):
            async for frame in self._socket:
                data = frame.encode() if isinstance(frame, str) else frame
                if data.strip():
                    self._sort(parse_message(data))

    def _sort(self, message: Request | Response) -> None:
        if isinstance(message, Response):
            if message.cseq.method != "CANCEL":
                self._responses.put_nowait(message)
        else:
            self._requests.put_nowait(message)

    # -- requests of ours ----------------------------------------------------------------------

    async def exchange(self, request: Request) -> Response:
        """Send a request with a new Via and return its final response."""
        request.add("Via", f"{self._via()};rport", top=True)
        self._last = request
        await self.send(request)
        return await self.final()

    def _via(self) -> str:
        """A new one."""
        return f"SIP/2.0/{self.transport} {self.user}.invalid;branch=z9hG4bK{secrets.token_hex(8)}"

    async def final(self) -> Response:
        """The next final response."""
        while (response := await self.response()).status < 200:
            pass
        return response

    async def response(self) -> Response:
        """The next response."""
        return await asyncio.wait_for(self._responses.get(), PATIENCE_SECONDS)

    def make(self, method: str, uri: str, call_id: str, *lines: str, body: bytes = b"") -> Request:
        """A request outside of a dialog, without Via."""
        self._seq += 1
        to = f"sip:{self.user}@{self.domain}" if method == "REGISTER" else uri
        head = [
            f"From: {self._quoted_display()}<sip:{self.user}@{self.domain}>;tag={self._tag}",
            f"To: <{to}>",
            f"Call-ID: {call_id}",
            f"CSeq: {self._seq} {method}",
            f"Contact: <{self.contact}>",
            "Max-Forwards: 70",
            f"User-Agent: {self.user_agent}",
            *lines,
        ]
        return Request(method, uri, head, body)

    def _quoted_display(self) -> str:
        return f'"{self.display}" ' if self.display else ""

    def learn(self, response: Response, algorithm: str | None = None) -> None:
        """Take a challenge: that of `algorithm`, else the strongest."""
        values = [*response.values("www-authenticate"), *response.values("proxy-authenticate")]
        self.algorithms = [Challenge.parse(value).algorithm for value in values]
        if algorithm is not None:
            values = [v for v in values if Challenge.parse(v).algorithm == algorithm]
        self._challenge = choose(values)
        assert self._challenge is not None, values
        self._count = 0

    def authorize(self, request: Request, header: str) -> None:
        """Answer the last challenge in this request."""
        assert self._challenge is not None
        self._count += 1
        value = answer(
            self._challenge,
            request.method,
            request.uri,
            self.user,
            password=self.password,
            cnonce=secrets.token_hex(8),
            nc=self._count,
        )
        request.set(header, value)

    # -- registering ---------------------------------------------------------------------------

    async def register_once(
        self, *, expires: int = 600, authorized: bool = False, contact: str | None = None
    ) -> Response:
        """One REGISTER and its answer."""
        request = self.make("REGISTER", f"sip:{self.domain}", self._call_id, f"Expires: {expires}")
        if contact is not None:
            request.set("Contact", contact)
        if authorized:
            self.authorize(request, "Authorization")
        return await self.exchange(request)

    async def register(self, *, expires: int = 600, algorithm: str | None = None) -> Response:
        """Register as a phone does: unauthorized, then with the answer to the challenge."""
        first = await self.register_once(expires=expires)
        assert first.status == 401, first
        self.learn(first, algorithm)
        return await self.register_once(expires=expires, authorized=True)

    # -- calls ---------------------------------------------------------------------------------

    async def call(self, user: str) -> Call:
        """Call somebody in the domain, answer the challenge, and wait for the final answer."""
        call_id = secrets.token_hex(8)
        uri = f"sip:{user}@{self.domain}"
        content = "Content-Type: application/sdp"
        request = self.make("INVITE", uri, call_id, content, body=SDP)
        response = await self.exchange(request)
        if response.status == 407:
            await self._acknowledge_refusal(request, response)
            self.learn(response)
            request = self.make("INVITE", uri, call_id, content, body=SDP)
            self.authorize(request, "Proxy-Authorization")
            response = await self.exchange(request)
        call = Call(self, request, status=response.status)
        if response.status >= 300:
            await self._acknowledge_refusal(request, response)
            return call
        call.dialog = Dialog.from_response(request, response)
        await self.acknowledge(call, request)
        return call

    async def acknowledge(self, call: Call, invite: Request) -> None:
        """The ACK of a 2xx."""
        assert call.dialog is not None
        ack = call.dialog.request("ACK", seq=invite.cseq.number)
        ack.add("Via", self._via())
        await self.send(ack)

    async def cancel(self) -> None:
        """Give up the call that `call` waits for."""
        assert self._last is not None
        lines = [
            *self._last.raw_lines("via", "from", "to", "call-id"),
            f"CSeq: {self._last.cseq.number} CANCEL",
            "Max-Forwards: 70",
        ]
        await self.send(Request("CANCEL", self._last.uri, lines))

    async def _acknowledge_refusal(self, invite: Request, response: Response) -> None:
        lines = [
            *invite.raw_lines("via", "from", "call-id"),
            *response.raw_lines("to"),
            f"CSeq: {invite.cseq.number} ACK",
            "Max-Forwards: 70",
        ]
        await self.send(Request("ACK", invite.uri, lines))

    async def incoming(self) -> Call:
        """Wait for a call."""
        return Call(self, await self.request_of("INVITE"))

    async def request_of(self, method: str) -> Request:
        """The next request of this method; others before it are passed over."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (request := await self._requests.get()).method != method:
                pass
        return request

    async def confirm(self, method: str) -> Request:
        """Wait for a request of this method and answer it 200."""
        request = await self.request_of(method)
        await self.send(response_to(request, 200))
        return request
