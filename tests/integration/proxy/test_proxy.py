"""A proxy on real sockets, before an appserver that is a receiver on the link."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.proxy.app import Proxy
from services.proxy.config import ProxyConfig
from tandem.bus.ports import Topic
from tandem.runtime.address import HostPort
from tandem.siptransport.flowtoken import describe
from tandem.siptransport.link import Hub, MemoryLink
from tandem.siptransport.udp import UdpSocket, pack_address, unpack_address
from tandem.siptransport.udplink import UdpLink
from tests.support.proxy import request, response_to, values

WAIT = 5.0


class Phone:
    """A UDP socket whose datagrams can be awaited."""

    def __init__(self, host: str, port: int, *, batched: bool = True) -> None:
        self.socket = UdpSocket.open(host, 0, batched=batched)
        self.socket.receiver = self._receive
        self.socket.start()
        self.proxy = pack_address(host, port)
        self.got: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()

    def _receive(self, datagrams: list[bytes], sources: list[bytes]) -> None:
        for pair in zip(datagrams, sources, strict=True):
            self.got.put_nowait(pair)

    def send(self, data: bytes) -> None:
        self.socket.send(data, self.proxy)

    async def receive(self) -> bytes:
        data, _ = await asyncio.wait_for(self.got.get(), WAIT)
        return data


class Events:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.payloads: list[Any] = []

    def publish(self, topic: Topic, payload: Any) -> None:
        self.payloads.append(payload)


class Site:
    """A proxy, and the appserver's end of a link in memory."""

    def __init__(self, hosts: tuple[str, ...], **settings: Any) -> None:
        hub = Hub()
        self.link = MemoryLink("appserver", hub)
        self.got: asyncio.Queue[bytes] = asyncio.Queue()
        self.link.receiver = lambda data, peer: self.got.put_nowait(data)
        self.config = ProxyConfig(
            sip_listen=tuple(HostPort(host, 0) for host in hosts),
            ws_listen=(HostPort("127.0.0.1", 0),),
            appservers=("appserver",),
            domains=("example.com",),
            **settings,
        )
        self.proxy = Proxy(self.config, MemoryLink("proxy", hub), Events())

    def port(self, transport: str, host: str = "127.0.0.1") -> int:
        return next(p for t, h, p in self.proxy.addresses if (t, h) == (transport, host))

    def phone(self, host: str = "127.0.0.1", *, batched: bool = True) -> Phone:
        return Phone(host, self.port("udp", host), batched=batched)

    async def receive(self) -> bytes:
        return await asyncio.wait_for(self.got.get(), WAIT)

    def send(self, data: bytes) -> None:
        self.link.send(data, "proxy")


@asynccontextmanager
async def site(*hosts: str, **settings: Any) -> AsyncIterator[Site]:
    running = Site(hosts or ("127.0.0.1",), **settings)
    await running.proxy.start()
    try:
        yield running
    finally:
        await running.proxy.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110  (a counter has nothing to wait on)
            await asyncio.sleep(0.005)


LEG = "SIP/2.0/UDP appserver;branch=z9hG4bKleg"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("batched", [True, False])
async def test_a_request_and_its_response_pass(host: str, batched: bool) -> None:
    async with site(host) as running:
        phone = running.phone(host, batched=batched)
        text = f"[{host}]" if ":" in host else host
        via = f"SIP/2.0/UDP {text}:{phone.socket.port};branch=z9hG4bKabc;rport"
        for number in range(100):
            phone.send(request(via=via).replace(b"CSeq: 1", b"CSeq: %d" % number))
        for number in range(100):
            data = await running.receive()
            assert values(data, "CSeq") == [f"{number} INVITE"]
            running.send(response_to(data))
            answer = await phone.receive()
            stamped = f"{via}={phone.socket.port};received={host}"
            assert values(answer, "Via") == [stamped]
        phone.socket.close()


async def test_a_call_to_a_phone_takes_the_flow_that_it_registered_on() -> None:
    async with site() as running:
        phone = running.phone()
        phone.send(request("REGISTER", "sip:example.com"))
        (path,) = values(await running.receive(), "Path")
        flow = describe(path[5:].partition("@")[0])
        assert flow == ("proxy", "udp", "127.0.0.1", phone.socket.port)
        running.send(request(via=LEG, headers=(f"Route: {path}",)))
        invite = await phone.receive()
        assert values(invite, "Via")[0].startswith("SIP/2.0/UDP 127.0.0.1:")
        outer, inner = values(invite, "Record-Route")[0].split(", ")
        phone.send(response_to(invite))
        assert values(await running.receive(), "Via") == [LEG]
        # the phone hangs up: its route set is the Record-Route as it came
        phone.send(request("BYE", headers=(f"Route: {outer}", f"Route: {inner}")))
        bye = await running.receive()
        assert values(bye, "Route") == []
        # and so does the appserver: its route set is the reverse
        running.send(request("BYE", via=LEG, headers=(f"Route: {inner}, {outer}",)))
        assert values(await phone.receive(), "Route") == []
        phone.socket.close()


