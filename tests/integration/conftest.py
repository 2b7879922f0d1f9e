"""What the tests of the whole switch share: one running program for each module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.baresip import Baresip
from tests.support.switch import Switch


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def switch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Switch]:
    """The real program on every transport; it must end cleanly."""
    switch = Switch(tmp_path_factory.mktemp("switch") / "data")
    try:
        await switch.start()
        yield switch
    finally:
        await switch.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def phones(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[Baresip]]:
    """Phones for one test are put in here; what is still running is stopped after it."""
    phones: list[Baresip] = []
    yield phones
    for phone in phones:
        await phone.stop()
