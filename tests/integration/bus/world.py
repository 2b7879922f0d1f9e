"""Nodes of one test on a real broker."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

import aio_pika

from tandem.bus.amqp import AmqpBus
from tandem.bus.hints import HintsWanted
from tandem.bus.ports import Envelope, Topic
from tests.support.rabbit import Rabbit
from tests.support.waiting import eventually

PATIENCE: Final = 60.0
"""Seconds; a quorum queue takes its time after a broker was killed on a busy machine."""


class Taker:
    """A handler that keeps what it gets; `fails` makes it raise, `gate` makes it wait."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.fails = False
        self.tries = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, batch: Sequence[Envelope]) -> None:
        self.tries += 1
        await self.gate.wait()
        if self.fails:
            raise RuntimeError("not able to")
        self.envelopes.extend(batch)

    @property
    def said(self) -> list[str]:
        return [envelope.payload.proxy for envelope in self.envelopes]

    @property
    def distinct(self) -> list[str]:
        """Without what came again."""
        return list(dict.fromkeys(self.said))

    async def has(self, count: int) -> None:
        """Wait for that many different ones."""

        async def there() -> bool:
            return len(set(self.said)) >= count

        await eventually(there, f"{count} payloads", PATIENCE)


async def holds(look: Callable[[], bool], what: str) -> None:
    """Wait until it does."""

    async def seen() -> bool:
        return look()

    await eventually(seen, what, PATIENCE)


class World:
    """Makes nodes, and closes them."""

    def __init__(self, rabbit: Rabbit, prefix: str) -> None:
        self.rabbit = rabbit
        self.prefix = prefix
        self._nodes: list[AmqpBus] = []
        self._processes: list[asyncio.subprocess.Process] = []

    def node(self, name: str, url: str | None = None) -> AmqpBus:
        """A bus, not started."""
        bus = AmqpBus(url or self.rabbit.url, name, prefix=self.prefix)
        self._nodes.append(bus)
        return bus

    async def process(self, name: str, topic: Topic, subscriber: str, keep: str) -> int:
        """Another process that subscribes and never finishes its first batch; returns when it
        stands there. Its pid, to be killed."""
        command = [sys.executable, "-m", "tests.integration.bus.stuck"]
        arguments = [self.rabbit.url, name, self.prefix, topic.value, subscriber, keep]
        process = await asyncio.create_subprocess_exec(
            *command, *arguments, stdout=asyncio.subprocess.PIPE, env={**os.environ}
        )
        self._processes.append(process)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        return process.pid

    async def took(self) -> None:
        """Wait until the last such process has a batch in hand."""
        stdout = self._processes[-1].stdout
        assert stdout is not None
        async with asyncio.timeout(PATIENCE):
            assert await stdout.readline() == b"took\n"

    async def kill(self) -> None:
        """kill -9 to the last such process."""
        process = self._processes[-1]
        process.kill()
        await process.wait()

    async def rabbit_restarts(self) -> None:
        """kill -9, and again."""
        self.rabbit.kill()
        await asyncio.to_thread(self.rabbit.start)

    async def by_hand(self, what: str, name: str) -> None:
        """Delete a queue or an exchange as an operator might."""
        async with await aio_pika.connect(self.rabbit.url) as connection:
            channel = await connection.channel()
            if what == "delete queue":
                await channel.queue_delete(name)
            else:
                assert what == "delete exchange"
                await channel.exchange_delete(name)

    async def stranger(self, exchange: str, body: bytes) -> None:
        """Publish what is none of ours."""
        async with await aio_pika.connect(self.rabbit.url) as connection:
            channel = await connection.channel()
            there = await channel.get_exchange(exchange)
            await there.publish(aio_pika.Message(body), "")

    async def bodies(self, queue: str) -> list[bytes]:
        """Take out all that a queue holds."""
        found: list[bytes] = []
        async with await aio_pika.connect(self.rabbit.url) as connection:
            channel = await connection.channel()
            there = await channel.get_queue(queue)
            while (message := await there.get(fail=False)) is not None:
                found.append(message.body)
                await message.ack()
        return found

    async def close(self) -> None:
        """Everything, and nothing may be left running."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        for node in self._nodes:
            await node.close()
        left = {task.get_name() for task in asyncio.all_tasks()} - {
            task.get_name() for task in (asyncio.current_task(),) if task
        }
        assert not {name for name in left if name.startswith("bus ")}


def say(bus: AmqpBus, topic: Topic, numbers: range) -> list[str]:
    """Publish them; returns what takers should have."""
    for number in numbers:
        bus.publish(topic, HintsWanted(str(number)))
    return [str(number) for number in numbers]