async def test_keepalives_go_both_ways() -> None:
    async with site() as running:
        phone = running.phone()
        phone.send(b"\r\n\r\n")
        assert await phone.receive() == b"\r\n"
        phone.send(request("REGISTER", "sip:example.com"))
        (path,) = values(await running.receive(), "Path")
        running.send(b"\x01KEEPALIVE " + path[5:].partition("@")[0].encode())
        assert await phone.receive() == b"\0\0\0\0"
        phone.socket.close()


async def test_what_is_over_the_rate_is_dropped_counted_and_told() -> None:
    async with site(rate_limit=5.0) as running:
        phone = running.phone()
        for _ in range(40):
            phone.send(request())
        await until(lambda: running.proxy.counters["received"] == 40)
        assert running.proxy.counters["dropped_rate_limit"] >= 25
        assert running.got.qsize() == 40 - running.proxy.counters["dropped_rate_limit"]
        phone.socket.close()


async def test_bad_messages_are_answered_or_counted() -> None:
    async with site() as running:
        phone = running.phone()
        phone.send(b"rubbish")
        phone.send(request().replace(b"To:", b"X:"))
        assert (await phone.receive()).startswith(b"SIP/2.0 400 Missing to\r\n")
        phone.send(request("OPTIONS", "sip:example.com"))
        assert (await phone.receive()).startswith(b"SIP/2.0 200 OK\r\n")
        phone.send(response_to(request()))
        await until(lambda: "dropped_response_forged" in running.proxy.counters)
        assert running.proxy.counters["dropped_unparseable"] == 1
        assert running.got.empty()
        phone.socket.close()


async def read_message(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT)


async def test_a_connection_carries_both_ways_and_its_end_is_told() -> None:
    async with site() as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port("tcp"))
        via = "SIP/2.0/TCP phone.invalid;branch=z9hG4bKabc;rport"
        writer.write(request("REGISTER", "sip:example.com", via=via))
        register = await running.receive()
        (path,) = values(register, "Path")
        running.send(response_to(register))
        assert values(await read_message(reader), "Via")[0].startswith(via)
        running.send(request(via=LEG, headers=(f"Route: {path}",)))
        invite = await read_message(reader)
        assert values(invite, "Via")[0].startswith("SIP/2.0/TCP 127.0.0.1:")
        assert ";transport=tcp;lr" in values(invite, "Record-Route")[0]
        writer.close()
        await writer.wait_closed()
        failed = await running.receive()
        assert failed.startswith(b"SIP/2.0 503 "), failed
        token = path[5:].partition("@")[0].encode()
        assert await running.receive() == b"\x01FLOW-CLOSED " + token
        running.send(request(via=LEG, headers=(f"Route: {path}",)))
        assert (await running.receive()).startswith(b"SIP/2.0 430 Flow Failed\r\n")


async def test_a_connection_that_cannot_be_made_gets_the_request_a_503() -> None:
    async with site() as running:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        route = f"Route: <sip:proxy;lr;dst=tcp:127.0.0.1:{port}>"
        running.send(request("ACK", via=LEG, headers=(route,)))
        running.send(request("INVITE", via=LEG, headers=(route,)))
        answer = await running.receive()
        assert answer.startswith(b"SIP/2.0 503 Connection failed\r\n")
        assert values(answer, "CSeq") == ["1 INVITE"]


async def test_a_connection_is_made_for_a_request_and_brings_the_response() -> None:
    async with site() as running:
        seen: asyncio.Queue[bytes] = asyncio.Queue()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            data = await read_message(reader)
            seen.put_nowait(data)
            writer.write(response_to(data))
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        running.send(request(uri=f"sip:a@127.0.0.1:{port};transport=tcp", via=LEG))
        assert values(await asyncio.wait_for(seen.get(), WAIT), "Via")[1] == LEG
        assert values(await running.receive(), "Via") == [LEG]
        server.close()


async def start_alone(appserver: int, **settings: str) -> tuple[asyncio.subprocess.Process, str]:
    env = os.environ | {
        "TANDEM_SIP_LISTEN": "127.0.0.1:0",
        "TANDEM_BROKER_URL": "memory:",
        "TANDEM_APPSERVERS": f"udp:127.0.0.1:{appserver}",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.proxy",
        env=env | settings, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    lines = []
    while (line := await asyncio.wait_for(process.stdout.readline(), 20)) not in (b"", b"ready\n"):
        lines.append(line.decode())
    return process, "".join(lines)


async def test_alone_it_finds_its_appserver_and_forwards() -> None:
    link = UdpLink(UdpSocket.open("127.0.0.1", 0))
    got: asyncio.Queue[bytes] = asyncio.Queue()

    def appserver(data: bytes, peer: str) -> None:
        link.send(response_to(data), peer)
        if b"probe" not in data:
            got.put_nowait(data)

    link.receiver = appserver
    link.start()
    process, lines = await start_alone(int(link.address.rpartition(":")[2]))
    port = int(lines.split("udp 127.0.0.1:")[1].split()[0])
    phone = Phone("127.0.0.1", port)
    phone.send(request())
    assert (await phone.receive()).startswith(b"SIP/2.0 200 ")
    assert len(values(await asyncio.wait_for(got.get(), WAIT), "Via")) == 2
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 15) == 0
    phone.socket.close()
    link.close()


