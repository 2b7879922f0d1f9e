"""Proxies as processes of their own, joined by RabbitMQ."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest

from tandem.bus.amqp import AmqpBus
from tandem.bus.hints import Hint, HintAcknowledged
from tandem.bus.nodes import LOST_SECONDS, NodeAnnounced, NodeState
from tandem.bus.ports import Envelope, Topic
from tests.support.proxy import request, values
from tests.support.proxynode import KEY, FakeAppserver, HintTalk, Phone, until
from tests.support.rabbit import Rabbit

START_SECONDS = 30.0


class Process:
    """`tandem proxy`."""

    def __init__(self, node: str, process: asyncio.subprocess.Process) -> None:
        self.node = node
        self.process = process
        self.lines: list[str] = []

    async def until_ready(self) -> None:
        """Read what it shows."""
        assert self.process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            while (line := (await self.process.stdout.readline()).decode()) != "ready\n":
                assert line, self.lines
                self.lines.append(line)

    def shown(self, name: str) -> str:
        """What follows this word in its lines."""
        return next(line.split()[1] for line in self.lines if line.startswith(name + " "))

    async def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 30)


async def start(node: str, url: str, **settings: str) -> Process:
    env = os.environ | {
        "TANDEM_NODE_ID": node,
        "TANDEM_SIP_LISTEN": "127.0.0.1:0",
        "TANDEM_HTTP_LISTEN": "127.0.0.1:0",
        "TANDEM_BROKER_URL": url,
        "TANDEM_CLUSTER_KEY": KEY,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.proxy", env=env | settings, stdout=asyncio.subprocess.PIPE
    )
    return Process(node, process)


class Site:
    """A bus, an appserver that the test plays, and what is heard."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bus = AmqpBus(url, "test")
        self.talk = HintTalk(self.bus, "test")
        self.appserver = FakeAppserver("appserver1", self.bus)
        self.heard: dict[str, list[str]] = {}
        self.bus.subscribe(Topic.NODES, self._take, name="test-nodes")
        self.running: list[Process] = []

    async def _take(self, batch: Sequence[Envelope]) -> None:
        for envelope in batch:
            said = envelope.payload
            if isinstance(said, NodeAnnounced) and said.kind == "proxy":
                states = self.heard.setdefault(said.node, [])
                if states[-1:] != [said.state]:
                    states.append(said.state)

    async def proxy(self, node: str, **settings: str) -> Process:
        """One more, ready."""
        made = await start(node, self.url, **settings)
        self.running.append(made)
        await made.until_ready()
        return made

    def hint(self, number: str, **more: object) -> Hint:
        """For bob's next call."""
        fields = {
            "id": number, "node": "test", "appserver": self.appserver.address,
            "customer": "c", "users": ("bob",), "expires_at": time.time() + 60,
        }  # fmt: skip
        return Hint(**fields | more)  # type: ignore[arg-type]


@asynccontextmanager
async def site(broker: Rabbit) -> AsyncIterator[Site]:
    made = Site(broker.url)
    await made.bus.start()
    made.appserver.announce()
    try:
        yield made
    finally:
        for each in made.running:
            await each.stop()
        made.appserver.die()
        await made.bus.close()


def phone_of(proxy: Process) -> Phone:
    return Phone(int(proxy.shown("udp").rpartition(":")[2]))


async def answered(phone: Phone, number: int) -> int:
    """The status that an INVITE gets."""
    phone.send(request(via=f"{phone.via}n{number}").replace(b"one@", b"n%d@" % number))
    return int((await phone.receive())[8:11])


async def test_a_proxy_that_starts_late_has_the_live_hints_before_it_takes_traffic(
    rabbit: Rabbit,
) -> None:
    async with site(rabbit) as world:
        world.talk.live = [world.hint(f"early{n}", users=(f"user{n}",)) for n in range(50)]
        proxy = await world.proxy("proxy1")
        acknowledged = {each.hint for each in world.talk.acknowledged if each.proxy == "proxy1"}
        assert acknowledged == {each.id for each in world.talk.live}
        async with httpx.AsyncClient(base_url=proxy.shown("http")) as http:
            assert "tandem_proxy_hints_live 50.0" in (await http.get("/metrics")).text
            assert (await http.get("/health/ready")).status_code == 200


