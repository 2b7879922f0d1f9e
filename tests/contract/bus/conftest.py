from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from tandem.bus.memory import MemoryBus
from tandem.bus.ports import Bus

IMPLEMENTATIONS: dict[str, Callable[[], Bus]] = {"memory": lambda: MemoryBus("node-a")}


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    bus = IMPLEMENTATIONS[request.param]()
    yield bus
    await bus.close()
