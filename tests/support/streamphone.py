"""`WebPhone` over TCP or TLS, with a connection to each proxy that it turns to."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from contextlib import suppress

from tandem.sip.message import Message, Request, Response, parse_message
from tandem.sip.stream import StreamParser
from tests.support.wsclient import SDP, Call, WebPhone


class StreamPhone(WebPhone):
    """A phone that sends a request inside a call through whatever proxy it is told."""

    def __init__(self, user: str, password: str, way: str) -> None:
        """`way`: `tcp` or `tls`."""
        super().__init__(user, password)
        self.transport = way.upper()
        self.contact = f"sip:{user}@{secrets.token_hex(4)}.invalid;transport={way}"
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._readers: list[asyncio.Task[None]] = []
        self._current = ""
        self._came: dict[str, str] = {}
        """Where requests came from, by their branch: there the answers go."""

    async def turn_to(self, address: str) -> None:
        """Send requests to this proxy from now on. What was opened before stays open."""
        self._current = address
        if address in self._writers:
            return
        host, _, port = address.rpartition(":")
        secure = ssl.create_default_context()
        secure.check_hostname, secure.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(
            host, int(port), ssl=secure if self.transport == "TLS" else None
        )
        self._writers[address] = writer
        self._readers.append(asyncio.create_task(self._take(address, reader)))

    async def close(self, *, abruptly: bool = False) -> None:
        """End all connections."""
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        for writer in self._writers.values():
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def send(self, message: Request | Response) -> None:
        """Send one message: an answer to where its request came from."""
        to = self._current if isinstance(message, Request) else self._came[_branch(message)]
        self._writers[to].write(message.to_bytes())
        await self._writers[to].drain()

    async def _take(self, address: str, reader: asyncio.StreamReader) -> None:
        parser = StreamParser()
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                for event in parser.feed(data):
                    if isinstance(event, bytes):
                        message = parse_message(event)
                        if isinstance(message, Request):
                            self._came[_branch(message)] = address
                        self._sort(message)

    async def reinvite(self, call: Call) -> Response:
        """Another INVITE in the call, and the ACK of its answer."""
        assert call.dialog is not None
        invite = call.dialog.request("INVITE")
        invite.lines += [f"Contact: <{self.contact}>", "Content-Type: application/sdp"]
        invite.body = SDP
        answer = await self.exchange(invite)
        await self.acknowledge(call, invite)
        return answer

    async def accept_again(self, call: Call) -> None:
        """Take another INVITE in a call, and wait for its ACK."""
        again = Call(self, await self.request_of("INVITE"), tag=call.tag)
        assert again.invite.to_tag
        await again.answer()


def _branch(message: Message) -> str:
    return message.via.branch