async def test_alone_without_an_appserver_it_says_503() -> None:
    silent = UdpSocket.open("127.0.0.1", 0)
    process, lines = await start_alone(silent.port)
    phone = Phone("127.0.0.1", int(lines.split("udp 127.0.0.1:")[1].split()[0]))
    phone.send(request())
    answer = await phone.receive()
    assert answer.startswith(b"SIP/2.0 503 ")
    assert values(answer, "Retry-After") == ["5"]
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 15) == 0
    phone.socket.close()
    silent.close()


@pytest.mark.parametrize(
    "settings",
    [{"TANDEM_APPSERVERS": ""}, {"TANDEM_APPSERVERS": "udp:name:5060"}, {"TANDEM_RATE_LIMIT": "x"}],
)
async def test_a_wrong_setting_ends_it_with_one_line(settings: dict[str, str]) -> None:
    process, lines = await start_alone(9, **settings)
    assert process.stderr is not None
    complaint = (await process.stderr.read()).decode()
    assert await process.wait() == 2
    assert lines == ""
    assert complaint.count("\n") == 1
    assert complaint.startswith("TANDEM_")


async def test_a_certificate_that_is_not_there_is_one_line_too() -> None:
    nowhere = "/nowhere.pem"
    process, _ = await start_alone(
        9, TANDEM_TLS_LISTEN="127.0.0.1:0", TANDEM_TLS_CERT=nowhere, TANDEM_TLS_KEY=nowhere
    )
    assert process.stderr is not None
    assert (await process.stderr.read()).decode() == f"TLS: no such file: {nowhere}\n"
    assert await process.wait() == 2


async def test_a_port_in_use_is_one_line_too() -> None:
    taken = UdpSocket.open("127.0.0.1", 0)
    process, _ = await start_alone(9, TANDEM_SIP_LISTEN=f"127.0.0.1:{taken.port}")
    assert process.stderr is not None
    assert (await process.stderr.read()).count(b"\n") == 1
    assert await process.wait() == 2
    taken.close()


async def test_datagrams_of_all_sizes_keep_their_bounds_and_sources() -> None:
    for batched in (True, False):
        one, two = (UdpSocket.open("127.0.0.1", 0, batched=batched) for _ in range(2))
        got: list[tuple[bytes, tuple[str, int]]] = []

        def receive(
            datagrams: list[bytes],
            sources: list[bytes],
            got: list[tuple[bytes, tuple[str, int]]] = got,
        ) -> None:
            got.extend(zip(datagrams, map(unpack_address, sources), strict=True))

        two.receiver = receive
        one.start()
        two.start()
        sent = [bytes([n % 256]) * (n * 97 % 9000 + 1) for n in range(200)]
        for data in sent:
            one.send(data, pack_address("127.0.0.1", two.port))
        one.send(b"x" * 65_000 + bytes(600), pack_address("127.0.0.1", two.port))  # too large
        one.send(b"end", pack_address("127.0.0.1", two.port))
        await until(lambda got=got: bool(got) and got[-1][0] == b"end")  # type: ignore[misc]
        assert [data for data, _ in got] == [*sent, b"end"]
        assert {source for _, source in got} == {("127.0.0.1", one.port)}
        assert one.lost == 1
        one.close()
        one.close()
        two.close()


async def test_a_link_takes_nothing_from_strangers() -> None:
    friend, stranger, own = (UdpSocket.open("127.0.0.1", 0) for _ in range(3))
    link = UdpLink(own, allowed=[f"127.0.0.1:{friend.port}"])
    got: list[tuple[bytes, str]] = []
    link.receiver = lambda data, peer: got.append((data, peer))
    for each in (friend, stranger, link):
        each.start()
    target = pack_address("127.0.0.1", own.port)
    stranger.send(b"forged", target)
    await until(lambda: link.strangers == 1)
    friend.send(b"hello", target)
    await until(lambda: bool(got))
    assert got == [(b"hello", f"127.0.0.1:{friend.port}")]
    for each in (friend, stranger, link):
        each.close()


async def test_a_link_asks_again_about_those_that_it_knew() -> None:
    sender, own = UdpSocket.open("127.0.0.1", 0), UdpSocket.open("127.0.0.1", 0)
    friends = {f"127.0.0.1:{sender.port}"}
    link = UdpLink(own, admits=lambda name: name in friends)
    got: list[bytes] = []
    link.receiver = lambda data, peer: got.append(data)
    for each in (sender, link):
        each.start()
    target = pack_address("127.0.0.1", own.port)
    sender.send(b"one", target)
    await until(lambda: got == [b"one"])
    friends.clear()
    link.ask_again()
    sender.send(b"two", target)
    await until(lambda: link.strangers == 1)
    assert got == [b"one"]
    for each in (sender, link):
        each.close()
