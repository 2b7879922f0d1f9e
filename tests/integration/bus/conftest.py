from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from tests.integration.bus.world import World
from tests.support.rabbit import Rabbit


@pytest.fixture
async def world(rabbit: Rabbit) -> AsyncIterator[World]:
    """Exchanges and queues of its own on the shared broker."""
    world = World(rabbit, f"bus-{uuid.uuid4().hex[:12]}")
    try:
        yield world
    finally:
        await world.close()
