"""A proxy is killed: phones that registered through it on UDP are called through the other."""

from __future__ import annotations

import asyncio
import secrets
from itertools import count
from typing import Any, Final

from tandem.sip.digest import Challenge, answer, choose
from tandem.sip.message import Request, Response, parse_message
from tests.integration.cluster.conftest import MakeCluster
from tests.support.cluster import DOMAIN, Cluster
from tests.support.waiting import eventually

PATIENCE: Final = 15.0


class UdpPhone(asyncio.DatagramProtocol):
    """Sends requests to any proxy and notes what comes, with where it came from."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.address = ""
        self._transport: asyncio.DatagramTransport
        self._heard: asyncio.Queue[tuple[Request | Response, str]] = asyncio.Queue()
        self._numbers = count(1)
        self._call_id = secrets.token_hex(8)
        self._challenge: Challenge | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        host, port = transport.get_extra_info("sockname")
        self.address = f"{host}:{port}"

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data.strip(b"\0\r\n"):
            self._heard.put_nowait((parse_message(data), f"{addr[0]}:{addr[1]}"))

    @classmethod
    async def open(cls, user: str) -> UdpPhone:
        loop = asyncio.get_running_loop()
        _, phone = await loop.create_datagram_endpoint(
            lambda: cls(user), local_addr=("127.0.0.1", 0)
        )
        return phone

    def close(self) -> None:
        self._transport.close()

    def send(self, request: Request, proxy: str) -> None:
        host, _, port = proxy.rpartition(":")
        self._transport.sendto(request.to_bytes(), (host, int(port)))

    def request(self, method: str, uri: str, to: str, call_id: str) -> Request:
        number = next(self._numbers)
        return Request(method, uri, [
            f"Via: SIP/2.0/UDP {self.address};branch=z9hG4bK{secrets.token_hex(6)};rport",
            "Max-Forwards: 70",
            f"From: <sip:{self.user}@{DOMAIN}>;tag={secrets.token_hex(4)}",
            f"To: <{to}>",
            f"Call-ID: {call_id}",
            f"CSeq: {number} {method}",
            f"Contact: <sip:{self.user}@{self.address}>",
        ])  # fmt: skip

    async def hear(self, kind: type[Request] | type[Response]) -> tuple[Any, str]:
        """The next request, or the next response but 100."""
        while True:
            message, source = await asyncio.wait_for(self._heard.get(), PATIENCE)
            if isinstance(message, kind) and getattr(message, "status", 0) != 100:
                return message, source

    async def register(self, proxy: str) -> None:
        """Register through this proxy."""
        for _ in range(2):
            me = f"sip:{self.user}@{DOMAIN}"
            request = self.request("REGISTER", f"sip:{DOMAIN}", me, self._call_id)
            if self._challenge is not None:
                value = answer(
                    self._challenge, "REGISTER", f"sip:{DOMAIN}", self.user,
                    password="secret1", cnonce="c0ffee", nc=1,
                )  # fmt: skip
                request.set("Authorization", value)
            self.send(request, proxy)
            response, _ = await self.hear(Response)
            if response.status != 401:
                break
            self._challenge = choose(response.values("www-authenticate"))
        assert response.status == 200

    def call(self, callee: UdpPhone, proxy: str) -> None:
        """Call somebody from outside."""
        uri = f"sip:{callee.user}@{DOMAIN}"
        invite = self.request("INVITE", uri, uri, secrets.token_hex(8))
        invite.set("From", f"<sip:carol@outside.example>;tag={secrets.token_hex(4)}")
        self.send(invite, proxy)

    async def declines(self) -> str:
        """Decline the call that comes; the address that it came from."""
        invite, source = await self.hear(Request)
        while invite.method == "ACK":
            invite, source = await self.hear(Request)
        assert invite.method == "INVITE"
        lines = [*invite.raw_lines("via", "from", "call-id", "cseq")]
        lines.append(f"To: {invite.first('to')};tag=x")
        self._transport.sendto(
            Response(486, "Busy Here", lines).to_bytes(),
            (source.rpartition(":")[0], int(source.rpartition(":")[2])),
        )
        return source


async def both_know(cluster: Cluster, bindings: int) -> None:
    async def look() -> bool:
        found = [(await node.metrics())["tandem_bindings"] for node in cluster.appservers]
        return found == [bindings] * len(found)

    await eventually(look, "the binding on both appservers")


async def test_a_udp_phone_of_a_proxy_that_was_killed_is_called_through_the_other(
    make_cluster: MakeCluster,
) -> None:
    cluster = await make_cluster(provisionings=1, events=1)
    first, second = cluster.proxies
    user = f"u{secrets.token_hex(4)}"
    await cluster.api.add_account(user, "secret1")
    phone, caller = await UdpPhone.open(user), await UdpPhone.open("carol")
    await phone.register(first.sip)
    await both_know(cluster, 1)
    caller.call(phone, second.sip)
    assert await phone.declines() == first.sip
    assert (await caller.hear(Response))[0].status == 486
    first.kill()
    # while the appservers do not know yet, a call is tried again once they do
    caller.call(phone, second.sip)
    assert await phone.declines() == second.sip
    assert (await caller.hear(Response))[0].status == 486
    await first.start()
    await phone.register(first.sip)
    caller.call(phone, second.sip)
    assert await phone.declines() == first.sip
    phone.close()
    caller.close()