async def test_all_proxies_acknowledge_a_hint_within_milliseconds(
    rabbit: Rabbit,
    record_property: Callable[[str, object], None],
) -> None:
    async with site(rabbit) as world:
        await asyncio.gather(world.proxy("proxy1"), world.proxy("proxy2"))
        took: list[float] = []
        for number in range(200):
            begun = time.perf_counter()
            world.bus.publish(Topic.HINTS, world.hint(f"h{number}", users=(f"u{number}",)))
            heard: set[HintAcknowledged] = set()
            while len(heard) < 2:
                world.talk.news.clear()
                await asyncio.wait_for(world.talk.news.wait(), START_SECONDS)
                heard = {a for a in world.talk.acknowledged[-4:] if a.hint == f"h{number}"}
            took.append((time.perf_counter() - begun) * 1000)
        took.sort()
        record_property("hint_acknowledged_ms_median", statistics.median(took))
        record_property("hint_acknowledged_ms_p99", took[int(len(took) * 0.99)])
        sys.stdout.write(f"median {statistics.median(took):.1f} ms, p99 {took[-2]:.1f} ms\n")


async def test_without_the_broker_calls_go_on_and_sigterm_says_good_bye(
    rabbit: Rabbit,
) -> None:
    async with site(rabbit) as world:
        proxy = await world.proxy("proxy1", TANDEM_DRAIN_SECONDS="0.3")
        phone = phone_of(proxy)
        assert await answered(phone, 1) == 200
        assert values(await world.appserver.receive(), "Call-ID") == ["n1@203.0.113.7"]
        rabbit.kill()
        killed = time.monotonic()
        number = 1
        while time.monotonic() - killed < LOST_SECONDS + 1:  # longer than nodes may be silent
            number += 1
            assert await answered(phone, number) == 200
            await asyncio.sleep(0.05)
        world.appserver.probe_status = 0
        world.appserver.status = 0
        await until_answered(phone, 503, number + 1)
        world.appserver.probe_status = world.appserver.status = 200
        await until_answered(phone, 200, number + 1000)
        world.talk.live = [world.hint("meanwhile")]
        await asyncio.to_thread(rabbit.start)
        await world.talk.all_have("meanwhile", "proxy1")
        await until(lambda: world.heard.get("proxy1", [""])[-1] == NodeState.ACTIVE)
        assert await proxy.stop() == 0
        await until(lambda: world.heard["proxy1"][-1] == NodeState.STOPPED)
        assert world.heard["proxy1"][-2:] == [NodeState.DRAINING, NodeState.STOPPED]
        phone.socket.close()


async def until_answered(phone: Phone, status: int, number: int) -> None:
    """Call until the answer is this one: probes need their time. A client on UDP sends again."""
    async with asyncio.timeout(10):
        found = 0
        while found != status:
            number += 1
            with contextlib.suppress(TimeoutError):
                found = await asyncio.wait_for(answered(phone, number), 0.3)


async def test_a_broker_that_is_away_at_the_start_is_no_wrong_setting() -> None:
    nobody = "amqp://guest:guest@127.0.0.1:9/"
    proxy = await start("proxy1", nobody)
    await proxy.until_ready()
    async with httpx.AsyncClient(base_url=proxy.shown("http")) as http:
        assert (await http.get("/health/live")).status_code == 200
        assert (await http.get("/health/ready")).status_code == 503
    assert await proxy.stop() == 0


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"TANDEM_CLUSTER_KEY": ""}, "TANDEM_CLUSTER_KEY"),
        ({"TANDEM_BROKER_URL": "carrier-pigeon:"}, "TANDEM_BROKER_URL"),
        ({"TANDEM_BROKER_URL": "memory:"}, "TANDEM_APPSERVERS"),
    ],
)
async def test_a_wrong_setting_is_one_line(settings: dict[str, str], word: str) -> None:
    env = os.environ | {"TANDEM_BROKER_URL": "amqp://x:y@127.0.0.1:9/", "TANDEM_CLUSTER_KEY": KEY}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.proxy", env=env | settings, stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert complaint.decode().startswith(word)
    assert complaint.count(b"\n") == 1
