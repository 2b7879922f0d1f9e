from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from tandem.bus.amqp import AmqpBus
from tandem.bus.memory import MemoryBus
from tandem.bus.ports import CountedBus
from tests.support.rabbit import Rabbit


def _memory(request: pytest.FixtureRequest) -> CountedBus:
    return MemoryBus("node-a")


def _amqp(request: pytest.FixtureRequest) -> CountedBus:
    rabbit: Rabbit = request.getfixturevalue("rabbit")
    return AmqpBus(rabbit.url, "node-a", prefix=f"contract-{uuid.uuid4().hex[:12]}")


IMPLEMENTATIONS: dict[str, Callable[[pytest.FixtureRequest], CountedBus]] = {
    "amqp": _amqp,
    "memory": _memory,
}


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[CountedBus]:
    bus = IMPLEMENTATIONS[request.param](request)
    yield bus
    await bus.close()
