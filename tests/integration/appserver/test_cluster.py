"""Appservers as processes of a cluster, joined by a real RabbitMQ; the test is their proxy."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest

from tandem.bus.call_events import CallRecord
from tandem.bus.location import Binding
from tandem.bus.node_events import NodeDraining, NodeStarted, NodeStopped
from tandem.bus.nodes import NodeAnnounced, NodeState
from tandem.bus.open import open_bus
from tandem.bus.ports import Envelope, Topic
from tandem.rpc.directory import Account
from tandem.rpc.security import Security
from tandem.runtime.address import HostPort
from tandem.sip.message import Request, Response, parse_message
from tandem.siptransport.flowtoken import FlowName, TokenKey
from tandem.siptransport.udp import UdpSocket
from tandem.siptransport.udplink import UdpLink
from tests.support.appserver import DOMAIN, PROXY, Phone, account
from tests.support.rabbit import Rabbit
from tests.support.rpc import Known, serving
from tests.support.waiting import eventually

CLUSTER_KEY: Final = "a key for tests of a cluster"
PATIENCE: Final = 30.0


class Process:
    """`tandem appserver`."""

    def __init__(self, node: str, folder: Path, environment: dict[str, str]) -> None:
        self.node = node
        self.addresses: dict[str, str] = {}
        self.errors = folder / f"{node}.stderr"
        self._environment = os.environ | {
            "TANDEM_NODE_ID": node,
            "TANDEM_INTERNAL_LISTEN": "127.0.0.1:0",
            "TANDEM_HTTP_LISTEN": "127.0.0.1:0",
            "TANDEM_GRPC_LISTEN": "127.0.0.1:0",
            "TANDEM_CLUSTER_KEY": CLUSTER_KEY,
            "TANDEM_KEEPALIVE_SECONDS": "1",
            **environment,
        }
        self._process: asyncio.subprocess.Process | None = None

    @property
    def link(self) -> str:
        """Its end of the link."""
        return self.addresses["internal"]

    async def start(self) -> None:
        with self.errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "services.appserver"),
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=self._environment,
            )
        async with asyncio.timeout(PATIENCE):
            await self._read_addresses()

    async def _read_addresses(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while not (line := (await self._process.stdout.readline()).decode()).startswith("ready"):
            assert line, f"it did not start: {self.errors.read_text()}"
            name, _, address = line.strip().partition(" ")
            self.addresses[name] = address

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def ended(self) -> None:
        """After SIGTERM: by itself, with status 0 and no traceback."""
        assert self._process is not None
        assert await asyncio.wait_for(self._process.wait(), PATIENCE) == 0
        assert "Traceback" not in self.errors.read_text()

    async def destroy(self) -> None:
        """Whatever state it is in."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class Proxy:
    """Its end of the link, and what came over it."""

    def __init__(self) -> None:
        self.link = UdpLink(UdpSocket.open("127.0.0.1", 0))
        self.link.receiver = self._receive
        self.link.start()
        self.messages: asyncio.Queue[Request | Response] = asyncio.Queue()
        self.controls: list[tuple[str, str]] = []
        self.serial = 0

    def _receive(self, data: bytes, peer: str) -> None:
        if data[:1] == b"\x01":
            self.controls.append((data[1:].decode(), peer))
        else:
            self.messages.put_nowait(parse_message(data))

    def next(self) -> int:
        self.serial += 1
        return self.serial

    def send(self, message: Request | Response, appserver: str) -> None:
        data = message.to_bytes().replace(PROXY.encode(), self.link.address.encode())
        self.link.send(data, appserver)

    async def hear(self) -> Request | Response:
        """The next message but for 100s."""
        while True:
            message = await asyncio.wait_for(self.messages.get(), PATIENCE)
            if not (isinstance(message, Response) and message.status == 100):
                return message

    async def answer(self) -> Response:
        """The next response."""
        while not isinstance(message := await self.hear(), Response):
            pass
        return message


