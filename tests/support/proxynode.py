"""Proxies on real sockets before appservers that the test plays, joined by a bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from services.proxy.__main__ import Node
from services.proxy.config import ProxyConfig
from tandem.bus.hints import Hint, HintAcknowledged, HintsWanted
from tandem.bus.memory import MemoryBus
from tandem.bus.nodes import ANNOUNCE_SECONDS, NodeAnnounced
from tandem.bus.ports import Bus, Envelope, Topic
from tandem.runtime.address import HostPort
from tandem.siptransport.link import CONTROL
from tandem.siptransport.udp import UdpSocket, pack_address
from tandem.siptransport.udplink import UdpLink
from tests.support.proxy import response_to

WAIT: Final = 10.0
"""Seconds after which a test that hangs has failed."""
KEY: Final = "a key of the whole cluster"
LOOPBACK: Final = HostPort("127.0.0.1", 0)


async def until(condition: Callable[[], bool], what: str = "a condition") -> None:
    """Wait for what nobody announces."""
    try:
        async with asyncio.timeout(WAIT):
            while not condition():  # noqa: ASYNC110  (a counter has nothing to wait on)
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None


class FakeAppserver:
    """An end of the link. It answers probes by `probe_status` and requests by `status`, 0: not
    at all."""

    def __init__(self, node: str, bus: Bus | None = None) -> None:
        self.node = node
        self.link = UdpLink(UdpSocket.open("127.0.0.1", 0))
        self.link.receiver = self._receive
        self.link.start()
        self.address = self.link.address
        self.probe_status = 200
        self.status = 200
        self.got: asyncio.Queue[bytes] = asyncio.Queue()
        self.all: list[bytes] = []
        self.said = NodeAnnounced(
            node=node, kind="appserver", incarnation=1, version="1", sip=self.address
        )
        self._bus = bus
        self._again: asyncio.TimerHandle | None = None

    def announce(self, **changes: Any) -> None:
        """Say so from now on; `changes` to what was said before."""
        assert self._bus is not None
        self.hush()
        self.said = replace(self.said, **changes)
        self._bus.publish(Topic.NODES, self.said)
        self._again = asyncio.get_running_loop().call_later(ANNOUNCE_SECONDS, self.announce)

    def hush(self) -> None:
        """Announce nothing more."""
        if self._again is not None:
            self._again.cancel()

    def _receive(self, data: bytes, peer: str) -> None:
        if b"\r\nCall-ID: probe-" in data:
            if self.probe_status:
                self.link.send(response_to(data, self.probe_status), peer)
            return
        if data.startswith(CONTROL):
            return
        self.all.append(data)
        self.got.put_nowait(data)
        if self.status and not data.startswith((b"ACK ", b"SIP/")):
            self.link.send(response_to(data, self.status), peer)

    async def receive(self) -> bytes:
        """The next message that is no probe."""
        return await asyncio.wait_for(self.got.get(), WAIT)

    def die(self) -> None:
        """As after kill -9."""
        self.hush()
        self.link.close()


class Phone:
    """A UDP client of one proxy."""

    def __init__(self, port: int) -> None:
        self.socket = UdpSocket.open("127.0.0.1", 0)
        self.socket.receiver = self._receive
        self.socket.start()
        self.proxy = pack_address("127.0.0.1", port)
        self.got: asyncio.Queue[bytes] = asyncio.Queue()

    @property
    def via(self) -> str:
        """With a branch to be added."""
        return f"SIP/2.0/UDP 127.0.0.1:{self.socket.port};rport;branch=z9hG4bK"

    def _receive(self, datagrams: list[bytes], sources: list[bytes]) -> None:
        for data in datagrams:
            self.got.put_nowait(data)

    def send(self, data: bytes) -> None:
        """To its proxy."""
        self.socket.send(data, self.proxy)

    async def receive(self) -> bytes:
        """The next datagram."""
        return await asyncio.wait_for(self.got.get(), WAIT)


class TcpPhone:
    """A TCP client of one proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, data: bytes) -> None:
        """To its proxy."""
        self._writer.write(data)

    async def receive(self) -> bytes:
        """The next message; none has a body."""
        return await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), WAIT)

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        await self._writer.wait_closed()


class HintTalk:
    """What proxies say of the hints of `node`, which is that of the bus."""

    def __init__(self, bus: Bus, node: str, live: tuple[Hint, ...] = ()) -> None:
        self.acknowledged: list[HintAcknowledged] = []
        self.live = list(live)
        self.news = asyncio.Event()
        """Set at each acknowledgement; for the test to clear."""
        self._bus = bus
        bus.subscribe(Topic.ANSWERS, self._take, name=f"{node}-talk")

    async def _take(self, batch: Any) -> None:
        for envelope in batch:
            assert isinstance(envelope, Envelope)
            if isinstance(envelope.payload, HintAcknowledged):
                self.acknowledged.append(envelope.payload)
                self.news.set()
            elif isinstance(envelope.payload, HintsWanted):
                for hint in self.live:
                    self._bus.publish(Topic.HINTS, hint)

    async def all_have(self, hint: str, *proxies: str) -> None:
        """Wait until these have acknowledged it."""
        await until(
            lambda: {a.proxy for a in self.acknowledged if a.hint == hint} >= set(proxies),
            f"{proxies} to acknowledge {hint}",
        )


class Cluster:
    """Some proxies and appservers on one MemoryBus."""

    def __init__(self) -> None:
        self.bus = MemoryBus("test")
        self.talk = HintTalk(self.bus, "test")
        self.proxies: list[Node] = []
        self.appservers: list[FakeAppserver] = []
        self._stack = AsyncExitStack()

    async def appserver(self, *, announced: bool = True, **changes: Any) -> FakeAppserver:
        """One more, used by all proxies when this returns."""
        made = FakeAppserver(f"appserver{len(self.appservers) + 1}", self.bus)
        self.appservers.append(made)
        self._stack.callback(made.die)
        if announced:
            made.announce(**changes)
            for node in self.proxies:
                await until(lambda n=node: made.address in n.proxy.appservers.alive)  # type: ignore[misc]
        return made

    async def proxy(self, **settings: Any) -> Node:
        """One more."""
        number = len(self.proxies) + 1
        defaults: dict[str, Any] = {
            "node_id": f"proxy{number}", "sip_listen": (LOOPBACK,), "cluster_key": KEY,
            "appservers": ("127.0.0.1:9",),
        }  # fmt: skip
        node = Node(ProxyConfig(**defaults | settings), self.bus)
        self._stack.push_async_callback(node.proxy.stop)
        self._stack.callback(node.link.close)
        self.proxies.append(node)
        await node.start()
        return node

    def phone(self, node: Node) -> Phone:
        """A UDP client of this proxy."""
        made = Phone(port_of(node, "udp"))
        self._stack.callback(made.socket.close)
        return made

    async def tcp_phone(self, node: Node) -> TcpPhone:
        """A TCP client of this proxy."""
        made = TcpPhone(*await asyncio.open_connection("127.0.0.1", port_of(node, "tcp")))
        self._stack.push_async_callback(made.close)
        return made

    async def close(self) -> None:
        """Everything."""
        for node in self.proxies:
            await node.presence.nodes.stop()
        await self._stack.aclose()
        for node in self.proxies:
            await node.close()
        await self.bus.close()


def port_of(node: Node, transport: str) -> int:
    """The public port of this transport."""
    return next(port for name, _, port in node.proxy.addresses if name == transport)


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    """An empty one."""
    made = Cluster()
    try:
        yield made
    finally:
        await made.close()
