"""A node that takes a batch and never finishes with it: URL NODE PREFIX TOPIC SUBSCRIBER KEEP."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from tandem.bus.amqp import AmqpBus
from tandem.bus.ports import Envelope, Keep, Topic


async def take(batch: Sequence[Envelope]) -> None:
    """The handler."""
    sys.stdout.write("took\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


async def main(url: str, node: str, prefix: str, topic: str, subscriber: str, keep: str) -> None:
    """Until killed."""
    bus = AmqpBus(url, node, prefix=prefix)
    bus.subscribe(Topic(topic), take, name=subscriber, keep=Keep(keep))
    await bus.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