@dataclass
class Handset(Phone):
    """A phone that asks whichever appserver it is told to."""

    proxy: Proxy | None = None

    @property
    def token(self) -> str:
        assert self.proxy is not None
        name = FlowName(self.proxy.link.address, self.transport, self.host, self.port)
        return TokenKey(CLUSTER_KEY.encode()).sign_flow(name)

    async def ask(self, appserver: Process, make: Callable[[], Request]) -> Response:
        """Send, with credentials when they are asked for; the answer."""
        assert self.proxy is not None
        self.proxy.send(make(), appserver.link)
        answer = await self.proxy.answer()
        if answer.status == 401:
            self.learn(answer)
            self.proxy.send(make(), appserver.link)
            answer = await self.proxy.answer()
        return answer

    async def registers(self, appserver: Process, *contacts: str) -> list[str]:
        """Register (no contact: only ask); the contacts that the answer lists."""
        answer = await self.ask(appserver, lambda: self.register(*contacts))
        assert answer.status == 200
        return [value.partition(">")[0].strip("<") for value in answer.values("contact")]

    def seen_at(self, appserver: Process) -> Callable[[], Awaitable[list[str]]]:
        """For `eventually`: what an appserver knows of it."""
        return lambda: self.registers(appserver)


class Observer:
    """What the broker brings."""

    def __init__(self) -> None:
        self.heard: list[Envelope] = []

    async def take(self, batch: Sequence[Envelope]) -> None:
        self.heard += batch

    def of(self, node: Process, kind: type[Any]) -> list[Any]:
        """The payloads of one node."""
        return [e.payload for e in self.heard if e.node == node.node and type(e.payload) is kind]

    def waits_for(self, node: Process, kind: type[Any]) -> Callable[[], Awaitable[list[Any]]]:
        async def look() -> list[Any]:
            return self.of(node, kind)

        return look


class Bench:
    """Makes what a test needs, and ends it."""

    def __init__(self, rabbit: Rabbit, folder: Path, stack: AsyncExitStack) -> None:
        self._rabbit = rabbit
        self._folder = folder
        self._stack = stack
        self._run = uuid4().hex[:6]
        self._accounts = folder / "accounts.json"
        users = [
            {"username": name, "domain": DOMAIN, "password": "secret"} for name in ("alice", "bob")
        ]
        self._accounts.write_text(json.dumps({"domains": [{"name": DOMAIN}], "accounts": users}))
        self.observer = Observer()

    async def observe(self) -> None:
        """Hear nodes and events."""
        bus = open_bus(self._rabbit.url, f"observer-{self._run}")
        for topic in (Topic.NODES, Topic.EVENTS):
            bus.subscribe(topic, self.observer.take, name=f"observer-{self._run}-{topic}")
        await bus.start()
        self._stack.push_async_callback(bus.close)

    async def appserver(self, name: str, **settings: str) -> Process:
        """Start one."""
        environment = {"TANDEM_BROKER_URL": self._rabbit.url}
        if "TANDEM_DIRECTORY_URL" not in settings:
            environment["TANDEM_ACCOUNTS_FILE"] = str(self._accounts)
        process = Process(f"{name}-{self._run}", self._folder, environment | settings)
        self._stack.push_async_callback(process.destroy)
        await process.start()
        return process

    def phone(self, username: str = "alice") -> Handset:
        """One behind a proxy of its own."""
        proxy = Proxy()
        self._stack.callback(proxy.link.close)
        return Handset(proxy, username, proxy=proxy)


@pytest.fixture
async def bench(rabbit: Rabbit, tmp_path: Path) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        yield Bench(rabbit, tmp_path, stack)


async def test_a_phone_of_an_appserver_that_is_killed_is_known_to_and_kept_alive_by_the_other(
    bench: Bench,
) -> None:
    one, two = await bench.appserver("one"), await bench.appserver("two")
    phone = bench.phone()
    contact = f"<{phone.contact}>"
    assert await phone.registers(one, contact) == [phone.contact]
    assert await eventually(phone.seen_at(two), "the binding on the other appserver")
    one.signal(signal.SIGKILL)
    proxy = phone.proxy
    assert proxy is not None

    async def kept_alive() -> bool:
        return (f"KEEPALIVE {phone.token}", two.link) in proxy.controls

    await eventually(kept_alive, "a keep-alive by the other appserver", PATIENCE)
    # nonces of one appserver are good at the other, and so is a refresh
    assert await phone.registers(two, contact) == [phone.contact]
    assert await phone.registers(two, f"{contact};expires=0") == []


