"""Two events nodes as real processes, of which one is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import httpx
import pytest

from tandem.bus.amqp import AmqpBus
from tandem.bus.ports import Topic
from tests.support.databases import PostgreSQL
from tests.support.events import Message, record, removed, sse
from tests.support.rabbit import Rabbit
from tests.support.waiting import eventually

PATIENCE = 90.0
TOKEN = "an administrator's"


@pytest.fixture
def broker() -> Iterator[Rabbit]:
    """A broker of its own, that does not run yet."""
    rabbit = Rabbit()
    yield rabbit
    rabbit.destroy()


class Process:
    """An events node."""

    def __init__(self, child: asyncio.subprocess.Process, base: str) -> None:
        self.child = child
        self.base = base

    async def status(self, path: str) -> int:
        async with self.client() as client:
            return (await client.get(path)).status_code

    def client(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.AsyncClient(
            base_url=self.base, headers=headers, timeout=PATIENCE, trust_env=False
        )

    async def becomes_ready(self) -> None:
        async def look() -> bool:
            return await self.status("/health/ready") == 200

        await eventually(look, "readiness", PATIENCE)

    async def take(self, cursor: int, count: int) -> list[Message]:
        """The next removed registrations."""
        got: list[Message] = []
        query = f"/api/v1/events?cursor={cursor}&filter=type=registration.removed"
        async with asyncio.timeout(PATIENCE), self.client() as client:
            async with client.stream("GET", query) as response:
                async with aclosing(sse(response)) as messages:
                    async for message in messages:
                        got.append(message)
                        if len(got) == count:
                            break
        return got


@asynccontextmanager
async def process(name: str, **settings: str) -> AsyncIterator[Process]:
    """Start a node, and wait until it says that it is ready."""
    env = {
        **{n: v for n, v in os.environ.items() if not n.startswith("TANDEM_")},
        "TANDEM_NODE_ID": name,
        "TANDEM_HTTP_LISTEN": "127.0.0.1:0",
        "TANDEM_GRPC_LISTEN": "127.0.0.1:0",
        "TANDEM_CLUSTER_KEY": "a key of all nodes",
        "TANDEM_API_TOKEN": TOKEN,
        **settings,
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.events",
        env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            while not (line := (await child.stdout.readline()).decode()).startswith("ready"):
                assert line, "it ended"
        yield Process(child, line.split()[1])
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def test_nodes_start_without_database_and_broker_and_a_killed_one_loses_nothing(
    broker: Rabbit, postgresql: PostgreSQL
) -> None:
    settings = {
        "TANDEM_DATABASE_URL": postgresql.fresh_database(),
        "TANDEM_BROKER_URL": broker.url,
    }
    await asyncio.to_thread(postgresql.stop)
    async with AsyncExitStack() as stack:
        try:
            one = await stack.enter_async_context(process("events-1", **settings))
            two = await stack.enter_async_context(process("events-2", **settings))
            for node in (one, two):
                assert await node.status("/health/live") == 200
                assert await node.status("/health/ready") == 503
                assert await node.status("/api/v1/cdrs") == 503
        finally:
            await asyncio.to_thread(postgresql.start)
        await asyncio.to_thread(broker.start)
        for node in (one, two):
            await node.becomes_ready()

        bus = AmqpBus(broker.url, "as-1")
        await bus.start()
        total = 3000

        async def publish() -> None:
            for number in range(total):
                bus.publish(Topic.EVENTS, removed("alice", number))
                if number % 10 == 0:
                    await asyncio.sleep(0.005)
            for number in range(50):
                bus.publish(Topic.EVENTS, record(f"c{number}", ended_at=time.time()))

        load = asyncio.create_task(publish())
        got = await one.take(0, 500)
        one.child.send_signal(signal.SIGKILL)
        await one.child.wait()
        got += await two.take(got[-1].id or 0, total - len(got))
        await load
        assert len({message.id for message in got}) == total
        assert sorted(int(m.data["data"]["reason"]) for m in got) == list(range(total))

        again = await stack.enter_async_context(process("events-1", **settings))
        await again.becomes_ready()
        assert await again.take(0, total) == got
        async with again.client() as client:

            async def recorded() -> bool:
                return bool((await client.get("/api/v1/cdrs")).json()["total"] == 50)

            await eventually(recorded, "all call records", PATIENCE)
        await bus.close()
        for node in (again, two):
            node.child.terminate()
            assert await node.child.wait() == 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TANDEM_BROKER_URL", "http://x", "TANDEM_BROKER_URL"),
        ("TANDEM_DATABASE_URL", "nonsense", "database"),
        ("TANDEM_CLUSTER_KEY", "short", "TANDEM_CLUSTER_KEY"),
        ("TANDEM_CONSOLE_ORIGINS", "console.example.com", "TANDEM_CONSOLE_ORIGINS"),
        ("TANDEM_DIRECTORY_URL", "nowhere", "TANDEM_DIRECTORY_URL"),
    ],
)
async def test_a_wrong_setting_is_one_line(name: str, value: str, said: str) -> None:
    env = {
        **os.environ,
        "TANDEM_CLUSTER_KEY": "a key of all nodes",
        "TANDEM_HTTP_LISTEN": "127.0.0.1:0",
        "TANDEM_GRPC_LISTEN": "127.0.0.1:0",
        name: value,
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.events",
        env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await child.communicate()
    assert (child.returncode, out) == (2, b"")
    assert error.decode().count("\n") == 1
    assert said in error.decode()