async def test_an_appserver_starts_while_provisioning_is_away_and_has_the_snapshot_then(
    bench: Bench,
) -> None:
    class Directory(Known):
        async def account(self, username: str, domain: str) -> Account | None:
            return account(username)

    known, security = Directory(), Security(cluster_key=CLUSTER_KEY)
    async with serving(known, security) as server:
        address = server.address
    late = await bench.appserver("late", TANDEM_DIRECTORY_URL=str(address))
    base = late.addresses["http"]
    phone = bench.phone()
    async with httpx.AsyncClient(base_url=base) as client:
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 503
        known.snapshot = [_stored(phone)]
        async with serving(known, security, HostPort.parse(str(address))):

            async def ready() -> bool:
                return (await client.get("/health/ready")).status_code == 200

            await eventually(ready, "the snapshot", PATIENCE)
            assert await phone.registers(late) == ["sip:alice@192.0.2.7"]
            metrics = (await client.get("/metrics")).text
            assert "tandem_bindings 1.0" in metrics
            assert "tandem_cached_accounts 1.0" in metrics


def _stored(phone: Phone) -> Binding:
    return Binding(
        phone.aor, "owner-alice", "sip:alice@192.0.2.7", "udp:192.0.2.7:5060",
        ("<sip:token@127.0.0.1:9;lr>",), 1.0, "", 0, "c", 1, "ua", time() - 60, time() + 600,
        "gone", "127.0.0.1:9",
    )  # fmt: skip


async def test_a_node_that_is_told_to_stop_drains_until_its_calls_are_over_or_it_is_told_again(
    bench: Bench,
) -> None:
    await bench.observe()
    node = await bench.appserver("drained", TANDEM_DRAIN_SECONDS="600")
    await eventually(bench.observer.waits_for(node, NodeStarted), "the start")
    bob = bench.phone("bob")
    await bob.registers(node, f"<{bob.contact}>")
    alice = bench.phone()
    assert bob.proxy is not None
    assert alice.proxy is not None
    alice.proxy.send(alice.request("INVITE", "sip:bob@example.com"), node.link)
    alice.learn(await alice.proxy.hear())
    alice.proxy.send(alice.request("INVITE", "sip:bob@example.com"), node.link)
    assert isinstance(await bob.proxy.hear(), Request)
    node.signal(signal.SIGTERM)
    await eventually(bench.observer.waits_for(node, NodeDraining), "that it drains")

    async def says_so() -> bool:
        said = bench.observer.of(node, NodeAnnounced)
        return [s.calls for s in said if s.state == NodeState.DRAINING][-3:] == [1, 1, 1]

    await eventually(says_so, "announcements of a node that drains with a call")
    assert node.running
    # new calls are served all the same: a proxy may not know yet
    assert (await bob.registers(node)) == [bob.contact]
    node.signal(signal.SIGTERM)
    await node.ended()
    await eventually(bench.observer.waits_for(node, NodeStopped), "the good-bye")
    (record,) = await eventually(bench.observer.waits_for(node, CallRecord), "the record")
    assert record.end_reason == "server stopped"
    assert bench.observer.of(node, NodeAnnounced)[-1].state == NodeState.STOPPED


async def test_a_start_without_a_directory_is_one_line_and_exit_status_2() -> None:
    settings = {"TANDEM_CLUSTER_KEY": CLUSTER_KEY, "TANDEM_INTERNAL_LISTEN": "127.0.0.1:0"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.appserver"),
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | settings,
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert errors.decode() == (
        "tandem appserver: TANDEM_DIRECTORY_URL is not set, nor is TANDEM_ACCOUNTS_FILE\n"
    )


async def test_a_node_without_calls_stops_after_a_short_grace(bench: Bench) -> None:
    await bench.observe()
    node = await bench.appserver("idle", TANDEM_DRAIN_SECONDS="600")
    node.signal(signal.SIGTERM)
    await node.ended()
    await eventually(bench.observer.waits_for(node, NodeStopped), "the good-bye")
    states = [said.state for said in bench.observer.of(node, NodeAnnounced)]
    assert states.index(NodeState.DRAINING) < states.index(NodeState.STOPPED)
